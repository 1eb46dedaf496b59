#include "core/volume/disk_check.hpp"

#include <algorithm>
#include <utility>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/repair_request.hpp"

namespace sd::volume_detail {

using member_set::contains;
using member_set::take;
using peer::ObjectReply;
using replication::Op;

namespace {

constexpr std::size_t objects_at_once = 4;
constexpr std::uint64_t objects_per_request = 64;
constexpr Time begins_for = seconds(2);  // after that a request ends with what it has begun
// with an object that does not get on; what waits for members that are away is not waited for here
constexpr Time patience = seconds(10);
constexpr Time load_pause = milliseconds(250);
constexpr unsigned max_rounds = 3;

}  // namespace

void DiskCheck::submit(std::uint64_t io, std::uint64_t first, std::uint64_t count) {
  const std::uint64_t objects = context_.state.find(context_.vid)->objects();
  Check check;
  check.io = io;
  check.first = check.next = std::min(first, objects);
  check.end = check.next + std::min<std::uint64_t>({count, max_checked_objects, objects - check.next});
  checks_.push_back(std::move(check));
}

std::optional<DiskCheck::Done> DiskCheck::run() {
  if (checks_.empty()) return {};
  Check& check = checks_.front();
  advance(check);
  if (!check.open.empty() || begins_more(check)) return {};
  const Done done{check.io, {check.next, check.counts}};
  checks_.pop_front();
  return done;
}

void DiskCheck::advance(Check& check) {
  if (check.since == never) check.since = context_.now;
  for (bool again = true; again;) {
    begin_some(check);
    again = false;
    for (auto at = check.open.begin(); at != check.open.end();) {
      if (!go_on(*at)) {
        ++at;
        continue;
      }
      check.counts += at->counts;
      at = check.open.erase(at);
      again = true;
    }
  }
}

// A request gets on by one object at least.
bool DiskCheck::begins_more(const Check& check) const {
  return check.next < check.end &&
         (check.next == check.first || (check.begun < objects_per_request && context_.now - check.since < begins_for));
}

void DiskCheck::begin(Check& check, Oid oid) const {
  Checked& checked = check.open.emplace_back();
  checked.oid = oid;
  checked.since = context_.now;
  ++check.begun;
}

bool DiskCheck::page_loaded(Check& check, std::uint32_t page) {
  if (context_.now >= check.load_at && !index_.want(page)) {
    check.load_at = context_.now + load_pause;
    index_.load(page);
  }
  return index_.want(page);
}

void DiskCheck::begin_some(Check& check) {
  while (check.open.size() < objects_at_once && begins_more(check)) {
    const auto index = static_cast<std::uint32_t>(check.next);
    const Oid index_object = Oid::index_object(context_.vid, index / limits::index_entries_per_object);
    if (index % limits::index_entries_per_object == 0 && check.index_begun != index) {
      check.index_begun = index;
      begin(check, index_object);
      continue;
    }
    const std::uint32_t page = ObjectMap::page_of(index);
    if (!page_loaded(check, page)) {
      if (context_.now - check.since < patience) return;
      ++check.counts.unchecked;
      context_.notice("check: " + to_string(index_object) +
                      " cannot be read; which objects there are behind it is not known");
      check.next = std::min<std::uint64_t>(check.end, std::uint64_t{page + 1} * ObjectMap::page_entries);
      continue;
    }
    if (index_.map().exists(index)) begin(check, Oid::data(context_.vid, index));
    ++check.next;
  }
}

void DiskCheck::give_up(Checked& checked) {
  SD_SOMETIMES(true, check_gives_up);
  if (checked.op != 0) context_.ops.erase(checked.op);
  ++checked.counts.objects;
  ++checked.counts.unchecked;
  context_.notice("check: object " + to_string(checked.oid) +
                  " cannot be checked, or not all its copies be made whole, for now");
}

// True when the object is done with.
bool DiskCheck::go_on(Checked& checked) {
  if (context_.now - checked.since >= patience || checked.rounds > max_rounds) {
    give_up(checked);
    return true;
  }
  if (checked.op != 0) return false;
  replication::Object& object = objects_.get(checked.oid);
  if (!object.ready) {
    objects_.touch(object);
    return false;
  }
  if (read_copies(object, checked)) return false;
  if (object.version != Version{}) {
    ++checked.counts.objects;
    checked.counts.absent += context_.copies - std::min<std::size_t>(context_.copies, object.acting.size());
  }
  return true;
}

// False if nobody is left to be asked.
bool DiskCheck::read_copies(const replication::Object& object, Checked& checked) {
  Op op;
  op.kind = Op::Kind::check;
  op.sent = context_.now;
  op.version = objects_.settled_version(object);
  for (const NodeId member : object.acting)
    if (!contains(checked.read, member) && !(SD_BUG(check_skips_copies) && member != object.acting.front()))
      op.waiting_for.push_back(member);
  if (op.waiting_for.empty()) return false;
  const ActingSet asked = op.waiting_for;
  checked.op = context_.ops.insert(std::move(op));
  for (const NodeId member : asked) context_.send(member, request(checked, member));
  return true;
}

peer::ObjectRequest DiskCheck::request(const Checked& checked, NodeId member) const {
  peer::ObjectRequest request = whole_repair(context_.state, context_.placement, member, checked.oid);
  request.id = checked.op;
  request.background = true;
  return request;
}

DiskCheck::Checked* DiskCheck::checked_by(std::uint64_t op) {
  if (checks_.empty()) return nullptr;
  auto& open = checks_.front().open;
  const auto at = std::ranges::find(open, op, &Checked::op);
  return at == open.end() ? nullptr : &*at;
}

void DiskCheck::on_reply(std::uint64_t id, Op& op, NodeId from, const ObjectReply& reply) {
  Checked* checked = checked_by(id);
  if (!checked || reply.generation != context_.generation) return;
  const bool read = reply.status == Status::ok || reply.status == Status::damaged;
  const bool whole = read && !reply.incomplete && reply.exists && reply.version >= op.version;
  const bool lacks = op.version != Version{} && !whole && (read || reply.status == Status::behind);
  if (!read && !lacks && reply.status != Status::behind) {
    // What was repaired before it was cut short is not found damaged again.
    checked->counts.damaged += reply.read.repaired;
    checked->counts.repaired += reply.read.repaired;
    if (reply.status == Status::busy) checked->since = context_.now;
    return;  // asked again
  }
  checked->since = context_.now;
  take(op.waiting_for, from);
  count(*checked, from, reply, lacks, whole);
  if (!op.waiting_for.empty()) return;
  context_.ops.erase(id);
  checked->op = 0;
  if (!std::exchange(checked->old_copy, false)) return;
  ++checked->rounds;
  if (replication::Object* object = objects_.find(checked->oid); object && object->ready) objects_.demote(*object);
}

void DiskCheck::count(Checked& checked, NodeId from, const ObjectReply& reply, bool lacks, bool whole) const {
  CheckCounts& counts = checked.counts;
  counts.repaired += reply.read.repaired;
  if (lacks) {
    SD_SOMETIMES(true, check_finds_old_copy);
    counts.damaged += reply.read.repaired;
    checked.old_copy = true;
    return;
  }
  counts.copies += whole;
  counts.bytes += std::uint64_t{reply.read.blocks} * limits::block_size;
  counts.damaged += reply.read.damaged;
  counts.lost = std::max<std::uint64_t>(counts.lost, reply.read.lost);  // equal copies have lost the same
  checked.read.push_back(from);
}

void DiskCheck::repeat(std::uint64_t id, Op& op) {
  const Checked* checked = checked_by(id);
  if (!checked) return;
  op.sent = context_.now;
  for (const NodeId member : op.waiting_for) context_.send(member, request(*checked, member));
}

void DiskCheck::on_restored(Oid oid) {
  if (checks_.empty()) return;
  for (Checked& checked : checks_.front().open) {
    if (checked.oid != oid) continue;
    ++checked.counts.restored;
    checked.since = context_.now;
  }
}

// What was read is good whichever generation it belongs to.
void DiskCheck::on_generation() {
  if (checks_.empty()) return;
  for (Checked& checked : checks_.front().open) {
    if (checked.op != 0) context_.ops.erase(std::exchange(checked.op, 0));
    checked.old_copy = false;
    checked.since = context_.now;
  }
}

}  // namespace sd::volume_detail
