// A blocking connection to a sheep's client port, for command-line tools: one request, one answer.
//
// Frames are a 4-byte big-endian length and that many bytes (doc of the protocol: core/client). What the bytes mean is
// the caller's business.
#pragma once
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace sd::runtime {

class ClientConnection {
 public:
  // Resolves `host` (a name or an address), connects. `timeout_ms` bounds the connecting and, later, every wait of a
  // call for the other side to take or send a byte. The error is a sentence for the user that names host and port.
  static std::expected<ClientConnection, std::string> open(const std::string& host, std::uint16_t port, int timeout_ms);

  ClientConnection(ClientConnection&& other) noexcept;
  ClientConnection& operator=(ClientConnection&& other) noexcept;
  ~ClientConnection();

  // Sends `body` as one frame and returns the body of the answering frame, at most limits::max_client_frame bytes.
  // After an error the connection is of no further use: open a new one.
  std::expected<std::string, std::string> call(std::string_view body);

  // For requests that take longer than connecting may.
  void set_timeout(int timeout_ms) { timeout_ms_ = timeout_ms; }

 private:
  ClientConnection(int fd, std::string peer, int timeout_ms)
      : fd_(fd), peer_(std::move(peer)), timeout_ms_(timeout_ms) {}
  std::expected<void, std::string> send_all(std::string_view bytes, bool more);
  std::expected<void, std::string> receive_all(char* to, std::size_t size);
  std::expected<void, std::string> wait_for(short events);

  int fd_ = -1;
  std::string peer_;  // "host:port"
  int timeout_ms_ = 0;
};

}  // namespace sd::runtime
