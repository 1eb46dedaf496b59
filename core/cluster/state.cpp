#include "core/cluster/state.hpp"

#include <algorithm>
#include <set>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/cluster/vdi_name.hpp"

namespace sd::cluster {

namespace {

enum class Counting { up, known };

std::size_t zones_that_store(const State& state, Counting counting) {
  std::set<std::uint32_t> zones;
  for (const auto& [id, member] : state.members)
    if ((member.up || counting == Counting::known) && member.vnodes > 0) zones.insert(member.zone);
  return zones.size();
}

bool size_is_valid(std::uint64_t size) {
  return size > 0 && size <= limits::max_vdi_size && size % limits::sector_size == 0;
}

}  // namespace

Result State::apply(std::uint64_t index, const Command& command) {
  SD_ASSERT(index > applied, "commands are applied in the order of the log");
  applied = index;
  if (command.number != 0 && proposers_.size() >= limits::max_proposers && !proposers_.contains(command.proposer))
    return {Status::busy};
  if (command.number != 0) {
    auto& proposer = proposers_[command.proposer];
    if (command.proposer_incarnation < proposer.incarnation) return {Status::stale};
    if (command.proposer_incarnation > proposer.incarnation) proposer = {command.proposer_incarnation, {}};
    for (const auto& known : proposer.outcomes)
      if (known.number == command.number) return known.result;
    // A command so old that its outcome is forgotten must not take effect again.
    if (!proposer.outcomes.empty() && proposer.outcomes.size() == remembered_outcomes &&
        command.number < proposer.outcomes.front().number)
      return {Status::stale};
  }
  const Result result = std::visit([&](const auto& body) { return perform(index, body); }, command.body);
  if (command.number != 0) {
    auto& outcomes = proposers_[command.proposer].outcomes;
    outcomes.push_back({command.number, result});
    if (outcomes.size() > remembered_outcomes) outcomes.pop_front();
  }
  return result;
}

std::optional<Result> State::outcome(NodeId proposer, Incarnation incarnation, std::uint64_t number) const {
  const auto found = proposers_.find(proposer);
  if (found == proposers_.end() || found->second.incarnation != incarnation) return {};
  for (const auto& known : found->second.outcomes)
    if (known.number == number) return known.result;
  return {};
}

std::uint64_t State::generation(Vid vid) const {
  const Vdi* vdi = find(vid);
  if (!vdi || vdi->owner == 0 || epochs.empty()) return 0;
  return std::max(vdi->owner_index, epochs.back().log_index);
}

const Vdi* State::find(Vid vid) const {
  const auto found = vdis.find(vid);
  return found == vdis.end() ? nullptr : &found->second;
}

const Vdi* State::find(std::string_view name) const {
  for (const auto& [vid, vdi] : vdis)
    if (!vdi.deleting && vdi.name == name) return &vdi;
  return nullptr;
}

const Member* State::member(NodeId id) const {
  const auto found = members.find(id);
  return found == members.end() ? nullptr : &found->second;
}

bool State::is_up(NodeId id, Incarnation incarnation) const {
  const Member* m = member(id);
  return m && m->up && m->incarnation == incarnation;
}

// While history stays open every epoch is kept, and what is kept must fit into a snapshot. So changes that can wait are
// refused first, then those who want to join; those who are gone are taken out for as long as there is any room.
bool State::has_room_for_epoch(EpochReason reason) const {
  constexpr std::size_t kept_back[] = {limits::max_epochs / 2, limits::max_epochs / 4, 1};
  const std::size_t back = kept_back[static_cast<std::size_t>(reason)];
  const std::size_t most =
      std::min(limits::max_epochs, limits::max_epoch_members / std::max<std::size_t>(members.size(), 1));
  return !formatted || epochs.size() + back * most / limits::max_epochs < most;
}

void State::begin_epoch(std::uint64_t index) {
  EpochRecord record;
  record.epoch = epoch() + 1;
  record.log_index = index;
  for (const auto& [id, member] : members)
    if (member.placed && !member.draining && member.vnodes > 0)
      record.members.push_back({id, member.incarnation, member.zone, member.vnodes, member.up, false});
  if (!formatted) epochs.clear();  // no data yet, so no history either
  epochs.push_back(std::move(record));
}

Result State::perform(std::uint64_t, const Format& format) {
  if (formatted && !format.force) return {Status::exists};
  const std::size_t zones = zones_that_store(*this, Counting::up);
  const std::size_t wanted = format.copies == 0 ? std::min<std::size_t>(3, zones) : format.copies;
  if (wanted == 0 || wanted > limits::max_copies) return {zones == 0 ? Status::not_enough_nodes : Status::invalid};
  if (wanted > zones) return {Status::not_enough_nodes};
  formatted = true;
  shut_down = false;
  uuid = format.uuid;
  copies = static_cast<std::uint8_t>(wanted);
  // What an earlier format left is removed in the background; until then its numbers stay taken, so nothing old can
  // show through.
  for (auto& [vid, vdi] : vdis) vdi.deleting = true;
  return {};
}

Result State::perform(std::uint64_t index, const Join& join) {
  const Member& wanted = join.member;
  if (wanted.id == 0) return {Status::invalid};
  const auto found = members.find(wanted.id);
  if (found == members.end()) {
    if (members.size() >= limits::max_members) return {Status::busy};
  } else {
    // Its disk must have been there in the incarnation that it had last, or it is an old one.
    if (wanted.incarnation != found->second.incarnation && join.follows != found->second.incarnation)
      return {Status::stale};
  }
  if (!has_room_for_epoch(EpochReason::join)) return {Status::busy};
  Member joined = wanted;
  joined.up = joined.placed = true;
  joined.left = false;
  joined.draining = found != members.end() && found->second.draining;
  if (found != members.end() && found->second == joined) return {};
  members[wanted.id] = joined;
  // A new node at the address of one that is down: that one's disk is gone, so nobody waits for it. A known one may
  // only have moved.
  if (found == members.end())
    for (auto& [id, member] : members)
      if (is_replaced(member)) member.placed = false;
  shut_down = false;  // whoever joins after a shutdown means to serve again
  begin_epoch(index);
  return {};
}

Result State::perform(std::uint64_t index, const Remove& remove) {
  if (!has_room_for_epoch(EpochReason::loss)) return {Status::busy};
  const auto take_down = [&](NodeId id, Incarnation incarnation, bool leave) {
    const auto found = members.find(id);
    if (found == members.end()) return Status::not_found;
    if (!found->second.up || found->second.incarnation != incarnation) return Status::stale;
    found->second.up = false;
    found->second.left = leave;
    if (!formatted || grace_ms == 0) found->second.placed = false;
    return Status::ok;
  };
  Status status = take_down(remove.id, remove.incarnation, remove.leave);
  for (const auto& [id, incarnation] : remove.with)
    if (take_down(id, incarnation, false) == Status::ok) status = Status::ok;
  if (status == Status::ok) begin_epoch(index);
  return {status};
}

Result State::perform(std::uint64_t index, const CreateVdi& create) {
  if (!formatted) return {Status::not_formatted};
  if (!valid_name(create.name) || !size_is_valid(create.size) || create.copies > limits::max_copies)
    return {Status::invalid};
  if (const Vdi* existing = find(create.name)) return {Status::exists, existing->vid};
  if (vdis.size() >= limits::max_vdis) return {Status::no_space};
  const std::uint8_t wanted = create.copies == 0 ? copies : create.copies;
  // A member that is away for a while leaves its slot vacant; that is no reason to refuse a disk.
  if (wanted > zones_that_store(*this, Counting::known)) return {Status::not_enough_nodes};
  Vid vid = first_vid_for(create.name);
  while (vdis.contains(vid)) vid = vid == max_vid ? 1 : vid + 1;
  Vdi vdi;
  vdi.vid = vid;
  vdi.name = create.name;
  vdi.size = create.size;
  vdi.copies = wanted;
  vdi.created_index = index;
  vdis.emplace(vid, std::move(vdi));
  return {Status::ok, vid};
}

// Whoever asked may have asked twice, and long ago: the number may be another disk's by now.
Vdi* State::find(const DiskId& disk) {
  const auto found = vdis.find(disk.vid);
  return found != vdis.end() && found->second.created_index == disk.created_index ? &found->second : nullptr;
}

Result State::perform(std::uint64_t, const DeleteVdi& del) {
  Vdi* vdi = find(del.disk);
  if (!vdi || vdi->deleting) return {Status::not_found};
  vdi->deleting = true;
  return {};
}

Result State::perform(std::uint64_t, const PurgeVdi& purge) {
  const Vdi* vdi = find(purge.disk);
  if (!vdi) return {Status::not_found};
  if (!vdi->deleting) return {Status::invalid};
  vdis.erase(vdi->vid);
  return {};
}

Result State::perform(std::uint64_t, const ResizeVdi& resize) {
  Vdi* vdi = find(resize.disk);
  if (!vdi || vdi->deleting) return {Status::not_found};
  if (!size_is_valid(resize.size) || resize.size < vdi->size) return {Status::invalid};
  vdi->size = resize.size;
  return {};
}

Result State::perform(std::uint64_t index, const TakeOwnership& take) {
  const auto found = vdis.find(take.vid);
  if (found == vdis.end()) return {Status::not_found};
  Vdi& vdi = found->second;
  if (!is_up(take.node, take.incarnation)) return {Status::stale};
  if (vdi.owner == take.node) return {};
  if (vdi.owner_index != take.expected_owner_index) return {Status::stale};
  // An owner that is up keeps the disk; others forward to it.
  if (const Member* owner = member(vdi.owner); owner && owner->up) return {Status::exists};
  vdi.owner = take.node;
  vdi.owner_index = index;
  return {};
}

Result State::perform(std::uint64_t, const MarkClean& clean) {
  if (epochs.empty() || clean.epoch != epoch()) return {Status::stale};
  epochs.erase(epochs.begin(), epochs.end() - 1);
  return {};
}

Result State::perform(std::uint64_t, const Shutdown&) {
  shut_down = true;
  return {};
}

Result State::perform(std::uint64_t, const SwitchRecovery& command) {
  recovery_off = !command.enabled;
  return {};
}

Result State::perform(std::uint64_t, const SetThrottle& set) {
  recovery_rates = set.rates;
  return {};
}

// --- Absence

bool State::is_drained(NodeId id) const {
  const Member* m = member(id);
  return m && m->draining && (epochs.size() == 1 || SD_BUG(drained_too_early));
}

bool State::is_replaced(const Member& member) const {
  return !member.up && std::ranges::any_of(members, [&](const auto& other) {
    return other.second.up && other.second.address == member.address;
  });
}

bool State::is_forgettable(const Member& member) const {
  return !member.up && (epochs.size() == 1 || SD_BUG(forget_early)) &&
         (member.draining || (!member.placed && is_replaced(member)));
}

std::vector<NodeId> State::missing() const {
  std::size_t fewest_copies = copies;
  for (const auto& [vid, vdi] : vdis)
    if (!vdi.deleting) fewest_copies = std::min<std::size_t>(fewest_copies, vdi.copies);
  std::set<NodeId> missing;
  for (std::size_t i = 0; i + 1 < epochs.size(); ++i) {
    std::set<std::uint32_t> zones, lost;
    for (const RingMember& m : epochs[i].members) {
      zones.insert(m.zone);
      if (!m.given_up && !(m.up && is_up(m.id, m.incarnation))) lost.insert(m.zone);
    }
    if (lost.empty() || lost.size() < std::min(fewest_copies, zones.size())) continue;
    for (const RingMember& m : epochs[i].members)
      if (const Member* now = member(m.id); m.up && !m.given_up && (!now || !now->up)) missing.insert(m.id);
  }
  return {missing.begin(), missing.end()};
}

Result State::perform(std::uint64_t, const SetGrace& set) {
  grace_ms = set.milliseconds;
  return {};
}

Result State::perform(std::uint64_t index, const Expel& expel) {
  const auto found = members.find(expel.id);
  if (found == members.end()) return {Status::not_found};
  Member& member = found->second;
  if (member.up || !member.placed || member.incarnation != expel.incarnation) return {Status::stale};
  if (!has_room_for_epoch(EpochReason::join)) return {Status::busy};
  member.placed = false;
  if (member.vnodes > 0 && !member.draining) begin_epoch(index);
  return {};
}

Result State::perform(std::uint64_t index, const Drain& drain) {
  const auto found = members.find(drain.id);
  if (found == members.end()) return {Status::not_found};
  Member& member = found->second;
  if (member.draining == drain.on) return {};
  if (!has_room_for_epoch(EpochReason::choice)) return {Status::busy};
  if (drain.on && formatted && member.vnodes > 0 && member.placed) {
    // Its data must have somewhere to go.
    std::set<std::uint32_t> zones;
    for (const auto& [id, other] : members)
      if (id != drain.id && other.up && other.placed && !other.draining && other.vnodes > 0) zones.insert(other.zone);
    std::size_t needed = copies;
    for (const auto& [vid, vdi] : vdis)
      if (!vdi.deleting) needed = std::max<std::size_t>(needed, vdi.copies);
    if (zones.size() < needed) return {Status::not_enough_nodes};
  }
  member.draining = drain.on;
  if (member.vnodes > 0 && member.placed) begin_epoch(index);
  return {};
}

Result State::perform(std::uint64_t, const Forget& forget) {
  const auto found = members.find(forget.id);
  if (found == members.end()) return {Status::not_found};
  if (found->second.incarnation != forget.incarnation || !is_forgettable(found->second)) return {Status::stale};
  members.erase(found);
  proposers_.erase(forget.id);
  return {};
}

Result State::perform(std::uint64_t index, const GiveUp&) {
  if (!has_room_for_epoch(EpochReason::loss)) return {Status::busy};
  for (EpochRecord& record : epochs)
    for (RingMember& m : record.members)
      if (const Member* now = member(m.id); !now || !now->up) m.given_up = true;
  for (auto& [id, member] : members)
    if (!member.up) member.placed = false;
  begin_epoch(index);
  return {};
}

void State::found_anew(std::uint64_t index, NodeId survivor, std::uint64_t old_group) {
  SD_ASSERT(index > applied, "a log that replaces another goes on behind it");
  applied = index;
  replaced_group = old_group;
  for (auto& [id, member] : members)
    if (id != survivor) member.up = member.placed = false;
  if (!has_room_for_epoch(EpochReason::loss)) epochs.erase(epochs.begin());
  begin_epoch(index);
}

}  // namespace sd::cluster
