// The check that an operator asks for: every copy of every object is read at its members, each block against its
// checksum, and what is wrong is put right as it is found.
//
// Nothing of its own is needed for that. A member repairs damaged blocks as for the scrub; and one whose copy turns out
// to be missing, incomplete or older than the owner knows it to be is the owner's reason to ask all members anew, which
// makes their copies equal. So a check disturbs no client: it only ever does early what else would be done when
// somebody comes by.
//
// A request checks a bounded number of objects, for a bounded time, and says where to go on: whoever asks keeps the
// state. One request of a disk is worked on at a time, some objects at once; members keep to the rate of recovery. A
// new generation asks again about the objects under way.
#include <algorithm>
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/member_set.hpp"
#include "core/replication/repair_request.hpp"
#include "core/volume/volume.hpp"

namespace sd {

using member_set::contains;
using member_set::take;

namespace {

constexpr std::size_t objects_at_once = 4;
constexpr std::uint64_t objects_per_request = 64;
constexpr Time begins_for = seconds(2);  // after that a request ends with what it has begun
// with an object that does not get on; what waits for members that are away is not waited for here
constexpr Time patience = seconds(10);
constexpr Time load_pause = milliseconds(250);
constexpr unsigned max_rounds = 3;

}  // namespace

void Volume::submit_check(Time now, std::uint64_t io, VolumeEffects& out) {
  const Io& asked = *ios_.find(io);
  const std::uint64_t objects = state_.find(vid_)->objects();
  Check check;
  check.io = io;
  check.first = check.next = std::min(asked.offset / limits::object_size, objects);
  check.end = check.next + std::min<std::uint64_t>({asked.length, max_checked_objects, objects - check.next});
  checks_.push_back(std::move(check));
  run_checks(now, out);
}

void Volume::run_checks(Time now, VolumeEffects& out) {
  while (!checks_.empty()) {
    Check& check = checks_.front();
    if (check.since == never) check.since = now;
    for (bool again = true; again;) {
      begin_checks(now, check, out);
      again = false;
      for (auto at = check.open.begin(); at != check.open.end();) {
        if (!go_on(now, *at, out)) {
          ++at;
          continue;
        }
        check.counts += at->counts;
        at = check.open.erase(at);
        again = true;
      }
    }
    if (!check.open.empty() || begins_more(now, check)) return;
    const std::uint64_t io = check.io;
    ios_.find(io)->payload.push_back(pool_.copy_of(encode(CheckAnswer{check.next, check.counts})));
    checks_.pop_front();
    finish_io(now, io, out);
  }
}

// A request gets on by one object at least.
bool Volume::begins_more(Time now, const Check& check) {
  return check.next < check.end &&
         (check.next == check.first || (check.begun < objects_per_request && now - check.since < begins_for));
}

void Volume::begin_checks(Time now, Check& check, VolumeEffects& out) {
  const auto begin = [&](Oid oid) {
    Checked& checked = check.open.emplace_back();
    checked.oid = oid;
    checked.since = now;
    ++check.begun;
  };
  while (check.open.size() < objects_at_once && begins_more(now, check)) {
    const auto index = static_cast<std::uint32_t>(check.next);
    if (index % limits::index_entries_per_object == 0 && check.index_begun != index) {
      check.index_begun = index;
      begin(Oid::index_object(vid_, index / limits::index_entries_per_object));
      continue;
    }
    const std::uint32_t page = ObjectMap::page_of(index);
    if (now >= check.load_at && !map_.want(page)) {
      check.load_at = now + load_pause;
      load_page(now, page, out);
    }
    if (!map_.want(page)) {
      if (now - check.since < patience) return;
      ++check.counts.unchecked;
      out.notices.push_back("check: " + to_string(Oid::index_object(vid_, index / limits::index_entries_per_object)) +
                            " cannot be read; which objects there are behind it is not known");
      check.next = std::min<std::uint64_t>(check.end, std::uint64_t{page + 1} * ObjectMap::page_entries);
      continue;
    }
    if (map_.exists(index)) begin(Oid::data(vid_, index));
    ++check.next;
  }
}

// True when the object is done with.
bool Volume::go_on(Time now, Checked& checked, VolumeEffects& out) {
  if (now - checked.since >= patience || checked.rounds > max_rounds) {
    SD_SOMETIMES(true, check_gives_up);
    if (checked.op != 0) ops_.erase(checked.op);
    ++checked.counts.objects;
    ++checked.counts.unchecked;
    out.notices.push_back("check: object " + to_string(checked.oid) +
                          " cannot be checked, or not all its copies be made whole, for now");
    return true;
  }
  if (checked.op != 0) return false;
  Object& object = object_for(checked.oid);
  if (!object.ready) {
    if (object.unpeered() && object.doubts.retry_at == never) peer(now, object, out);
    return false;
  }
  if (read_copies(now, object, checked, out)) return false;
  if (object.version != Version{}) {
    ++checked.counts.objects;
    checked.counts.absent += copies_ - std::min<std::size_t>(copies_, object.acting.size());
  }
  return true;
}

// False if nobody is left to be asked.
bool Volume::read_copies(Time now, const Object& object, Checked& checked, VolumeEffects& out) {
  Op op;
  op.kind = Op::Kind::check;
  op.sent = now;
  op.version = object.writes.empty() ? object.version : ops_.find(object.writes.front())->previous;
  for (const NodeId member : object.acting)
    if (!contains(checked.read, member) && !(SD_BUG(check_skips_copies) && member != object.acting.front()))
      op.waiting_for.push_back(member);
  if (op.waiting_for.empty()) return false;
  const ActingSet asked = op.waiting_for;
  checked.op = ops_.insert(std::move(op));
  for (const NodeId member : asked) out.requests.emplace_back(member, check_request(checked, member));
  return true;
}

Volume::Request Volume::check_request(const Checked& checked, NodeId member) const {
  Request request = whole_repair(state_, placement_, member, checked.oid);
  request.id = checked.op;
  request.background = true;
  return request;
}

Volume::Checked* Volume::checked_by(std::uint64_t op) {
  if (checks_.empty()) return nullptr;
  auto& open = checks_.front().open;
  const auto at = std::ranges::find(open, op, &Checked::op);
  return at == open.end() ? nullptr : &*at;
}

void Volume::on_check_reply(Time now, std::uint64_t id, Op& op, NodeId from, const Reply& reply, VolumeEffects& out) {
  Checked* checked = checked_by(id);
  if (!checked || reply.generation != generation_) return;
  const bool read = reply.status == Status::ok || reply.status == Status::damaged;
  const bool whole = read && !reply.incomplete && reply.exists && reply.version >= op.version;
  const bool lacks = op.version != Version{} && !whole && (read || reply.status == Status::behind);
  CheckCounts& counts = checked->counts;
  if (!read && !lacks && reply.status != Status::behind) {
    // What was repaired before it was cut short is not found damaged again.
    counts.damaged += reply.read.repaired;
    counts.repaired += reply.read.repaired;
    if (reply.status == Status::busy) checked->since = now;
    return;  // asked again by tick
  }
  checked->since = now;
  take(op.waiting_for, from);
  counts.repaired += reply.read.repaired;
  if (lacks) {
    SD_SOMETIMES(true, check_finds_old_copy);
    counts.damaged += reply.read.repaired;
    checked->old_copy = true;
  } else {
    counts.copies += whole;
    counts.bytes += std::uint64_t{reply.read.blocks} * limits::block_size;
    counts.damaged += reply.read.damaged;
    counts.lost = std::max<std::uint64_t>(counts.lost, reply.read.lost);  // equal copies have lost the same
    checked->read.push_back(from);
  }
  if (!op.waiting_for.empty()) return;
  ops_.erase(id);
  checked->op = 0;
  if (!std::exchange(checked->old_copy, false)) return;
  ++checked->rounds;
  if (const auto object = objects_.find(checked->oid); object != objects_.end() && object->second->ready)
    demote(now, *object->second, out);
}

void Volume::repeat_check(Time now, std::uint64_t id, Op& op, VolumeEffects& out) {
  const Checked* checked = checked_by(id);
  if (!checked) return;
  op.sent = now;
  for (const NodeId member : op.waiting_for) out.requests.emplace_back(member, check_request(*checked, member));
}

// A member's copy was made whole.
void Volume::count_restored(Time now, Oid oid) {
  if (checks_.empty()) return;
  for (Checked& checked : checks_.front().open) {
    if (checked.oid != oid) continue;
    ++checked.counts.restored;
    checked.since = now;
  }
}

// In a new generation. What was read is good whichever generation it belongs to.
void Volume::restart_checks(Time now) {
  if (checks_.empty()) return;
  for (Checked& checked : checks_.front().open) {
    if (checked.op != 0) ops_.erase(std::exchange(checked.op, 0));
    checked.old_copy = false;
    checked.since = now;
  }
}

}  // namespace sd
