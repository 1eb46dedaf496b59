// One request being answered: what all kinds of requests need for that. It lives for one call of the service; what has
// to wait for the backend goes on as a Waiting.
#pragma once
#include <string>
#include <string_view>

#include "core/client/service.hpp"

namespace sd::client {

// The number that clients of the reference give to a disk that is not a snapshot; 0 means the same.
inline constexpr std::uint32_t live_snap_id = 1;

inline std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

struct Call {
  Service& service;
  Backend& backend;
  ServiceEffects& effects;
  StreamId stream;
  Session::Slot slot;
  RequestHeader header;

  // Each request is answered once: by one of these, or later, after one of the next two.
  void done(const ResponseResult& result) { service.answer(stream, slot, result, effects); }
  void done_data(Payload data) { service.answer_data(stream, slot, std::move(data), effects); }
  void fail(SdError error, const std::string& message) { service.fail(stream, slot, error, message, effects); }
  void unsupported(const char* what);

  void propose(cluster::CommandBody body, Waiting waiting);
  void io(IoRequest request, Waiting waiting);

  // These answer with an error and say false or nullptr.
  bool usable();  // formatted and not shut down
  const cluster::Vdi* live(Vid vid);
  const cluster::Vdi* live(const std::string& name);
  bool in_range(const cluster::Vdi& vdi, std::uint64_t offset, std::uint64_t length);

  bool own() const { return header.proto_ver >= own_version; }
  BufferPool& pool() { return service.pool_; }
  VdiLocks& locks() { return service.locks_; }
};

}  // namespace sd::client
