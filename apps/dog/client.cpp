#include "apps/dog/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <tuple>
#include <utility>

#include "core/client/printable_text.hpp"

namespace sd::dog {

namespace {

using client::SdError;

int exit_code_for(SdError error) {
  switch (error) {
    case SdError::vdi_exist:
    case SdError::oid_exist: return exit_code::exists;
    case SdError::no_space:
    case SdError::full_vdi: return exit_code::full;
    case SdError::no_vdi:
    case SdError::no_obj:
    case SdError::no_tag:
    case SdError::no_base_vdi:
    case SdError::not_found: return exit_code::missing;
    case SdError::network_error:
    case SdError::ver_mismatch:
    case SdError::system_error: return exit_code::system;
    default: return exit_code::failed;
  }
}

constexpr int connect_timeout_ms = 5000;

}  // namespace

client::ResponseResult Client::call_once(const client::SdRequest& request, std::string_view data) {
  if (!connection_) {
    auto opened = runtime::ClientConnection::open(options_.address, options_.port, connect_timeout_ms);
    if (!opened) throw Unreachable(exit_code::system, opened.error() + "; another address is given with -a and -p");
    connection_ = std::move(*opened);
    connection_->set_timeout(options_.timeout_s * 1000);
  }
  const auto begin = std::chrono::steady_clock::now();
  const client::RequestHeader header{client::own_version, 0, ++last_id_};
  auto body = connection_->call(client::encode_request(header, request, data));
  if (!body) {
    connection_.reset();
    throw Unreachable(exit_code::system,
                      body.error() +
                          ". The request was not cancelled and may still take effect; check before you repeat "
                          "it. `dog cluster check` says what is wrong");
  }
  if (options_.verbose) {
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
    fmt::print(stderr, "request {} to {}: {} bytes back in {:.2f} ms\n", last_id_, where(), body->size(),
               taken.count());
  }
  auto response = client::decode_response(*body);
  if (!response || response->id != last_id_) {
    connection_.reset();
    throw CommandError(exit_code::system,
                       where() + " does not answer as a sheep does; is another program listening there?");
  }
  std::optional<client::Failure> failure;
  if (const auto* told = std::get_if<client::Failure>(&response->result)) failure = *told;
  if (const auto* error = std::get_if<client::Error>(&response->result))
    failure = client::Failure{error->error, std::string(to_string(error->error))};
  if (!failure) return std::move(response->result);
  failure->message = client::printable(failure->message);
  if (failure->error == SdError::again)
    throw Again(exit_code::failed, failure->message + "; try again, and see `dog cluster check`");
  throw CommandError(exit_code_for(failure->error), failure->message);
}

client::ResponseResult Client::call(const client::SdRequest& request, std::string_view data) {
  return call_once(request, data);
}

client::ResponseResult Client::call_until_done(const client::SdRequest& request, std::string_view data) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options_.timeout_s);
  const bool was_connected = connection_.has_value();
  while (true) {
    try {
      return call_once(request, data);
    } catch (const Unreachable&) {
      // A sheep that was never there is a wrong address, and waiting does not help.
      if (!was_connected || std::chrono::steady_clock::now() >= end) throw;
    } catch (const Again&) {
      if (std::chrono::steady_clock::now() >= end) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

client::ClusterReport cluster_report(Client& client) {
  auto report = client.report<client::ClusterReport>(client::ClusterStatus{});
  // By length first, so that 10.0.0.9 comes before 10.0.0.10.
  std::ranges::sort(report.nodes, {}, [](const client::NodeEntry& node) {
    return std::tuple(node.address.size(), node.address, !node.up, node.id);
  });
  return report;
}

std::string Client::bytes(client::ResponseResult result) {
  if (auto* data = std::get_if<client::Data>(&result)) return std::move(data->bytes);
  throw CommandError(exit_code::system, "the answer makes no sense; does " + where() + " run another version?");
}

}  // namespace sd::dog
