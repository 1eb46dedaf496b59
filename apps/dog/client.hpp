// A command's way to the cluster: one connection to one sheep, typed requests, and failures as exceptions that carry
// the exit code.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/client/protocol.hpp"
#include "runtime/client_connection.hpp"

namespace sd::dog {

namespace exit_code {
inline constexpr int ok = 0, failed = 1, system = 2, exists = 3, full = 4, missing = 5, unhealthy = 6, usage = 64;
}

// Ends a command. Thrown and caught inside apps/dog only.
struct CommandError : std::runtime_error {
  CommandError(int exit, const std::string& message) : std::runtime_error(message), code(exit) {}
  int code;
};

struct Options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 7000;
  bool json = false;
  bool verbose = false;
  int timeout_s = 30;
};

class Client {
 public:
  explicit Client(const Options& options) : options_(options) {}

  // The answer, which is no error; throws CommandError otherwise. Connects at the first call.
  client::ResponseResult call(const client::SdRequest& request, std::string_view data = {});
  // As `call`, and asks again (with a new connection if need be) while the cluster says "again" or the connection
  // breaks, up to the time-out. For requests that may be repeated.
  client::ResponseResult call_until_done(const client::SdRequest& request, std::string_view data = {});

  // Data answers.
  std::string bytes(client::ResponseResult result);
  template <typename Report>
  Report report(const client::SdRequest& request) {
    return decoded<Report>(call(request));
  }
  template <typename Report>
  Report report_until_done(const client::SdRequest& request) {
    return decoded<Report>(call_until_done(request));
  }

 private:
  template <typename Report>
  Report decoded(client::ResponseResult result) {
    auto report = client::bincode::from_bytes<Report>(bytes(std::move(result)));
    if (!report)
      throw CommandError(exit_code::system, "the answer makes no sense; does " + where() + " run another version?");
    return std::move(*report);
  }
  struct Unreachable : CommandError {
    using CommandError::CommandError;
  };
  struct Again : CommandError {
    using CommandError::CommandError;
  };
  client::ResponseResult call_once(const client::SdRequest& request, std::string_view data);
  std::string where() const { return options_.address + ":" + std::to_string(options_.port); }

  const Options& options_;
  std::optional<runtime::ClientConnection> connection_;
  std::uint32_t last_id_ = 0;
};

// Nodes stand in the order of their addresses; of those that had an address one after the other, the one that is up
// comes first.
client::ClusterReport cluster_report(Client& client);

}  // namespace sd::dog
