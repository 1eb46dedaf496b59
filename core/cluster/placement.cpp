#include "core/cluster/placement.hpp"

#include <algorithm>

namespace sd::cluster {

void Placement::follow(const State& state) {
  std::vector<Period> before = std::move(periods_);
  periods_.clear();
  periods_.reserve(state.epochs.size());
  std::vector<RingNode> nodes;
  auto old = before.begin();
  for (const EpochRecord& record : state.epochs) {
    // Both lists are in order. A snapshot may bring other epochs under the same numbers, and an operator's word changes
    // past ones.
    while (old != before.end() && old->record.epoch < record.epoch) ++old;
    if (old != before.end() && old->record == record) {
      periods_.push_back(std::move(*old++));
      continue;
    }
    Period period;
    period.record = record;
    period.all_up = std::ranges::all_of(record.members, &RingMember::up);
    // Most epochs only say who is up; the shares, and so the ring, are those of the epoch before.
    const auto same_share = [](const RingMember& a, const RingMember& b) {
      return a.id == b.id && a.zone == b.zone && a.vnodes == b.vnodes;
    };
    if (!periods_.empty() && std::ranges::equal(periods_.back().record.members, record.members, same_share)) {
      period.ring = periods_.back().ring;
    } else {
      nodes.clear();
      for (const RingMember& m : record.members) nodes.push_back({m.id, m.zone, m.vnodes});
      period.ring = Ring(nodes);
    }
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
  if (!all_up)
    members.erase(std::remove_if(members.begin(), members.end(), [&](NodeId id) { return !find(id)->up; }),
                  members.end());
  return members;
}

ActingSet Placement::holders(const State& state, Oid oid, std::size_t copies) const {
  ActingSet holders;
  for (const Period& period : periods_)
    for (const NodeId id : period.ring.locate(oid, copies)) {
      const Member* m = state.member(id);
      if (m && m->up && std::ranges::find(holders, id) == holders.end()) holders.push_back(id);
    }
  return holders;
}

}  // namespace sd::cluster
