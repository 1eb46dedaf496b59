#include "core/volume/volume.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"

namespace sd {

using member_set::add_sorted;
using member_set::contains;
using member_set::take;
using replication::Op;
using volume_detail::Io;

namespace {

constexpr Time tick_interval = milliseconds(250);
constexpr Time repeat_after = seconds(1);       // a request without an answer is sent again
constexpr Time repeat_slow_after = seconds(3);  // ... one that may take long

}  // namespace

Volume::Volume(Time now, NodeId self, Vid vid, BufferPool& pool, const cluster::State& state,
               const cluster::Placement& placement, const replication::Limits& limits)
    : context_(self, vid, pool, state, placement, limits, *this),
      objects_(context_),
      index_(context_, objects_, *this),
      flushes_(context_),
      check_(context_, objects_, index_) {
  const auto* vdi = state.find(vid);
  SD_ASSERT(vdi && vdi->owner == self, "a volume is made for a disk that this node owns");
  context_.generation = state.generation(vid);
  context_.generation_since = now;
  context_.copies = vdi->copies;
  // An earlier owner's writes may not have been flushed anywhere.
  for (const auto& period : placement.periods())
    for (const auto& m : period.record.members) add_sorted(context_.dirty, m.id);
}

// Every input: remember the time and the outbox, and do the work.
template <typename F>
void Volume::enter(Time now, VolumeEffects& out, F&& work) {
  context_.now = now;
  context_.requests = &out.requests;
  context_.notices = &out.notices;
  done_ = &out.done;
  work();
  objects_.trim();
  next_tick_ = std::min(next_tick_, objects_.take_next_retry());
}

// --- Requests of clients

void Volume::submit(Time now, std::uint64_t ticket, IoRequest&& request, VolumeEffects& out) {
  if (!owner_) {
    out.done.push_back({ticket, Status::stale, {}});
    return;
  }
  Io io;
  io.ticket = ticket;
  io.kind = request.kind;
  io.fua = request.fua && request.kind != IoRequest::Kind::read;
  io.offset = request.offset;
  io.length = request.length;
  const std::uint64_t id = requests_.insert(std::move(io));
  enter(now, out, [&] { begin(id, std::move(request)); });
}

void Volume::begin(std::uint64_t io, IoRequest&& request) {
  switch (request.kind) {
    case IoRequest::Kind::flush: start_flush(io); return;
    case IoRequest::Kind::map: answer_map(io); return;
    case IoRequest::Kind::check:
      check_.submit(io, request.offset / limits::object_size, request.length);
      run_checks();
      return;
    default: break;
  }
  if (request.length == 0)
    finish_io(io);
  else
    split(io, std::move(request));
}

void Volume::split(std::uint64_t io, IoRequest&& request) {
  const bool writes = request.kind == IoRequest::Kind::write || request.keep_allocated;
  Slice data, zeros_to_write;
  if (request.keep_allocated) {
    zeros_to_write = context_.pool.zeros(std::min<std::uint64_t>(request.length, limits::object_size));
  } else if (writes) {
    data = joined(request.payload, context_.pool);
    SD_ASSERT(data.size() == request.length, "a write carries as many bytes as it says");
  }
  const std::uint64_t first = request.offset / limits::object_size,
                      last = (request.offset + request.length - 1) / limits::object_size;
  Io& made = *requests_.find(io);
  made.parts_left = static_cast<std::uint32_t>(last - first + 1);
  if (request.kind == IoRequest::Kind::read && made.parts_left > 1) made.parts.resize(made.parts_left);
  for (std::uint64_t index = first; index <= last; ++index) {
    const std::uint64_t start = index * limits::object_size;
    const std::uint64_t from = std::max(request.offset, start),
                        to = std::min(request.offset + request.length, start + limits::object_size);
    Op op;
    op.kind = request.kind == IoRequest::Kind::read ? Op::Kind::read : writes ? Op::Kind::write : Op::Kind::zero;
    op.cause.io = io;
    op.cause.part = static_cast<std::uint32_t>(index - first);
    op.cause.entry = static_cast<std::uint32_t>(index);
    op.offset = static_cast<std::uint32_t>(from - start);
    op.length = static_cast<std::uint32_t>(to - from);
    op.origin = request.origin;
    if (request.keep_allocated)
      op.payload.push_back(zeros_to_write.part(0, to - from));
    else if (op.kind == Op::Kind::write)
      op.payload.push_back(first == last ? std::move(data) : data.part(from - request.offset, to - from));
    admit(context_.ops.insert(std::move(op)));
  }
}

// Finds the object of a client's operation; or answers it, if there is none and none is needed.
void Volume::admit(std::uint64_t id) {
  const Op& op = *context_.ops.find(id);
  const Oid oid = Oid::data(context_.vid, op.cause.entry);
  if (replication::Object* known = objects_.find(oid)) {
    objects_.enqueue(*known, id);
    return;
  }
  const std::uint32_t page = ObjectMap::page_of(op.cause.entry);
  if (!index_.load(page)) {
    index_.wait(page, id);
    return;
  }
  if (index_.map().exists(op.cause.entry)) {
    objects_.enqueue(objects_.get(oid), id);
    return;
  }
  // Named by the index first, on all members, and written then: whoever takes over finds whatever may have been seen.
  if (op.kind == Op::Kind::write) {
    index_.write_entry(op.cause.entry, id);
    return;
  }
  const bool read = op.kind == Op::Kind::read;
  if (read && !context_.serving && !SD_BUG(serve_without_lease)) {
    index_.wait(page, id);
    return;
  }
  finish(id, Status::ok, read ? context_.zeros(op.length) : Payload{});
}

void Volume::answer_map(std::uint64_t id) {
  Io& io = *requests_.find(id);
  const auto first = static_cast<std::uint32_t>(io.offset / limits::object_size);
  const auto count = static_cast<std::uint32_t>(io.length);
  for (std::uint32_t page = ObjectMap::page_of(first); count > 0 && page <= ObjectMap::page_of(first + count - 1);
       ++page) {
    if (index_.load(page)) continue;
    index_.wait_for_map(page, id);
    io.parts_left = 1;
    return;
  }
  Slice bits = context_.pool.zeros((count + 7) / 8);
  for (std::uint32_t i = 0; i < count; ++i)
    if (index_.map().exists(first + i)) bits.mutable_data()[i / 8] |= std::byte{1} << (i % 8);
  io.payload.clear();
  if (!bits.empty()) io.payload.push_back(std::move(bits));
  finish_io(id);
}

void Volume::run_checks() {
  while (const auto done = check_.run()) {
    requests_.find(done->io)->payload.push_back(context_.pool.copy_of(encode(done->answer)));
    finish_io(done->io);
  }
}

void Volume::start_flush(std::uint64_t io) {
  requests_.find(io)->parts_left = 1;
  if (flushes_.start(io)) finish_part(io, 0, Status::ok, {});
}

// --- Answers

void Volume::on_reply(Time now, NodeId from, peer::ObjectReply&& reply, VolumeEffects& out) {
  note_full(from, reply.full);
  Op* op = context_.ops.find(reply.id);
  if (!op || !contains(op->waiting_for, from)) return;
  enter(now, out, [&] {
    dispatch(*op, from, std::move(reply));
    run_checks();
  });
}

void Volume::note_full(NodeId member, bool full) {
  if (full)
    add_sorted(context_.full, member);
  else
    take(context_.full, member);
}

void Volume::dispatch(Op& op, NodeId from, peer::ObjectReply&& reply) {
  const std::uint64_t id = reply.id;
  switch (op.kind) {
    case Op::Kind::flush:
      if (const auto io = flushes_.on_reply(id, op, from, reply)) finish_part(*io, 0, Status::ok, {});
      return;
    case Op::Kind::check: check_.on_reply(id, op, from, reply); return;
    case Op::Kind::clear: index_.on_clear_reply(id, op, from, reply); return;
    default: objects_.on_reply(id, op, from, std::move(reply)); return;
  }
}

void Volume::finish(std::uint64_t id, Status status, Payload&& payload) {
  const Op::Cause cause = context_.ops.find(id)->cause;
  context_.ops.erase(id);
  switch (cause.purpose) {
    case Op::Cause::Purpose::client: finish_part(cause.io, cause.part, status, std::move(payload)); return;
    case Op::Cause::Purpose::load_page: index_.on_page(cause.entry, status, payload); return;
    case Op::Cause::Purpose::set_entry: index_.on_entry_written(cause.entry, status); return;
  }
}

void Volume::finish_part(std::uint64_t id, std::uint32_t part, Status status, Payload&& payload) {
  Io* io = requests_.find(id);
  if (!io || !requests_.part_done(*io, part, status, std::move(payload))) return;
  if (io->status == Status::ok && std::exchange(io->fua, false))
    start_flush(id);
  else
    finish_io(id);
}

void Volume::finish_io(std::uint64_t id) {
  const Io& io = *requests_.find(id);
  if (!io.internal) {
    done_->push_back(requests_.take_answer(id));
    return;
  }
  if (sweep_.ends_with(id)) sweep_.on_flushed(io.status == Status::ok);
  requests_.erase(id);
}

void Volume::on_lost_copy(Time now, Oid oid, VolumeEffects& out) {
  const Vid vid = context_.vid;
  if (!owner_ || oid.vid() != vid || (!oid.is_data() && oid != Oid::index_object(vid, oid.index()))) return;
  enter(now, out, [&] { objects_.on_lost_copy(oid); });
}

// --- The cluster changed; time passed

void Volume::give_up() {
  owner_ = false;
  requests_.drop(Status::stale, *done_);
  context_.ops = {};
  objects_.clear();
  index_.clear();
  flushes_.clear();
  check_.clear();
}

void Volume::on_state(Time now, VolumeEffects& out) {
  if (!owner_) return;
  enter(now, out, [&] {
    const auto* vdi = context_.state.find(context_.vid);
    if (!vdi || vdi->deleting || vdi->owner != context_.self) {
      give_up();
      return;
    }
    const std::uint64_t generation = context_.state.generation(context_.vid);
    if (generation != context_.generation) begin_generation(generation);
  });
}

void Volume::begin_generation(std::uint64_t generation) {
  context_.generation = generation;
  context_.generation_since = context_.now;
  context_.told_without_room.clear();
  sweep_.close_all();
  check_.on_generation();
  objects_.on_generation();
  index_.on_generation();
  run_checks();
  for (const std::uint64_t io : flushes_.on_generation()) finish_part(io, 0, Status::ok, {});
}

void Volume::set_serving(Time now, bool serving, VolumeEffects& out) {
  if (serving == context_.serving) return;
  context_.serving = serving;
  if (!serving) return;
  enter(now, out, [&] {
    index_.on_serving();
    objects_.on_serving();
  });
}

Time Volume::next_deadline() const {
  const bool busy = context_.ops.size() > 0 || sweep_.open_objects() > 0 || !check_.idle();
  return !busy ? never : next_tick_ == never ? 0 : next_tick_;
}

void Volume::tick(Time now, VolumeEffects& out) {
  if (!owner_ || (next_tick_ != never && now < next_tick_)) return;
  next_tick_ = now + tick_interval;
  enter(now, out, [&] {
    repeat_operations();
    objects_.tick();
    index_.load_wanted();
    run_checks();
  });
}

// What has no answer is asked again. Writes: see ObjectLog::tick.
void Volume::repeat_operations() {
  std::vector<std::uint64_t> late_reads;
  context_.ops.each([&](std::uint64_t id, Op& op) {
    if (op.waiting_for.empty()) return;
    const Time age = context_.now - op.sent;
    if (age < (op.kind == Op::Kind::flush ? repeat_slow_after : repeat_after)) return;
    switch (op.kind) {
      case Op::Kind::read: late_reads.push_back(id); return;
      case Op::Kind::query:
      case Op::Kind::establish: op.object->peering->repeat(op); return;
      case Op::Kind::flush: flushes_.send(id, op); return;
      case Op::Kind::clear: index_.repeat_clear(id, op); return;
      case Op::Kind::check: check_.repeat(id, op); return;
      default: return;
    }
  });
  for (const std::uint64_t id : late_reads) objects_.retry_read(id);
}

// --- Recovery

void Volume::recover(Time now, std::size_t budget, VolumeEffects& out) {
  if (!owner_ || recovered() || sweep_.flushing()) return;
  enter(now, out, [&] { sweep_on(budget); });
}

void Volume::touch(Oid oid) {
  replication::Object& object = objects_.get(oid);
  sweep_.found();
  if (object.ready) return;
  sweep_.open(oid);
  objects_.touch(object);
}

void Volume::sweep_on(std::size_t budget) {
  if (sweep_.generation() != context_.generation) sweep_ = Sweep(context_.generation);
  sweep_.close_if([&](Oid oid) {
    const replication::Object* object = objects_.find(oid);
    return !object || object->ready;
  });
  const std::uint64_t objects = context_.state.find(context_.vid)->objects();
  for (std::size_t steps = 0; sweep_.next() < objects && sweep_.open_objects() < budget && steps < 4096; ++steps) {
    const auto index = static_cast<std::uint32_t>(sweep_.next());
    if (index % limits::index_entries_per_object == 0)
      touch(Oid::index_object(context_.vid, index / limits::index_entries_per_object));
    if (!index_.load(ObjectMap::page_of(index))) return;
    if (index_.map().exists(index)) touch(Oid::data(context_.vid, index));
    sweep_.advance();
  }
  if (sweep_.next() < objects || sweep_.open_objects() > 0) return;
  Io io;
  io.kind = IoRequest::Kind::flush;
  io.internal = true;
  const std::uint64_t request = requests_.insert(std::move(io));
  sweep_.begin_flush(request);
  for (const auto& m : context_.placement.current().record.members) add_sorted(context_.dirty, m.id);
  start_flush(request);
}

SweepProgress Volume::sweep() const {
  const auto* vdi = context_.state.find(context_.vid);
  const std::uint64_t objects = vdi ? vdi->objects() : 0;
  if (sweep_.generation() != context_.generation) return {0, 0, 0, objects};
  return sweep_.progress(objects);
}

}  // namespace sd
