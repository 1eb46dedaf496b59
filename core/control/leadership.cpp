#include "core/control/leadership.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::control {

namespace {

constexpr Time repeat = seconds(1);  // of a proposal that the cluster state does not show yet
constexpr Time join_repeat = milliseconds(500);

// True if it is to be proposed (again) now; then it counts as proposed.
bool due(std::optional<Time>& proposed, Time now, Time interval) {
  if (proposed && now - *proposed < interval) return false;
  proposed = now;
  return true;
}

}  // namespace

const Leadership::MemberWatch* Leadership::watch_of(NodeId member) const {
  const auto at = watches_.find(member);
  return at == watches_.end() ? nullptr : &at->second;
}

// --- Leases

bool Leadership::may_grant(Time now, const cluster::State& state, NodeId to, Incarnation incarnation,
                           Time quorum_contact, std::uint64_t applied_term) const {
  if (!state.is_up(to, incarnation)) return false;
  const MemberWatch* watch = watch_of(to);
  const bool removing = watch && watch->removing == incarnation;
  // Longer ago than this another leader may have been elected. It waits for a whole lease from its election before it
  // removes anybody.
  const bool alone = quorum_contact + timing_.election_timeout <= now;
  SD_SOMETIMES(applied_term != elected_.term, lease_refused_early);
  SD_SOMETIMES(removing, lease_refused_removing);
  SD_SOMETIMES(alone, lease_refused_alone);
  return applied_term == elected_.term && !(removing && !SD_BUG(grant_while_removing)) && !alone;
}

void Leadership::on_granted(Time now, NodeId to, std::uint64_t clean, std::vector<Vid>&& purged) {
  MemberWatch& watch = watches_[to];
  watch.granted = now;
  watch.clean = clean;
  watch.purged = std::move(purged);
}

Time Leadership::last_lease(NodeId member) const {
  const bool led = member == elected_.earlier_leader && member != 0;
  const Time by_others = led ? std::min(elected_.since, elected_.earlier_bound) : elected_.since;
  const MemberWatch* watch = watch_of(member);
  return std::max(by_others, watch ? watch->granted.value_or(0) : 0);
}

// --- Removal

std::vector<Leadership::Silent> Leadership::silent(Time now, const cluster::State& state, NodeId self,
                                                   const std::function<bool(const Endpoint&)>& is_gone) {
  const Time patience = SD_BUG(remove_early) ? timing_.lease / 4 : timing_.lease + timing_.lease_margin;
  std::vector<Silent> found;
  bool any_gone = false, others_soon = false;
  for (const auto& [id, member] : state.members) {
    if (!member.up || id == self) continue;
    const MemberWatch* watch = watch_of(id);
    if (watch && watch->remove_proposed && now - *watch->remove_proposed < repeat) continue;
    const bool gone = is_gone(member.address);
    const Time due_at = last_lease(id) + patience;
    any_gone = any_gone || gone;
    if (gone || now >= due_at)
      found.push_back({id, member.incarnation, gone});
    else
      others_soon = others_soon || (now + timing_.lease / 4 >= due_at && !SD_BUG(remove_one_by_one));
  }
  if (found.empty() || (others_soon && !any_gone)) return {};
  SD_SOMETIMES(any_gone, member_gone);
  SD_SOMETIMES(!any_gone, member_silent);
  SD_SOMETIMES(found.size() > 1, removed_together);
  if (SD_BUG(remove_one_by_one)) found.resize(1);
  for (const Silent& one : found) {
    MemberWatch& watch = watches_[one.id];
    watch.remove_proposed = now;
    watch.removing = one.incarnation;
  }
  return found;
}

// --- Absence

void Leadership::watch_absent(Time now, const cluster::State& state, const std::vector<NodeId>& voters,
                              const std::vector<NodeId>& learners) {
  std::erase_if(watches_, [&](const auto& entry) {
    const auto in = [&](const std::vector<NodeId>& ids) { return std::ranges::find(ids, entry.first) != ids.end(); };
    return !state.member(entry.first) && !in(voters) && !in(learners);
  });
  const auto note = [&](NodeId id) {
    MemberWatch& watch = watches_[id];
    const auto* member = state.member(id);
    if (member && member->up)
      watch.absent_since.reset();
    else if (!watch.absent_since)
      watch.absent_since = now;
  };
  for (const auto& [id, member] : state.members) note(id);
  for (const NodeId id : voters) note(id);
  for (const NodeId id : learners) {
    std::optional<Time>& since = watches_[id].stranger_since;
    if (state.member(id))
      since.reset();
    else if (!since)
      since = now;
  }
}

Time Leadership::stranger_for(Time now, NodeId learner) const {
  const MemberWatch* watch = watch_of(learner);
  return watch && watch->stranger_since ? now - *watch->stranger_since : 0;
}

Time Leadership::absent_for(Time now, NodeId member) const {
  const MemberWatch* watch = watch_of(member);
  return watch && watch->absent_since ? now - *watch->absent_since : 0;
}

std::vector<NodeId> Leadership::to_expel(Time now, const cluster::State& state) {
  std::vector<NodeId> found;
  for (const auto& [id, member] : state.members) {
    if (member.up || !member.placed || absent_for(now, id) < milliseconds(state.grace_ms)) continue;
    if (due(watches_[id].expel_proposed, now, repeat)) found.push_back(id);
  }
  return found;
}

bool Leadership::may_forget(Time now, NodeId member) { return due(watches_[member].forget_proposed, now, repeat); }

// --- Joining

void Leadership::on_join_request(NodeId member) {
  if (const auto at = watches_.find(member); at != watches_.end()) at->second.remove_proposed.reset();
}

bool Leadership::may_let_in(Time now, NodeId member) {
  MemberWatch& watch = watches_[member];
  if (!due(watch.join_proposed, now, join_repeat)) return false;
  watch.removing.reset();
  watch.granted = now;
  return true;
}

// --- What members report

bool Leadership::all_clean(const cluster::State& state) const {
  for (const auto& [vid, vdi] : state.vdis) {
    if (vdi.deleting || vdi.owner == 0) continue;
    const auto* owner = state.member(vdi.owner);
    const MemberWatch* watch = watch_of(vdi.owner);
    const bool clean = owner && owner->up && watch && watch->clean >= state.generation(vid);
    if (!clean && !SD_BUG(clean_too_early)) return false;
  }
  return true;
}

bool Leadership::purged_by_others(const cluster::State& state, NodeId self, Vid vid) const {
  for (const auto& [id, member] : state.members) {
    if (!member.up || member.vnodes == 0 || id == self) continue;
    const MemberWatch* watch = watch_of(id);
    if (!watch || std::ranges::find(watch->purged, vid) == watch->purged.end()) return false;
  }
  return true;
}

}  // namespace sd::control
