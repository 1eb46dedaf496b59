#include "core/cluster/placement.hpp"

#include <algorithm>

namespace sd::cluster {

Placement::Placement(const State& state) {
  std::vector<RingNode> nodes;
  for (const EpochRecord& record : state.epochs) {
    nodes.clear();
    for (const RingMember& m : record.members) nodes.push_back({m.id, m.zone, m.vnodes});
    periods_.push_back({record, Ring(nodes)});
  }
}

Incarnation Placement::Period::incarnation(NodeId id) const {
  const auto at = std::ranges::lower_bound(record.members, id, {}, &RingMember::id);
  return at != record.members.end() && at->id == id ? at->incarnation : 0;
}

}  // namespace sd::cluster
