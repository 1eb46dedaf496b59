#include "core/cluster/placement.hpp"

#include <algorithm>

namespace sd::cluster {

Placement::Placement(const State& state) {
  std::vector<RingNode> nodes;
  for (const EpochRecord& record : state.epochs) {
    nodes.clear();
    for (const RingMember& m : record.members) nodes.push_back({m.id, m.zone, m.vnodes});
    Period period;
    period.record = record;
    period.ring = Ring(nodes);
    period.all_up = std::ranges::all_of(record.members, &RingMember::up);
    periods_.push_back(std::move(period));
  }
}

const RingMember* Placement::Period::find(NodeId id) const {
  const auto at = std::ranges::lower_bound(record.members, id, {}, &RingMember::id);
  return at != record.members.end() && at->id == id ? &*at : nullptr;
}

Incarnation Placement::Period::incarnation(NodeId id) const {
  const RingMember* m = find(id);
  return m ? m->incarnation : 0;
}

bool Placement::Period::given_up(NodeId id) const {
  const RingMember* m = find(id);
  return m && m->given_up;
}

ActingSet Placement::Period::acting(Oid oid, std::size_t copies) const {
  ActingSet members = ring.locate(oid, copies);
  if (!all_up) members.erase(std::remove_if(members.begin(), members.end(), [&](NodeId id) { return !find(id)->up; }), members.end());
  return members;
}

}  // namespace sd::cluster
