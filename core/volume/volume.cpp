#include "core/volume/volume.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/member_set.hpp"

namespace sd {

using member_set::add_sorted;
using member_set::contains;
using member_set::take;

namespace {

// remembered as ready; beyond it idle ones are forgotten and peered again when touched
constexpr std::size_t max_objects = 16384;
constexpr std::size_t max_writes_per_object = 256;
constexpr std::uint32_t zero_block_size = 64u << 10;
constexpr Time tick_interval = milliseconds(250);
constexpr Time resend_interval = milliseconds(20);
constexpr Time repeat_after = seconds(1);       // a request without an answer is sent again
constexpr Time repeat_slow_after = seconds(3);  // ... one that may take long

}  // namespace

Volume::Volume(Time now, NodeId self, Vid vid, BufferPool& pool, const cluster::State& state,
               const cluster::Placement& placement)
    : self_(self),
      vid_(vid),
      pool_(pool),
      state_(state),
      placement_(placement),
      zero_block_(pool.zeros(zero_block_size)) {
  const auto* vdi = state_.find(vid);
  SD_ASSERT(vdi && vdi->owner == self, "a volume is made for a disk that this node owns");
  generation_ = state_.generation(vid);
  generation_since_ = now;
  copies_ = vdi->copies;
  // An earlier owner's writes may not have been flushed anywhere.
  for (const auto& period : placement_.periods())
    for (const auto& m : period.record.members) add_sorted(dirty_, m.id);
}

Payload Volume::zeros(std::uint32_t length) {
  Payload payload;
  for (std::uint32_t done = 0; done < length;) {
    const std::uint32_t n = std::min(length - done, zero_block_size);
    payload.push_back(zero_block_.part(0, n));
    done += n;
  }
  return payload;
}

Volume::Request Volume::make(Request::Op op, std::uint64_t id, Oid oid) const {
  Request request;
  request.id = id;
  request.op = op;
  request.vid = vid_;
  request.generation = generation_;
  request.oid = oid;
  return request;
}

// --- Requests of clients

void Volume::submit(Time now, std::uint64_t ticket, IoRequest&& request, VolumeEffects& out) {
  if (!owner_) {
    out.done.push_back({ticket, Status::stale, {}});
    return;
  }
  Io fresh;
  fresh.ticket = ticket;
  fresh.kind = request.kind;
  fresh.fua = request.fua && request.kind != IoRequest::Kind::read;
  fresh.offset = request.offset;
  fresh.length = request.length;
  const std::uint64_t io = ios_.insert(std::move(fresh));
  switch (request.kind) {
    case IoRequest::Kind::flush: start_flush(now, io, out); return;
    case IoRequest::Kind::map: try_map(now, io, out); return;
    case IoRequest::Kind::check: submit_check(now, io, out); return;
    default: break;
  }
  if (request.length == 0) {
    finish_io(now, io, out);
    return;
  }
  const bool writes = request.kind == IoRequest::Kind::write || request.keep_allocated;
  Slice data, zeros_to_write;
  if (request.keep_allocated) {
    zeros_to_write = pool_.zeros(std::min<std::uint64_t>(request.length, limits::object_size));
  } else if (writes) {
    data = joined(request.payload, pool_);
    SD_ASSERT(data.size() == request.length, "a write carries as many bytes as it says");
  }
  const std::uint64_t first = request.offset / limits::object_size,
                      last = (request.offset + request.length - 1) / limits::object_size;
  Io& made = *ios_.find(io);
  made.parts_left = static_cast<std::uint32_t>(last - first + 1);
  if (request.kind == IoRequest::Kind::read && made.parts_left > 1) made.parts.resize(made.parts_left);
  for (std::uint64_t index = first; index <= last; ++index) {
    const std::uint64_t start = index * limits::object_size;
    const std::uint64_t from = std::max(request.offset, start),
                        to = std::min(request.offset + request.length, start + limits::object_size);
    Op op;
    op.kind = request.kind == IoRequest::Kind::read ? Op::Kind::read : writes ? Op::Kind::write : Op::Kind::zero;
    op.io = io;
    op.part = static_cast<std::uint32_t>(index - first);
    op.offset = static_cast<std::uint32_t>(from - start);
    op.length = static_cast<std::uint32_t>(to - from);
    op.entry = static_cast<std::uint32_t>(index);
    op.origin = request.origin;
    if (request.keep_allocated)
      op.payload.push_back(zeros_to_write.part(0, to - from));
    else if (op.kind == Op::Kind::write)
      op.payload.push_back(first == last ? std::move(data) : data.part(from - request.offset, to - from));
    admit(now, ops_.insert(std::move(op)), out);
  }
}

// Finds the object of a client's operation; or answers it, if there is none and none is needed.
void Volume::admit(Time now, std::uint64_t id, VolumeEffects& out) {
  Op& op = *ops_.find(id);
  const Oid oid = Oid::data(vid_, op.entry);
  if (const auto known = objects_.find(oid); known != objects_.end()) {
    enqueue(now, *known->second, id, out);
    return;
  }
  const std::uint32_t page = ObjectMap::page_of(op.entry);
  if (!load_page(now, page, out)) {
    map_.wait(page, id);
    return;
  }
  if (!map_.exists(op.entry)) {
    // Named by the index first, on all members, and written then: whoever takes over finds whatever may have been seen.
    if (op.kind == Op::Kind::write) {
      write_entry(now, op.entry, id, out);
      return;
    }
    if (op.kind == Op::Kind::read && !serving_ && !SD_BUG(serve_without_lease)) {
      map_.wait(page, id);
      return;
    }
    const std::uint32_t length = op.length;
    const bool read = op.kind == Op::Kind::read;
    finish_op(now, id, Status::ok, read ? zeros(length) : Payload{}, out);
    return;
  }
  enqueue(now, object_for(oid), id, out);
}

// An object whose entry was set just now: it never was, so nobody has to be asked for it.
void Volume::begin_object(std::uint32_t index) {
  const Oid oid = Oid::data(vid_, index);
  if (objects_.contains(oid)) return;
  Object& object = object_for(oid);
  object.acting = placement_.acting(oid, copies_);
  object.ready = !object.acting.empty();
}

Volume::Object& Volume::object_for(Oid oid) {
  auto& slot = objects_[oid];
  if (!slot) {
    slot = std::make_unique<Object>();
    slot->oid = oid;
    if (objects_.size() > max_objects) {
      std::size_t looked_at = 0;
      for (auto at = objects_.begin(); at != objects_.end() && looked_at < 64; ++looked_at) {
        if (at->first != oid && can_forget(*at->second))
          at = objects_.erase(at);
        else
          ++at;
      }
    }
  }
  return *slot;
}

bool Volume::has_work(const Object& object) const {
  return !object.writes.empty() || !object.waiting.empty() || object.reads > 0 || object.peering;
}

bool Volume::can_forget(const Object& object) const {
  return !has_work(object) && object.doubts.retry_at == never && object.damaged.empty() && object.known.empty() &&
         object.forgotten.empty();
}

void Volume::enqueue(Time now, Object& object, std::uint64_t id, VolumeEffects& out) {
  ops_.find(id)->object = &object;
  object.waiting.push_back(id);
  hurry(object, out);
  pump(now, object, out);
}

bool Volume::overlaps_write(const Object& object, const Op& op) const {
  for (const std::uint64_t id : object.writes) {
    const Op& write = *ops_.find(id);
    if (write.offset < op.offset + op.length && op.offset < write.offset + write.length) return true;
  }
  return false;
}

// Sends what may go, in order of arrival.
void Volume::pump(Time now, Object& object, VolumeEffects& out) {
  pump_reads(now, object, out);
  if (object.unpeered()) {
    const Time retry_at = object.doubts.retry_at;
    if (!object.waiting.empty() && (retry_at == never || now >= retry_at)) peer(now, object, out);
    return;
  }
  while (object.ready && !object.waiting.empty()) {
    const std::uint64_t id = object.waiting.front();
    Op& op = *ops_.find(id);
    if (op.kind == Op::Kind::read) {
      if (!serving_ && !SD_BUG(serve_without_lease)) return;
      if (overlaps_write(object, op) && !SD_BUG(read_past_write)) return;
      object.waiting.pop_front();
      if (object.version == Version{})
        finish_op(now, id, Status::ok, zeros(op.length), out);
      else
        start_read(now, object, id, out);
      continue;
    }
    if (object.writes.size() >= max_writes_per_object) return;
    object.waiting.pop_front();
    if (!object.known.empty() && std::ranges::binary_search(object.known, op.origin) && !SD_BUG(repeat_writes)) {
      SD_SOMETIMES(true, repeated_write_known);
      // An earlier owner carried it out, and others may have seen that: doing it again could undo what was written
      // since.
      finish_op(now, id, Status::ok, {}, out);
      continue;
    }
    if (peer::may_be_forgotten(object.forgotten, op.origin)) {
      // So late that nobody can say whether it was. An error leaves that open, as it is; carrying it out could undo
      // what was written since.
      out.notices.push_back("object " + to_string(object.oid) +
                            ": a write came too late to know whether it was carried out before; it fails");
      finish_op(now, id, Status::io_error, {}, out);
      continue;
    }
    if (op.kind == Op::Kind::zero && object.version == Version{}) {
      finish_op(now, id, Status::ok, {}, out);
      continue;
    }
    if (op.kind == Op::Kind::write &&
        std::ranges::any_of(object.acting, [&](NodeId m) { return contains(full_, m); })) {
      // Refused here, before any member changed: a member that is really full could only be left behind. Ask whether
      // space came back.
      for (const NodeId member : object.acting)
        if (contains(full_, member)) out.requests.emplace_back(member, make(Request::Op::query, 0, object.oid));
      finish_op(now, id, Status::no_space, {}, out);
      continue;
    }
    start_write(now, object, id, out);
  }
}

void Volume::start_write(Time now, Object& object, std::uint64_t id, VolumeEffects& out) {
  Op& op = *ops_.find(id);
  op.previous = object.version;
  op.version = {Version::generation_of(generation_, object.round), object.version.sequence + 1};
  object.round_used = true;
  object.version = op.version;
  object.writes.push_back(id);
  op.waiting_for = object.acting;
  op.sent = now;
  op.repeats = 0;
  for (const NodeId member : object.acting) send_write(now, object, id, op, member, out);
}

void Volume::send_write(Time, Object& object, std::uint64_t id, Op& op, NodeId member, VolumeEffects& out) {
  Request request = make(op.kind == Op::Kind::write ? Request::Op::write : Request::Op::zero, id, object.oid);
  request.version = op.version;
  request.previous = op.previous;
  request.offset = op.offset;
  request.length = op.length;
  request.payload = op.payload;
  request.origin = op.origin;
  out.requests.emplace_back(member, std::move(request));
}

void Volume::start_read(Time now, Object& object, std::uint64_t id, VolumeEffects& out) {
  Op& op = *ops_.find(id);
  NodeId target = 0;
  const ActingSet& members = readers(object);
  if (contains(members, self_) && !contains(op.tried, self_)) target = self_;
  for (const NodeId member : members)
    if (target == 0 && !contains(op.tried, member)) target = member;
  if (target == 0 && op.bad_copy && !op.repaired) {
    // Each copy is damaged somewhere in the range, not necessarily in the same place; and members of earlier epochs may
    // have good blocks.
    op.repaired = true;
    op.bad_copy = false;
    op.tried.clear();
    object.waiting.push_front(id);
    object.damaged = object.acting;
    object.doubts.readable.clear();
    demote(now, object, out);
    return;
  }
  if (target == 0) {
    out.notices.push_back("object " + to_string(object.oid) +
                          ": no member returned good data for a read; the read fails");
    finish_op(now, id, Status::io_error, {}, out);
    return;
  }
  op.waiting_for.assign(1, target);
  op.sent = now;
  op.version = object.writes.empty() ? object.version : ops_.find(object.writes.front())->previous;
  ++object.reads;
  Request request = make(Request::Op::read, id, object.oid);
  request.offset = op.offset;
  request.length = op.length;
  out.requests.emplace_back(target, std::move(request));
}

// --- Answers of members

void Volume::note_full(NodeId member, bool full) {
  if (full)
    add_sorted(full_, member);
  else
    take(full_, member);
}

void Volume::on_reply(Time now, NodeId from, Reply&& reply, VolumeEffects& out) {
  note_full(from, reply.full);
  Op* op = ops_.find(reply.id);
  if (!op || !contains(op->waiting_for, from)) return;
  const std::uint64_t id = reply.id;
  switch (op->kind) {
    case Op::Kind::write:
    case Op::Kind::zero: on_write_reply(now, id, *op, from, std::move(reply), out); break;
    case Op::Kind::read: on_read_reply(now, id, *op, from, std::move(reply), out); break;
    case Op::Kind::query: on_query_reply(now, id, *op, from, std::move(reply), out); break;
    case Op::Kind::pull: on_pull_reply(now, id, *op, from, std::move(reply), out); break;
    case Op::Kind::establish: on_establish_reply(now, *op, from, std::move(reply), out); break;
    case Op::Kind::flush:
      if (reply.status != Status::ok || reply.generation != generation_) break;  // repeated by tick
      take(op->waiting_for, from);
      if (op->waiting_for.empty()) {
        const std::uint64_t io = op->io;
        take(flushes_, id);
        ops_.erase(id);
        finish_part(now, io, 0, Status::ok, {}, out);
      }
      break;
    case Op::Kind::check: on_check_reply(now, id, *op, from, reply, out); break;
    case Op::Kind::clear: on_clear_reply(now, id, *op, from, reply, out); break;
  }
  run_checks(now, out);
}

void Volume::on_write_reply(Time now, std::uint64_t id, Op& op, NodeId from, Reply&& reply, VolumeEffects& out) {
  Object& object = *op.object;
  // While the object is being peered the answer may concern what peering is about to redo; it asks again for what it
  // needs.
  if (!object.ready || reply.generation != generation_) return;
  switch (reply.status) {
    case Status::ok:
      add_sorted(dirty_, from);
      // A member holds a prefix of the object's history, so this answer is one to all writes before as well.
      for (const std::uint64_t earlier : object.writes) {
        take(ops_.find(earlier)->waiting_for, from);
        if (earlier == id) break;
      }
      if (SD_BUG(ack_before_all_members)) ops_.find(object.writes.front())->waiting_for.clear();
      while (!object.writes.empty() && ops_.find(object.writes.front())->waiting_for.empty()) {
        const std::uint64_t done = object.writes.front();
        object.writes.pop_front();
        finish_op(now, done, Status::ok, {}, out);
      }
      pump(now, object, out);
      return;
    case Status::behind: {
      // It lacks a write before this one. If that is still under way its message was lost with a connection: send it
      // again, and what follows it. If not, the two have parted.
      const auto lost = std::ranges::find_if(
          object.writes, [&](std::uint64_t w) { return contains(ops_.find(w)->waiting_for, from); });
      if (lost == object.writes.end() || *lost == id) {
        demote(now, object, out);
        return;
      }
      if (now - object.resent_at < resend_interval) return;
      object.resent_at = now;
      for (auto at = lost; at != object.writes.end(); ++at)
        if (Op& again = *ops_.find(*at); contains(again.waiting_for, from))
          send_write(now, object, *at, again, from, out);
      return;
    }
    case Status::damaged:
    case Status::invalid:
    case Status::no_space: {
      if (reply.status == Status::damaged && !op.repaired) {
        op.repaired = true;
        // repaired by peering, which then sends the write again
        if (!contains(object.damaged, from)) object.damaged.push_back(from);
        demote(now, object, out);
        return;
      }
      const Status status = reply.status == Status::no_space ? Status::no_space : Status::io_error;
      std::erase(object.writes, id);
      finish_op(now, id, status, {}, out);
      demote(now, object, out);
      return;
    }
    default: return;  // repeated by tick, or redone in the next generation
  }
}

// Nobody waits for the outcome: a block that stays damaged is met again by the next read, or by the scrub.
void Volume::ask_to_repair(const Object& object, NodeId member, const Op& op, VolumeEffects& out) {
  Request request = make(Request::Op::repair, 0, object.oid);
  request.offset = op.offset;
  request.length = op.length;
  for (const NodeId other : object.acting)
    if (other != member) request.helpers.push_back(other);
  out.requests.emplace_back(member, std::move(request));
}

void Volume::on_read_reply(Time now, std::uint64_t id, Op& op, NodeId from, Reply&& reply, VolumeEffects& out) {
  Object& object = *op.object;
  if (reply.generation != generation_) return;
  // Its disk kept an older state of the object than the one it answered for, and it does not know.
  const bool older = (reply.status == Status::ok || reply.status == Status::damaged) && reply.version < op.version &&
                     !SD_BUG(believe_old_reads);
  SD_SOMETIMES(older, read_from_older_copy);
  switch (older ? Status::behind : reply.status) {
    case Status::ok: {
      if (total_size(reply.payload) != op.length) return;
      if (!serving_ && !SD_BUG(serve_without_lease)) {
        requeue_read(now, id, op, out);
        return;
      }
      --object.reads;
      if (op.bad_copy) {
        for (const NodeId member : op.tried) ask_to_repair(object, member, op, out);
        out.notices.push_back("object " + to_string(object.oid) +
                              ": damaged blocks are being replaced from another member");
      }
      finish_op(now, id, Status::ok, std::move(reply.payload), out);
      return;
    }
    case Status::damaged: op.bad_copy = true; [[fallthrough]];
    case Status::io_error:
      op.tried.push_back(from);
      requeue_read(now, id, op, out);
      return;
    case Status::not_found:
    case Status::behind:
      op.waiting_for.clear();
      --object.reads;
      object.waiting.push_front(ops_.renumber(id));
      object.doubts.readable.clear();
      if (object.ready) demote(now, object, out);
      return;
    default: return;
  }
}

// Puts a read that was sent back in line, under a new number: an answer to the old one might show a write that came in
// between.
void Volume::requeue_read(Time now, std::uint64_t id, Op& op, VolumeEffects& out) {
  Object& object = *op.object;
  op.waiting_for.clear();
  --object.reads;
  object.waiting.push_front(ops_.renumber(id));
  pump(now, object, out);
}

void Volume::finish_op(Time now, std::uint64_t id, Status status, Payload&& payload, VolumeEffects& out) {
  Op& op = *ops_.find(id);
  const auto purpose = op.purpose;
  const std::uint64_t io = op.io;
  const std::uint32_t part = op.part, entry = op.entry;
  ops_.erase(id);
  switch (purpose) {
    case Op::Purpose::client: finish_part(now, io, part, status, std::move(payload), out); break;
    case Op::Purpose::load_page: on_page(now, entry, status, payload, out); break;
    case Op::Purpose::set_entry: on_entry_written(now, entry, status, out); break;
  }
}

void Volume::finish_part(Time now, std::uint64_t id, std::uint32_t part, Status status, Payload&& payload,
                         VolumeEffects& out) {
  Io* io = ios_.find(id);
  if (!io) return;
  if (status != Status::ok && io->status == Status::ok) io->status = status;
  if (io->parts.empty())
    io->payload = std::move(payload);
  else
    io->parts[part] = std::move(payload);
  SD_ASSERT(io->parts_left > 0, "each part of a request ends once");
  if (--io->parts_left > 0) return;
  if (io->fua && io->status == Status::ok) {
    io->fua = false;
    start_flush(now, id, out);
    return;
  }
  finish_io(now, id, out);
}

void Volume::finish_io(Time, std::uint64_t id, VolumeEffects& out) {
  Io& io = *ios_.find(id);
  if (io.internal) {
    if (sweep_.ends_with(id)) sweep_.on_flushed(io.status == Status::ok);
    ios_.erase(id);
    return;
  }
  IoDone done{io.ticket, io.status, {}};
  if (io.status == Status::ok && io.kind == IoRequest::Kind::read) {
    if (io.parts.empty()) {
      done.payload = std::move(io.payload);
    } else {
      for (auto& part : io.parts)
        done.payload.insert(done.payload.end(), std::make_move_iterator(part.begin()),
                            std::make_move_iterator(part.end()));
    }
  } else if (io.kind == IoRequest::Kind::map || io.kind == IoRequest::Kind::check) {
    done.payload = std::move(io.payload);
  }
  ios_.erase(id);
  out.done.push_back(std::move(done));
}

// --- Flush

void Volume::start_flush(Time now, std::uint64_t io, VolumeEffects& out) {
  ios_.find(io)->parts_left = 1;
  Op op;
  op.kind = Op::Kind::flush;
  op.io = io;
  op.sent = now;
  // What another flush has yet to make durable counts too.
  for (const std::uint64_t other : flushes_)
    for (const NodeId member : ops_.find(other)->waiting_for) add_sorted(dirty_, member);
  for (const NodeId member : dirty_) {
    if (SD_BUG(flush_one_member) && member != self_) continue;
    const auto* m = state_.member(member);
    if (m && m->up) op.waiting_for.push_back(member);
  }
  // What is acknowledged from now on makes its members dirty anew.
  dirty_.clear();
  if (op.waiting_for.empty()) {
    finish_part(now, io, 0, Status::ok, {}, out);
    return;
  }
  const std::uint64_t id = ops_.insert(std::move(op));
  flushes_.push_back(id);
  send_flush(now, id, *ops_.find(id), out);
}

void Volume::send_flush(Time now, std::uint64_t id, Op& op, VolumeEffects& out) {
  op.sent = now;
  for (const NodeId member : op.waiting_for)
    out.requests.emplace_back(member, make(Request::Op::flush, id, Oid::inode(vid_)));
}

// --- The cluster changed; time passed

void Volume::give_up(VolumeEffects& out) {
  owner_ = false;
  ios_.each([&](std::uint64_t, Io& io) {
    if (!io.internal) out.done.push_back({io.ticket, Status::stale, {}});
  });
  ios_ = {};
  ops_ = {};
  objects_.clear();
  map_ = {};
  clearings_.clear();
  flushes_.clear();
  checks_.clear();
}

void Volume::on_state(Time now, VolumeEffects& out) {
  if (!owner_) return;
  const auto* vdi = state_.find(vid_);
  if (!vdi || vdi->deleting || vdi->owner != self_) {
    give_up(out);
    return;
  }
  const std::uint64_t generation = state_.generation(vid_);
  if (generation == generation_) return;
  generation_ = generation;
  generation_since_ = now;
  sweep_.close_all();
  restart_checks(now);
  told_without_room_.clear();
  // Reads go back in line: the member that was asked may be gone. In the order they came, in front of what waits.
  std::vector<std::uint64_t> reads;
  ops_.each([&](std::uint64_t id, Op& op) {
    if (op.kind == Op::Kind::read && !op.waiting_for.empty()) reads.push_back(id);
  });
  for (const std::uint64_t id : reads) {
    Op& op = *ops_.find(id);
    op.waiting_for.clear();
    op.tried.clear();
    --op.object->reads;
    op.object->waiting.push_front(ops_.renumber(id));
  }
  std::vector<Object*> busy;
  for (auto at = objects_.begin(); at != objects_.end();) {
    Object& object = *at->second;
    end_peering(object);
    object.ready = false;
    object.doubts.retry_at = never;
    object.doubts.readable.clear();
    object.round = 0;
    object.round_used = false;
    if (has_work(object)) {
      busy.push_back(&object);
      ++at;
    } else {
      at = objects_.erase(at);
    }
  }
  for (Object* object : busy) peer(now, *object, out);
  restart_clearings(now, out);
  run_checks(now, out);
  for (const std::uint64_t id : std::vector(flushes_)) {
    Op& op = *ops_.find(id);
    const auto gone = [&](NodeId member) {
      const auto* m = state_.member(member);
      return !m || !m->up;
    };
    op.waiting_for.erase(std::remove_if(op.waiting_for.begin(), op.waiting_for.end(), gone), op.waiting_for.end());
    if (op.waiting_for.empty()) {
      const std::uint64_t io = op.io;
      take(flushes_, id);
      ops_.erase(id);
      finish_part(now, io, 0, Status::ok, {}, out);
    } else {
      send_flush(now, id, op, out);
    }
  }
}

void Volume::set_serving(Time now, bool serving, VolumeEffects& out) {
  if (serving == serving_) return;
  serving_ = serving;
  if (!serving) return;
  for (const auto& waiting : map_.take_waiters_of_loaded())
    for (const std::uint64_t id : waiting) admit(now, id, out);
  std::vector<Oid> oids;
  for (const auto& [oid, object] : objects_)
    if (!object->waiting.empty()) oids.push_back(oid);
  for (const Oid oid : oids)
    if (const auto at = objects_.find(oid); at != objects_.end()) pump(now, *at->second, out);
}

Time Volume::next_deadline() const {
  return ops_.size() > 0 || sweep_.open_objects() > 0 || !checks_.empty() ? (next_tick_ == never ? 0 : next_tick_)
                                                                          : never;
}

void Volume::tick(Time now, VolumeEffects& out) {
  if (!owner_ || (next_tick_ != never && now < next_tick_)) return;
  next_tick_ = now + tick_interval;
  std::vector<std::uint64_t> late_reads;
  ops_.each([&](std::uint64_t id, Op& op) {
    if (op.waiting_for.empty()) return;
    const Time age = now - op.sent;
    switch (op.kind) {
      case Op::Kind::read:
        if (age >= repeat_after) late_reads.push_back(id);
        break;
      case Op::Kind::query:
        if (age < repeat_after) break;
        op.sent = now;
        for (const NodeId member : op.waiting_for) out.requests.emplace_back(member, query_of(*op.object));
        break;
      case Op::Kind::establish:
        if (age < repeat_after) break;
        op.sent = now;
        for (const NodeId member : op.waiting_for) out.requests.emplace_back(member, establishing_write(*op.object));
        break;
      case Op::Kind::flush:
        if (age >= repeat_slow_after) send_flush(now, id, op, out);
        break;
      case Op::Kind::clear:
        if (age >= repeat_after) send_clear(now, id, op, out);
        break;
      case Op::Kind::check:
        if (age >= repeat_after) repeat_check(now, id, op, out);
        break;
      default: break;
    }
  });
  for (const std::uint64_t id : late_reads) {
    Op& op = *ops_.find(id);
    // Another member may be quicker; after all were tried, begin again with the first.
    op.tried.push_back(op.waiting_for.front());
    if (op.tried.size() >= readers(*op.object).size()) op.tried.clear();
    requeue_read(now, id, op, out);
  }
  std::vector<Oid> oids;
  for (auto& [oid, object] : objects_) {
    if (object->ready) {
      for (const std::uint64_t id : object->writes) {
        Op& op = *ops_.find(id);
        if (now - op.sent < repeat_after << std::min(op.repeats, 4u)) continue;
        op.sent = now;
        ++op.repeats;
        for (const NodeId member : op.waiting_for) send_write(now, *object, id, op, member, out);
      }
    } else if (object->pulling()) {
      // A pull that makes no progress is given up, and the members are asked again.
      if (Op* op = ops_.find(object->peering->op); op && now - op->sent >= 2 * repeat_slow_after) oids.push_back(oid);
    } else if (object->unpeered() && object->doubts.retry_at != never && now >= object->doubts.retry_at) {
      oids.push_back(oid);
    }
  }
  for (const Oid oid : oids)
    if (const auto at = objects_.find(oid); at != objects_.end()) peer(now, *at->second, out);
  for (const std::uint32_t page : map_.unknown_pages()) load_page(now, page, out);
  run_checks(now, out);
}

void Volume::check_invariants() const {
  for (const auto& [oid, object] : objects_) {
    SD_ASSERT(!object->ready || !object->peering, "an object that is ready is not being peered");
    SD_ASSERT(!object->peering || ops_.find(object->peering->op), "an attempt at peering has a question under way");
    if (!object->ready) continue;
    SD_ASSERT(!object->acting.empty(), "a ready object has members");
    Version last;
    for (const std::uint64_t id : object->writes) {
      const Op* op = ops_.find(id);
      SD_ASSERT(op && op->object == object.get(), "a write under way is known");
      SD_ASSERT(last == Version{} || op->previous == last, "writes under way are a run of consecutive versions");
      last = op->version;
    }
    SD_ASSERT(last == Version{} || last == object->version, "the last write under way is the newest version");
  }
}

}  // namespace sd
