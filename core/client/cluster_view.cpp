#include "core/client/cluster_view.hpp"

#include <algorithm>
#include <set>

namespace sd::client {

std::size_t storing_zones(const cluster::State& state, bool also_down) {
  std::set<std::uint32_t> zones;
  for (const auto& [id, member] : state.members)
    if (member.vnodes > 0 && (member.up || also_down)) zones.insert(member.zone);
  return zones.size();
}

std::size_t members_up(const cluster::State& state) {
  return static_cast<std::size_t>(
      std::ranges::count_if(state.members, [](const auto& entry) { return entry.second.up; }));
}

std::vector<SdNode> node_list(const cluster::State& state, const NodeStatus& status) {
  std::vector<SdNode> nodes;
  for (const auto& [id, member] : state.members)
    if (member.up)
      nodes.push_back({member.address, member.vnodes, member.zone, id == status.id ? status.space_total : 0, {}});
  return nodes;
}

std::vector<std::string> waits_for(const Backend& backend) {
  std::vector<NodeId> ids = backend.unreachable_voters();
  if (ids.empty()) ids = backend.state().missing();
  std::vector<std::string> addresses;
  for (const NodeId id : ids) {
    const cluster::Member* member = backend.state().member(id);
    addresses.push_back(member ? to_string(member->address) : backend.name_of(id));
  }
  return addresses;
}

}  // namespace sd::client
