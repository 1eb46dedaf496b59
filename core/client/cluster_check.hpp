// The health of a cluster, in words: `dog cluster check`.
#pragma once
#include "core/client/node_status.hpp"
#include "core/client/protocol.hpp"
#include "core/cluster/state.hpp"

namespace sd::client {

// What is wrong with the cluster as this node sees it; the gravest first.
CheckReport check_cluster(const cluster::State& state, const NodeStatus& status);

}  // namespace sd::client
