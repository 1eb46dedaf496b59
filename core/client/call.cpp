#include "core/client/call.hpp"

#include <utility>

#include "core/base/assert.hpp"

namespace sd::client {

void Call::unsupported(const char* what) {
  fail(SdError::no_support, std::string(what) + ": not supported by this version");
}

bool Call::usable() {
  if (!backend.state().formatted) {
    // After a start nothing of the log is known to be committed before there is a leader.
    if (backend.status().leader_id == 0)
      fail(SdError::again, "the node has reached no majority since it started, and cannot know what the cluster holds");
    else
      fail(SdError::wait_for_format, "the cluster is not formatted; run `dog cluster format`");
    return false;
  }
  if (backend.state().shut_down) {
    fail(SdError::shutdown, "the cluster is shut down; start its sheep again");
    return false;
  }
  return true;
}

const cluster::Vdi* Call::live(Vid vid) {
  const cluster::Vdi* vdi = backend.state().find(vid);
  if (vdi && !vdi->deleting) return vdi;
  fail(SdError::no_vdi, "no VDI has number " + std::to_string(vid));
  return nullptr;
}

const cluster::Vdi* Call::live(const std::string& name) {
  const cluster::Vdi* vdi = backend.state().find(std::string_view(name));
  if (!vdi) fail(SdError::no_vdi, "no VDI is called " + quoted(name) + "; `dog vdi list` shows those there are");
  return vdi;
}

bool Call::in_range(const cluster::Vdi& vdi, std::uint64_t offset, std::uint64_t length) {
  if (offset <= vdi.size && length <= vdi.size - offset) return true;
  fail(SdError::invalid_parms, "the range ends behind the VDI, which holds " + std::to_string(vdi.size) + " bytes");
  return false;
}

void Call::propose(cluster::CommandBody body, Waiting waiting) {
  waiting.stream = stream;
  waiting.slot = slot;
  const std::uint64_t ticket = backend.propose(std::move(body));
  if (ticket == 0) return fail(SdError::again, waiting.what + ": " + std::string(to_string(Status::busy)));
  const bool fresh = service.proposals_.emplace(ticket, std::move(waiting)).second;
  SD_ASSERT(fresh, "a ticket names one proposal");
}

void Call::io(IoRequest request, Waiting waiting) {
  waiting.stream = stream;
  waiting.slot = slot;
  const std::uint64_t ticket = backend.io(std::move(request));
  if (ticket == 0) return fail(SdError::again, waiting.what + ": " + std::string(to_string(Status::busy)));
  const bool fresh = service.ios_.emplace(ticket, std::move(waiting)).second;
  SD_ASSERT(fresh, "a ticket names one request");
}

}  // namespace sd::client
