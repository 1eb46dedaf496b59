// Which errors a guest may be told of in a run, by the classes of faults that it knows.
//
// - No space: only where disks get full.
// - An I/O error: only where disks damage or forget what they hold, where more is lost than the copies allow for, where
//   members remember few writes (one that is asked for again late may then not be carried out), or to a request that
//   waited for members that stay away.
// - Nothing else, ever. A node that is stopped closes its connections, and tells no request.
#pragma once
#include <string>

#include "core/base/status.hpp"
#include "sim/config.hpp"

namespace sd::sim {

// Empty, or why that is no answer. `waited`: since the request was sent.
std::string judge_guest_error(const Config& config, OpClass kind, Status status, Time waited);

}  // namespace sd::sim
