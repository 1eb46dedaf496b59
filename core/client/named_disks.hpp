// Which requests depend on what disks there are, and so on how current a node's view of the cluster is.
#pragma once
#include "core/client/protocol.hpp"

namespace sd::client {

// The request says by a name which disk it means, or asks which there are. (Reads and writes of data do not count: they
// come often, and whoever makes them has asked for the disk before.)
bool names_disks(const SdRequest& request);
// It only asks: while nobody can be asked what is so, what was known last is better than nothing.
bool only_asks(const SdRequest& request);

}  // namespace sd::client
