// Asking a member to read its whole copy of an object and to repair what is damaged: as the scrub does, and a check of
// a disk.
#pragma once
#include "core/cluster/placement.hpp"
#include "core/peer/message.hpp"

namespace sd {

// In the disk's present generation, with all others as helpers that may have good blocks of the object, however old
// their copy. The disk must exist.
peer::ObjectRequest whole_repair(const cluster::State& state, const cluster::Placement& placement, NodeId member,
                                 Oid oid);

}  // namespace sd
