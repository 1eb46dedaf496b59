#include "core/base/status.hpp"

namespace sd {

std::string_view to_string(Status status) {
  switch (status) {
    case Status::ok: return "ok";
    case Status::io_error: return "input/output error";
    case Status::no_space: return "no space left on a member; add a node or free space";
    case Status::not_found: return "not found";
    case Status::exists: return "already exists";
    case Status::invalid: return "invalid argument";
    case Status::not_formatted: return "the cluster is not formatted; run `dog cluster format`";
    case Status::not_enough_nodes: return "more copies than nodes; start more nodes or ask for fewer copies";
    case Status::stale: return "superseded by a newer configuration";
    case Status::behind: return "the node has yet to catch up with the cluster";
    case Status::unavailable: return "unavailable; too few members can be reached";
    case Status::damaged: return "stored data is damaged";
    case Status::busy: return "too many requests at once; try again";
    case Status::shutting_down: return "the cluster is shutting down";
    case Status::not_supported: return "not supported";
    case Status::read_only: return "read-only";
  }
  return "unknown status";
}

}  // namespace sd
