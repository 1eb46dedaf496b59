// What several answers say about the members of the cluster.
#pragma once
#include <string>
#include <vector>

#include "core/client/backend.hpp"
#include "core/client/protocol.hpp"

namespace sd::client {

// Zones with members that store data: those that are up, or all.
std::size_t storing_zones(const cluster::State& state, bool also_down);
std::size_t members_up(const cluster::State& state);
// Those that are up, as the reference names them. Only the asked node's space is known.
std::vector<SdNode> node_list(const cluster::State& state, const NodeStatus& status);
// Addresses of those without whom the cluster, or some of its data, cannot go on.
std::vector<std::string> waits_for(const Backend& backend);

}  // namespace sd::client
