#include "core/replication/object_log.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::replication {

using member_set::add_sorted;
using member_set::contains;
using member_set::take;

namespace {

constexpr std::size_t trimmed_at_once = 64;
constexpr Time resend_interval = milliseconds(20);
constexpr Time repeat_after = seconds(1);  // a write without an answer is sent again
constexpr Time retry_after = milliseconds(200);
constexpr Time patience = seconds(30);  // with an object all of whose members are down

}  // namespace

Object* ObjectLog::find(Oid oid) {
  const auto at = objects_.find(oid);
  return at == objects_.end() ? nullptr : at->second.get();
}

Object& ObjectLog::get(Oid oid) {
  auto& slot = objects_[oid];
  if (!slot) {
    slot = std::make_unique<Object>();
    slot->oid = oid;
    slot->round = forgotten_round_;
  }
  return *slot;
}

void ObjectLog::trim() {
  auto at = objects_.upper_bound(trimmed_to_);
  for (std::size_t i = 0; i < trimmed_at_once && objects_.size() > context_.limits.objects; ++i) {
    if (at == objects_.end()) at = objects_.begin();
    trimmed_to_ = at->first;
    const Object& object = *at->second;
    SD_SOMETIMES(object.forgettable(), object_forgotten);
    if (!object.forgettable()) {
      ++at;
      continue;
    }
    forgotten_round_ = std::max(forgotten_round_, object.round);
    at = objects_.erase(at);
  }
}

void ObjectLog::begin(Oid oid) {
  if (objects_.contains(oid)) return;
  Object& object = get(oid);
  object.acting = context_.placement.acting(oid, context_.copies);
  object.ready = !object.acting.empty();
}

// --- The queue

void ObjectLog::enqueue(Object& object, std::uint64_t id) {
  context_.ops.find(id)->object = &object;
  object.waiting.push_back(id);
  if (object.peering) object.peering->hurry();
  pump(object);
}

// Sends what may go, in order of arrival.
void ObjectLog::pump(Object& object) {
  if (!object.ready) pump_reads(object);
  if (object.unpeered()) {
    if (!object.waiting.empty() && object.may_be_peered(context_.now)) peer(object);
    return;
  }
  pump_ready(object);
}

void ObjectLog::pump_ready(Object& object) {
  while (object.ready && !object.waiting.empty()) {
    const std::uint64_t id = object.waiting.front();
    const Op& op = *context_.ops.find(id);
    if (op.kind == Op::Kind::read) {
      if (!context_.serving && !SD_BUG(serve_without_lease)) return;
      if (overlaps_write(object, op) && !SD_BUG(read_past_write)) return;
      object.waiting.pop_front();
      if (object.version == Version{})
        context_.finish(id, Status::ok, context_.zeros(op.length));
      else
        start_read(object, id);
      continue;
    }
    if (object.writes.size() >= context_.limits.writes_per_object) return;
    object.waiting.pop_front();
    if (answered_without_members(object, id, op) || refused_for_space(object, id, op)) continue;
    start_write(object, id);
  }
}

// Of an object that is not ready, in order of arrival; a write would have to be taken by all.
void ObjectLog::pump_reads(Object& object) {
  while (!object.doubts.readable.empty() && !object.waiting.empty()) {
    const std::uint64_t id = object.waiting.front();
    const bool read = context_.ops.find(id)->kind == Op::Kind::read;
    if (read && !context_.serving && !SD_BUG(serve_without_lease)) return;
    object.waiting.pop_front();
    if (read)
      start_read(object, id);
    else
      context_.finish(id, Status::no_space);
  }
}

bool ObjectLog::overlaps_write(const Object& object, const Op& op) const {
  for (const std::uint64_t id : object.writes) {
    const Op& write = *context_.ops.find(id);
    if (write.offset < op.offset + op.length && op.offset < write.offset + write.length) return true;
  }
  return false;
}

// Writes that nothing is to be done for, or that nobody can judge any more.
bool ObjectLog::answered_without_members(Object& object, std::uint64_t id, const Op& op) {
  if (!object.known.empty() && std::ranges::binary_search(object.known, op.origin) && !SD_BUG(repeat_writes)) {
    SD_SOMETIMES(true, repeated_write_known);
    // An earlier owner carried it out, and others may have seen that: doing it again could undo what was written since.
    context_.finish(id, Status::ok);
    return true;
  }
  if (may_be_forgotten(object.forgotten, op.origin)) {
    // So late that nobody can say whether it was. An error leaves that open, as it is; carrying it out could undo what
    // was written since.
    context_.notice("object " + to_string(object.oid) +
                    ": a write came too late to know whether it was carried out before; it fails");
    context_.finish(id, Status::io_error);
    return true;
  }
  if (op.kind != Op::Kind::zero || object.version != Version{}) return false;
  context_.finish(id, Status::ok);
  return true;
}

// Refused here, before any member changed: a member that is really full could only be left behind. Ask whether space
// came back.
bool ObjectLog::refused_for_space(const Object& object, std::uint64_t id, const Op& op) {
  const auto full = [&](NodeId member) { return contains(context_.full, member); };
  if (op.kind != Op::Kind::write || std::ranges::none_of(object.acting, full)) return false;
  for (const NodeId member : object.acting)
    if (full(member)) context_.send(member, context_.make(Request::Op::query, 0, object.oid));
  context_.finish(id, Status::no_space);
  return true;
}

void ObjectLog::on_reply(std::uint64_t id, Op& op, NodeId from, Reply&& reply) {
  Object& object = *op.object;
  switch (op.kind) {
    case Op::Kind::read: on_read_reply(id, op, from, std::move(reply)); return;
    case Op::Kind::write:
    case Op::Kind::zero: on_write_reply(id, op, from, reply); return;
    default: act(object, object.peering->on_reply(op, from, std::move(reply)));
  }
}

// --- Reads

Version ObjectLog::settled_version(const Object& object) const {
  return object.writes.empty() ? object.version : context_.ops.find(object.writes.front())->previous;
}

NodeId ObjectLog::reader_for(const Object& object, const Op& op) const {
  const ActingSet& members = object.readers();
  const auto untried = [&](NodeId member) { return !contains(op.failures.tried, member); };
  if (contains(members, context_.self) && untried(context_.self)) return context_.self;
  const auto at = std::ranges::find_if(members, untried);
  return at == members.end() ? 0 : *at;
}

void ObjectLog::start_read(Object& object, std::uint64_t id) {
  Op& op = *context_.ops.find(id);
  const NodeId target = reader_for(object, op);
  if (target == 0) {
    read_failed(object, id, op);
    return;
  }
  op.waiting_for.assign(1, target);
  op.sent = context_.now;
  op.version = settled_version(object);
  ++object.reads;
  Request request = context_.make(Request::Op::read, id, object.oid);
  request.offset = op.offset;
  request.length = op.length;
  context_.send(target, std::move(request));
}

// Nobody is left to be asked.
void ObjectLog::read_failed(Object& object, std::uint64_t id, Op& op) {
  if (op.failures.bad_copy && !op.failures.repaired) {
    // Each copy is damaged somewhere in the range, not necessarily in the same place; and members of earlier epochs may
    // have good blocks.
    op.failures = {{}, false, true};
    object.waiting.push_front(id);
    object.damaged = object.acting;
    object.doubts.readable.clear();
    demote(object);
    return;
  }
  context_.notice("object " + to_string(object.oid) + ": no member returned good data for a read; the read fails");
  context_.finish(id, Status::io_error);
}

// In line again, in front, under a new number: an answer to the old one might show a write that came in between.
void ObjectLog::put_back(std::uint64_t id, Op& op) {
  op.waiting_for.clear();
  --op.object->reads;
  op.object->waiting.push_front(context_.ops.renumber(id));
}

void ObjectLog::requeue_read(std::uint64_t id, Op& op) {
  put_back(id, op);
  pump(*op.object);
}

void ObjectLog::retry_read(std::uint64_t id) {
  Op& op = *context_.ops.find(id);
  // After all were tried, begin again with the first.
  op.failures.tried.push_back(op.waiting_for.front());
  if (op.failures.tried.size() >= op.object->readers().size()) op.failures.tried.clear();
  requeue_read(id, op);
}

void ObjectLog::on_read_reply(std::uint64_t id, Op& op, NodeId from, Reply&& reply) {
  if (reply.generation != context_.generation) return;
  // Its disk kept an older state of the object than the one it answered for, and it does not know.
  const bool older = (reply.status == Status::ok || reply.status == Status::damaged) && reply.version < op.version &&
                     !SD_BUG(believe_old_reads);
  SD_SOMETIMES(older, read_from_older_copy);
  switch (older ? Status::behind : reply.status) {
    case Status::ok: on_read_data(id, op, std::move(reply.payload)); return;
    case Status::damaged: op.failures.bad_copy = true; [[fallthrough]];
    case Status::io_error:
      op.failures.tried.push_back(from);
      requeue_read(id, op);
      return;
    case Status::not_found:
    case Status::behind: {
      Object& object = *op.object;
      put_back(id, op);
      object.doubts.readable.clear();
      if (object.ready) demote(object);
      return;
    }
    default: return;
  }
}

void ObjectLog::on_read_data(std::uint64_t id, Op& op, Payload&& payload) {
  Object& object = *op.object;
  if (total_size(payload) != op.length) return;
  if (!context_.serving && !SD_BUG(serve_without_lease)) {
    requeue_read(id, op);
    return;
  }
  --object.reads;
  if (op.failures.bad_copy) {
    for (const NodeId member : op.failures.tried) ask_to_repair(object, member, op);
    context_.notice("object " + to_string(object.oid) + ": damaged blocks are being replaced from another member");
  }
  context_.finish(id, Status::ok, std::move(payload));
}

// Nobody waits for the outcome: a block that stays damaged is met again by the next read, or by the scrub.
void ObjectLog::ask_to_repair(const Object& object, NodeId member, const Op& op) {
  Request request = context_.make(Request::Op::repair, 0, object.oid);
  request.offset = op.offset;
  request.length = op.length;
  for (const NodeId other : object.acting)
    if (other != member) request.helpers.push_back(other);
  context_.send(member, std::move(request));
}

// --- Writes

void ObjectLog::start_write(Object& object, std::uint64_t id) {
  Op& op = *context_.ops.find(id);
  op.previous = object.version;
  op.version = {Version::generation_of(context_.generation, object.round), object.version.sequence + 1};
  object.round_used = true;
  object.version = op.version;
  object.writes.push_back(id);
  op.waiting_for = object.acting;
  op.sent = context_.now;
  op.repeats = 0;
  for (const NodeId member : object.acting) send_write(object, id, op, member);
}

void ObjectLog::send_write(const Object& object, std::uint64_t id, const Op& op, NodeId member) {
  Request request = context_.make(op.kind == Op::Kind::write ? Request::Op::write : Request::Op::zero, id, object.oid);
  request.version = op.version;
  request.previous = op.previous;
  request.offset = op.offset;
  request.length = op.length;
  request.payload = op.payload;
  request.origin = op.origin;
  context_.send(member, std::move(request));
}

void ObjectLog::on_write_reply(std::uint64_t id, Op& op, NodeId from, const Reply& reply) {
  Object& object = *op.object;
  // While the object is being peered the answer may concern what peering is about to redo; it asks again for what it
  // needs.
  if (!object.ready || reply.generation != context_.generation) return;
  switch (reply.status) {
    case Status::ok: on_acknowledged(object, id, from); return;
    case Status::behind: on_gap(object, id, from); return;
    case Status::damaged:
    case Status::invalid:
    case Status::no_space: on_refused_write(object, id, op, from, reply.status); return;
    default: return;  // sent again, or redone in the next generation
  }
}

void ObjectLog::on_acknowledged(Object& object, std::uint64_t id, NodeId from) {
  add_sorted(context_.dirty, from);
  // A member holds a prefix of the object's history, so this answer is one to all writes before as well.
  for (const std::uint64_t earlier : object.writes) {
    take(context_.ops.find(earlier)->waiting_for, from);
    if (earlier == id) break;
  }
  if (SD_BUG(ack_before_all_members)) context_.ops.find(object.writes.front())->waiting_for.clear();
  while (!object.writes.empty() && context_.ops.find(object.writes.front())->waiting_for.empty()) {
    const std::uint64_t done = object.writes.front();
    object.writes.pop_front();
    context_.finish(done, Status::ok);
  }
  pump(object);
}

// The member lacks a write before this one. If that is still under way its message was lost with a connection: send it
// again, and what follows it. If not, the two have parted.
void ObjectLog::on_gap(Object& object, std::uint64_t id, NodeId from) {
  const auto lost = std::ranges::find_if(
      object.writes, [&](std::uint64_t w) { return contains(context_.ops.find(w)->waiting_for, from); });
  if (lost == object.writes.end() || *lost == id) {
    demote(object);
    return;
  }
  if (context_.now - object.resent_at < resend_interval) return;
  object.resent_at = context_.now;
  for (auto at = lost; at != object.writes.end(); ++at)
    if (const Op& again = *context_.ops.find(*at); contains(again.waiting_for, from))
      send_write(object, *at, again, from);
}

void ObjectLog::on_refused_write(Object& object, std::uint64_t id, Op& op, NodeId from, Status status) {
  if (status == Status::damaged && !op.failures.repaired) {
    op.failures.repaired = true;
    // repaired by peering, which then sends the write again
    if (!contains(object.damaged, from)) object.damaged.push_back(from);
    demote(object);
    return;
  }
  std::erase(object.writes, id);
  context_.finish(id, status == Status::no_space ? Status::no_space : Status::io_error);
  demote(object);
}

void ObjectLog::repeat_writes(const Object& object) {
  for (const std::uint64_t id : object.writes) {
    Op& op = *context_.ops.find(id);
    if (context_.now - op.sent < repeat_after << std::min(op.repeats, 4u)) continue;
    op.sent = context_.now;
    ++op.repeats;
    for (const NodeId member : op.waiting_for) send_write(object, id, op, member);
  }
}

// --- Which copy counts

void ObjectLog::end_peering(Object& object) { object.peering.reset(); }

void ObjectLog::demote(Object& object) {
  end_peering(object);
  object.ready = false;
  object.doubts.retry_at = never;
  peer(object);
}

void ObjectLog::touch(Object& object) {
  if (object.unpeered() && object.doubts.retry_at == never) peer(object);
}

// Of an object that is not ready the members are asked anyway.
void ObjectLog::on_lost_copy(Oid oid) {
  Object& object = get(oid);
  if (object.ready)
    demote(object);
  else
    touch(object);
}

void ObjectLog::postpone(Object& object) {
  end_peering(object);
  object.ready = false;
  object.doubts.retry_at = context_.now + retry_after;
  next_retry_ = std::min(next_retry_, object.doubts.retry_at);
}

// Nothing can be promised while a member cannot take its copy; better an error that the client sees than a disk that
// hangs.
void ObjectLog::fail_waiting(Object& object, Status status) {
  for (const std::uint64_t id : std::exchange(object.waiting, {})) context_.finish(id, status);
}

void ObjectLog::peer(Object& object) {
  end_peering(object);
  object.known.clear();
  object.forgotten.clear();
  object.doubts.retry_at = never;
  object.acting = context_.placement.acting(object.oid, context_.copies);
  if (object.acting.empty()) {
    // All its members are down, and others have yet to take its place.
    postpone(object);
    if (context_.now - context_.generation_since >= patience) fail_waiting(object, Status::io_error);
    return;
  }
  if (object.round_used && object.round + 1 >= 1u << Version::round_bits) {
    context_.notice("object " + to_string(object.oid) +
                    ": its members failed too often; requests for it fail until the next epoch");
    postpone(object);
    fail_waiting(object, Status::io_error);
    return;
  }
  SD_SOMETIMES(object.round_used, peering_asks_again);
  if (std::exchange(object.round_used, false)) ++object.round;
  object.ready = false;
  object.peering = std::make_unique<Peering>(context_, object);
}

void ObjectLog::act(Object& object, Peering::Next next) {
  switch (next.kind) {
    case Peering::Next::Kind::go_on: return;
    case Peering::Next::Kind::ready: ready(object); return;
    case Peering::Next::Kind::again: postpone(object); return;
    case Peering::Next::Kind::fail:
      postpone(object);
      fail_waiting(object, next.status);
      return;
    case Peering::Next::Kind::reads_only:
      postpone(object);
      pump_reads(object);
      return;
  }
}

void ObjectLog::ready(Object& object) {
  const Version winner = object.peering->winner(), adopted = object.peering->adopted();
  object.version = winner;
  object.peering->take_known(object.known, object.forgotten);
  if (winner.log_index() == context_.generation) object.round = std::max(object.round, winner.round());
  end_peering(object);
  object.doubts = {};
  object.ready = true;
  // Writes that were under way: the members hold them, or they are sent again as writes of this generation.
  const std::deque<std::uint64_t> under_way = std::exchange(object.writes, {});
  std::vector<std::uint64_t> done;
  for (const std::uint64_t id : under_way) {
    const bool held = context_.ops.find(id)->version <= adopted;
    SD_SOMETIMES(held, write_found_done);
    SD_SOMETIMES(!held, write_sent_again);
    if (held)
      done.push_back(id);
    else
      start_write(object, id);
  }
  if (!done.empty())
    for (const NodeId member : object.acting) add_sorted(context_.dirty, member);
  for (const std::uint64_t id : done) {
    context_.ops.find(id)->waiting_for.clear();  // late answers have nothing more to say
    context_.finish(id, Status::ok);
  }
  pump(object);
}

// --- The cluster changed; time passed

void ObjectLog::on_generation() {
  // Reads go back in line: the member that was asked may be gone. In the order they came, in front of what waits.
  std::vector<std::uint64_t> reads;
  context_.ops.each([&](std::uint64_t id, Op& op) {
    if (op.kind == Op::Kind::read && !op.waiting_for.empty()) reads.push_back(id);
  });
  for (const std::uint64_t id : reads) {
    Op& op = *context_.ops.find(id);
    op.failures.tried.clear();
    put_back(id, op);
  }
  forgotten_round_ = 0;
  std::vector<Object*> busy;
  for (auto at = objects_.begin(); at != objects_.end();) {
    Object& object = *at->second;
    end_peering(object);
    object.ready = false;
    object.doubts.retry_at = never;
    object.doubts.readable.clear();
    object.round = 0;
    object.round_used = false;
    if (object.has_work()) {
      busy.push_back(&object);
      ++at;
    } else {
      at = objects_.erase(at);
    }
  }
  for (Object* object : busy) peer(*object);
}

void ObjectLog::on_serving() {
  std::vector<Oid> oids;
  for (const auto& [oid, object] : objects_)
    if (!object->waiting.empty()) oids.push_back(oid);
  for (const Oid oid : oids)
    if (Object* object = find(oid)) pump(*object);
}

void ObjectLog::tick() {
  std::vector<Oid> oids;
  for (const auto& [oid, object] : objects_) {
    if (object->ready)
      repeat_writes(*object);
    else if (object->peering ? object->peering->stalled()
                             : object->doubts.retry_at != never && context_.now >= object->doubts.retry_at)
      oids.push_back(oid);
  }
  for (const Oid oid : oids)
    if (Object* object = find(oid)) peer(*object);
}

std::string ObjectLog::check_state() const {
  for (const auto& [oid, object] : objects_) {
    if (object->ready && object->peering) return "an object that is ready is not being peered";
    if (object->peering && !context_.ops.find(object->peering->op()))
      return "an attempt at peering has a question under way";
    for (const std::uint64_t id : object->waiting) {
      const Op* op = context_.ops.find(id);
      if (!op || op->object != object.get()) return "what waits is an operation of its object";
      if (!op->waiting_for.empty()) return "what waits has been sent to nobody";
    }
    if (object->writes.size() > context_.limits.writes_per_object)
      return "only so many writes of an object are under way";
    Version last;
    for (const std::uint64_t id : object->writes) {
      const Op* op = context_.ops.find(id);
      if (!op || op->object != object.get()) return "a write under way is known";
      // not so between a write that was refused and the peering that follows
      if (object->ready && last != Version{} && op->previous != last)
        return "writes under way are a run of consecutive versions";
      last = op->version;
    }
    if (!object->ready) continue;
    if (object->acting.empty()) return "a ready object has members";
    if (last != Version{} && last != object->version) return "the last write under way is the newest version";
  }
  return {};
}

}  // namespace sd::replication
