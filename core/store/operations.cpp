#include "core/store/operations.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::store_detail {

using limits::block_size;

namespace {

journal::Record record_of(journal::Kind kind, const Op& op) {
  journal::Record record;
  record.kind = kind;
  record.key = op.key;
  record.version = op.version;
  record.prev = op.prev;
  record.origin = op.origin;
  return record;
}

}  // namespace

// --- queues

void Operations::submit(Op&& op) {
  Entry* entry = cache_.find(op.key);
  if (!entry) {
    if (!op.changes() || op.kind == OpKind::remove) {
      answer_absent(op);
      return;
    }
    entry = &cache_.entry(op.key);
  }
  Object& o = cache_.activate(op.key, *entry);
  Executed result = Executed::waiting;
  if (o.loaded && o.queue.empty()) {
    result = execute(o, op);
    if (result == Executed::done) {
      cache_.settle(o);
      return;
    }
  }
  const bool begun = result == Executed::waiting && o.loaded && o.queue.empty();
  if (queued_ >= context_.options.max_queued_ops && !begun) {
    context_.finish(op.ticket, Status::busy);
    cache_.settle(o);
    return;
  }
  ++queued_;
  o.queue.ops.push_back(std::move(op));
  if (result == Executed::parked) park(o);
}

void Operations::answer_absent(const Op& op) {
  const bool needs_object = op.kind == OpKind::read || op.kind == OpKind::read_chunk;
  context_.finish(op.ticket, needs_object ? Status::not_found : Status::ok);
  if (op.kind == OpKind::map) context_.fx->done.back().bitmap.resize(limits::blocks_per_object / 64);
}

void Operations::park(Object& o) {
  if (!std::exchange(o.queue.blocked, true)) blocked_.push_back(&o);
}

void Operations::run_queue(Object& o) {
  while (o.loaded && !o.queue.busy && !o.queue.empty()) {
    // Executing may not touch the queue, so the reference stays good.
    const Executed result = execute(o, o.queue.first());
    if (result == Executed::waiting) return;
    if (result == Executed::parked) {
      park(o);
      return;
    }
    o.queue.pop();
    --queued_;
  }
}

void Operations::run_blocked() {
  if (running_blocked_) return;
  running_blocked_ = true;
  while (!blocked_.empty() && !context_.failed()) {
    Object& o = *blocked_.front();
    run_queue(o);
    if (!o.queue.busy && !o.queue.empty()) break;  // still no room
    o.queue.blocked = false;
    blocked_.pop_front();
    cache_.settle(o);
  }
  running_blocked_ = false;
}

void Operations::drop(Status update, Status other) {
  for (const auto& item : cache_.entries()) {
    if (!item.second.object) continue;
    OpQueue& queue = item.second.object->queue;
    for (std::size_t i = queue.head; i < queue.ops.size(); ++i)
      context_.finish(queue.ops[i].ticket, queue.ops[i].changes() ? update : other);
    queue.clear();
  }
  blocked_.clear();
  queued_ = 0;
}

std::string Operations::check_state() const {
  // One more for each object that had begun with what it now queues.
  if (queued_ > context_.options.max_queued_ops + context_.counts.loaded_objects) return "only so many calls wait";
  if (queued_ == 0 && !blocked_.empty()) return "an object waits for room with a call that does";
  if (blocked_.size() > context_.counts.loaded_objects) return "an object waits for room once";
  if (!blocked_.empty() && (!blocked_.front()->queue.blocked || blocked_.front()->queue.empty()))
    return "who waits for room has something to do";
  return {};
}

// --- checks

Executed Operations::refuse(const Object& o, const Op& op, Status status) {
  context_.finish(op.ticket, status, info_of(o));
  return Executed::done;
}

Executed Operations::refuse_for_edges(Object& o, const Op& op) {
  return refuse(o, op, std::exchange(o.edges.status, Status::ok));
}

// As soon as the object's last record is in the journal.
Executed Operations::acknowledge(const Object& o, const Op& op) {
  journal_.acknowledge(o.last_sequence, op.ticket, info_of(o));
  return Executed::done;
}

bool Operations::admit(const Object& o, std::size_t records, std::size_t blocks) {
  if (!blocked_.empty() && !running_blocked_) return false;  // others came first
  const std::uint64_t bytes = std::uint64_t{blocks} * block_size;
  if (blocks > 0 && changes_.bytes() > 0 && changes_.bytes() + bytes > context_.options.max_dirty_bytes) {
    write_back_.want_round();
    return false;
  }
  if (!o.dirty && changes_.dirty_objects() >= context_.options.max_dirty_objects) {
    write_back_.want_checkpoint();
    return false;
  }
  const auto room = journal_.make_room(records, blocks);
  if (room == JournalWriter::Room::full) write_back_.want_checkpoint();
  return room == JournalWriter::Room::ok;
}

bool Operations::refuse_for_space(const Object& o, std::uint32_t first, std::uint32_t count) const {
  return (write_back_.disk_full() || context_.space.left() < context_.options.reserve_bytes) && count > 0 &&
         !o.meta.all_allocated(first, count);
}

void Operations::emit(Object& o, journal::Record record, std::span<const Slice> slices) {
  const auto crcs = journal_.append(record, slices);
  changes_.absorb(o, record, journal_.next_sequence(), crcs, slices);
}

Executed Operations::execute(Object& o, Op& op) {
  if (o.load_status != Status::ok) {
    context_.finish(op.ticket, o.load_status);
    return Executed::done;
  }
  switch (op.kind) {
    case OpKind::read:
    case OpKind::read_chunk: return execute_read(o, op);
    case OpKind::query:
      // Who asks takes what is told for as good as acknowledged, and what is flushed next for durable: it has to be in
      // the journal.
      SD_SOMETIMES(o.last_sequence > journal_.completed(), query_waits_for_journal);
      if (SD_BUG(tell_unwritten)) {
        context_.finish(op.ticket, Status::ok, info_of(o));
        context_.fx->done.back().recent = o.meta.recent;
      } else {
        journal_.tell(o.last_sequence, op.ticket, info_of(o), o.meta.recent);
      }
      return Executed::done;
    case OpKind::map:
      context_.finish(op.ticket, Status::ok, info_of(o));
      context_.fx->done.back().bitmap.assign(o.meta.allocated.begin(), o.meta.allocated.end());
      return Executed::done;
    case OpKind::chunks_since: answer_chunks_since(o, op); return Executed::done;
    default: break;
  }
  const Executed result = execute_update(o, op);
  if (result == Executed::parked && write_back_.disk_full()) {
    o.edges.blocks.clear();
    o.placing.step = Placing::Step::no;
    return refuse(o, op, Status::no_space);
  }
  if (result == Executed::done) o.edges.blocks.clear();
  return result;
}

void Operations::answer_chunks_since(const Object& o, const Op& op) {
  context_.finish(op.ticket, Status::ok, info_of(o));
  for (std::uint32_t c = 0; c < limits::chunks_per_object; ++c)
    if (o.meta.chunk_version[c] > op.version) context_.fx->done.back().chunks |= 1ull << c;
  context_.fx->done.back().recent = o.meta.recent;
}

Executed Operations::execute_read(Object& o, const Op& op) {
  if (!o.exists) return refuse(o, op, Status::not_found);
  if (op.kind == OpKind::read_chunk) {
    reads_.read_chunk(o, op.ticket, op.offset);
    return Executed::done;
  }
  if (o.meta.incomplete) return refuse(o, op, Status::behind);
  reads_.read(o, op.ticket, op.offset, op.length);
  return Executed::done;
}

Executed Operations::execute_update(Object& o, Op& op) {
  switch (op.kind) {
    case OpKind::write:
    case OpKind::zero: return execute_change(o, op);
    case OpKind::remove: return execute_remove(o, op);
    case OpKind::begin_sync: return execute_begin_sync(o, op);
    case OpKind::end_sync: return execute_end_sync(o, op);
    case OpKind::put_chunk: return execute_put_chunk(o, op);
    case OpKind::repair: return execute_repair(o, op);
    default: SD_ASSERT(false, "every update is handled");
  }
  return Executed::done;
}

// --- updates by clients

Executed Operations::execute_change(Object& o, Op& op) {
  if (o.edges.status != Status::ok) return refuse_for_edges(o, op);
  if (o.exists && o.meta.incomplete) return refuse(o, op, Status::behind);
  if (op.version <= o.meta.version) return acknowledge(o, op);
  if (op.prev != o.meta.version && !SD_BUG(accept_version_gap)) return refuse(o, op, Status::behind);
  return op.kind == OpKind::write ? execute_write(o, op) : execute_zero(o, op);
}

// A block of which `op` brings a part only, and the old contents are among the edges.
Slice Operations::merged(const Object& o, const Op& op, std::uint32_t block) const {
  Slice whole = context_.pool.allocate(block_size);
  o.edges.fill(block, whole);
  const std::uint64_t start = std::uint64_t{block} * block_size;
  const std::uint64_t from = std::max<std::uint64_t>(start, op.offset);
  const std::uint64_t to = std::min<std::uint64_t>(start + block_size, std::uint64_t{op.offset} + op.length);
  if (op.kind == OpKind::write)
    std::memcpy(whole.mutable_data() + (from - start), op.data.data() + (from - op.offset), to - from);
  else if (!SD_BUG(trim_keeps_data))
    std::memset(whole.mutable_data() + (from - start), 0, to - from);
  return whole;
}

Executed Operations::execute_write(Object& o, Op& op) {
  const std::uint32_t first = op.offset / block_size;
  const std::uint32_t end = op.length == 0 ? first : (op.offset + op.length + block_size - 1) / block_size;
  if (refuse_for_space(o, first, end - first)) return refuse(o, op, Status::no_space);
  // bytes of the first block before the data, and of the last one behind it
  const std::uint32_t front = op.length == 0 ? 0 : op.offset % block_size;
  const std::uint32_t back = op.length == 0 ? 0 : end * block_size - op.offset - op.length;
  boost::container::small_vector<std::uint32_t, 2> edges;
  if (front > 0) edges.push_back(first);
  if (back > 0 && (front == 0 || end - 1 > first)) edges.push_back(end - 1);
  if (!edges.empty() && !reads_.fetch_edges(o, edges)) return Executed::waiting;
  if (o.edges.status != Status::ok) return refuse_for_edges(o, op);
  if (!admit(o, 1, end - first)) return Executed::parked;

  // At most an edge, the middle as it came, an edge.
  boost::container::small_vector<Slice, 3> slices;
  std::uint32_t middle = first;
  std::uint32_t middle_end = end;
  if (!edges.empty() && edges.front() == first) {
    slices.push_back(merged(o, op, first));
    ++middle;
  }
  const bool last_is_edge = !edges.empty() && edges.back() == end - 1 && end - 1 >= middle;
  if (last_is_edge) --middle_end;
  if (middle < middle_end)
    slices.push_back(aligned_for_disk(
        op.data.part(std::size_t{middle} * block_size - op.offset, std::size_t{middle_end - middle} * block_size),
        context_.pool));
  if (last_is_edge) slices.push_back(merged(o, op, end - 1));

  journal::Record record = record_of(journal::Kind::write, op);
  record.creates = !o.exists;
  record.first = static_cast<std::uint16_t>(first);
  record.count = static_cast<std::uint16_t>(end - first);
  if (!o.meta.all_allocated(first, end - first)) context_.space.spent += std::uint64_t{end - first} * block_size;
  emit(o, record, slices);
  return acknowledge(o, op);
}

Executed Operations::execute_zero(Object& o, Op& op) {
  const std::uint32_t range_end = op.offset + op.length;
  const std::uint32_t whole_first = (op.offset + block_size - 1) / block_size;
  const std::uint32_t whole_end = std::max(whole_first, range_end / block_size);
  // Blocks of which only a part is in the range; where there is nothing, there is nothing to do.
  boost::container::small_vector<std::uint32_t, 2> edges;
  if (op.length > 0) {
    const std::uint32_t front = op.offset / block_size;
    const std::uint32_t back = (range_end - 1) / block_size;
    if (op.offset % block_size != 0 && o.meta.is_allocated(front)) edges.push_back(front);
    if (range_end % block_size != 0 && (back != front || op.offset % block_size == 0) && o.meta.is_allocated(back))
      edges.push_back(back);
  }
  if (!edges.empty() && !reads_.fetch_edges(o, edges)) return Executed::waiting;
  if (o.edges.status != Status::ok) return refuse_for_edges(o, op);
  if (!admit(o, 1 + edges.size(), edges.size())) return Executed::parked;

  // One batch holds all the records, so they happen together.
  journal::Record record = record_of(journal::Kind::zero, op);
  record.creates = !o.exists;
  record.first = static_cast<std::uint16_t>(whole_first < limits::blocks_per_object ? whole_first : 0);
  record.count = static_cast<std::uint16_t>(SD_BUG(trim_keeps_data) ? 0 : whole_end - whole_first);
  emit(o, record, {});
  record = record_of(journal::Kind::write, op);
  record.count = 1;
  for (const auto block : edges) {
    const Slice whole = merged(o, op, block);
    record.first = static_cast<std::uint16_t>(block);
    emit(o, record, {&whole, 1});
  }
  return acknowledge(o, op);
}

// --- updates by members

Executed Operations::execute_remove(Object& o, const Op& op) {
  if (!o.exists) return acknowledge(o, op);
  if (op.mask != 0 && o.meta.version != op.version) return refuse(o, op, Status::behind);
  if (!admit(o, 1, 0)) return Executed::parked;
  emit(o, record_of(journal::Kind::remove, op), {});
  return acknowledge(o, op);
}

Executed Operations::execute_begin_sync(Object& o, const Op& op) {
  if (!o.exists || !o.meta.incomplete || o.meta.torn) {
    if (!admit(o, 1, 0)) return Executed::parked;
    journal::Record record = record_of(journal::Kind::begin_sync, op);
    record.prev = o.meta.version;
    record.creates = !o.exists;
    emit(o, record, {});
  }
  o.placing.forget();
  o.being_copied = true;
  return acknowledge(o, op);
}

Executed Operations::execute_put_chunk(Object& o, Op& op) {
  if (!o.being_copied) return refuse(o, op, o.exists && o.meta.incomplete ? Status::unavailable : Status::invalid);
  if (o.placing.step == Placing::Step::written) return placer_.place(o, op);
  const std::uint32_t blocks = static_cast<std::uint32_t>(op.data.size() / block_size);
  const std::uint32_t first = op.offset * blocks_per_chunk;
  if (blocks > 0 && refuse_for_space(o, first, blocks_per_chunk)) return refuse(o, op, Status::no_space);
  if (placer_.may_place(o, op)) return placer_.place(o, op);
  if (!admit(o, 2, blocks + (op.lost != 0))) return Executed::parked;
  o.placing.chunks &= ~(1ull << op.offset);
  journal::Record record = record_of(journal::Kind::chunk, op);
  record.first = static_cast<std::uint16_t>(first);
  record.count = blocks_per_chunk;
  record.mask = op.mask;
  const Slice data = aligned_for_disk(op.data, context_.pool);
  context_.space.spent += data.size();
  emit(o, record, {&data, data.empty() ? 0u : 1u});
  if (op.lost != 0) {
    record.kind = journal::Kind::lose;
    record.mask = op.lost;
    emit(o, record, {&op.lost_crcs, 1u});
  }
  return acknowledge(o, op);
}

Executed Operations::execute_end_sync(Object& o, Op& op) {
  if (!o.being_copied) return refuse(o, op, o.exists && o.meta.incomplete ? Status::unavailable : Status::invalid);
  if (!placer_.sync(o)) return Executed::waiting;
  if (!admit(o, 1, meta_slot_bytes / block_size)) return Executed::parked;
  journal::Record record;
  record.kind = journal::Kind::end_sync;
  record.key = op.key;
  record.version = op.version;
  const Slice meta = placer_.completed_meta(o, op.version, op.prev, op.recent);
  emit(o, record, {&meta, 1u});
  o.placing.forget();
  o.being_copied = false;
  return acknowledge(o, op);
}

Executed Operations::execute_repair(Object& o, Op& op) {
  const std::uint32_t block = op.offset;
  if (!o.exists || !o.meta.is_allocated(block) ||
      (o.meta.block_crc[block] != crc32c(op.data.bytes()) && !SD_BUG(repair_unchecked)))
    return refuse(o, op, Status::behind);
  if (!admit(o, 1, 1)) return Executed::parked;
  journal::Record record = record_of(journal::Kind::repair, op);
  record.version = o.meta.version;
  record.first = static_cast<std::uint16_t>(block);
  record.count = 1;
  const Slice data = aligned_for_disk(op.data, context_.pool);
  emit(o, record, {&data, 1u});
  return acknowledge(o, op);
}

}  // namespace sd::store_detail
