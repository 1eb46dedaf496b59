// Operations: checks, admission, batches, flushes, failure. See store_impl.hpp for why things happen in this order.
#include "core/store/store.hpp"

#include <algorithm>
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;
using store_detail::blocks_per_chunk;

Store::Impl::Impl(StoreOptions o, BufferPool& buffers, std::uint64_t seed)
    : options(o), pool(buffers), random(seed), zeros(buffers.zeros(64u << 10)) {
  SD_ASSERT(options.journal_bytes >= min_journal_bytes && options.journal_bytes % block_size == 0,
            "the journal has a sane size");
  SD_ASSERT(options.max_batches_in_flight > 0 && options.max_apply_ops > 0 && options.max_dirty_objects > 1 &&
                options.max_batch_records >= 4,
            "the store's bounds leave room for work");
}

void Store::Impl::finish(std::uint64_t ticket, Status status) {
  StoreDone& d = fx->done.emplace_back();
  d.ticket = ticket;
  d.status = status;
}

void Store::Impl::finish(std::uint64_t ticket, Status status, const Object& o) {
  finish(ticket, status);
  fx->done.back().info = info_of(o);
}

// --- operations

void Store::Impl::submit(Op&& op) {
  if (state != State::running) {
    finish(op.ticket, state == State::failed ? Status::io_error : Status::unavailable);
    return;
  }
  auto at = entries.find(op.oid);
  if (at == entries.end()) {
    if (!op.changes() || op.kind == OpKind::remove) {
      const bool needs_object = op.kind == OpKind::read || op.kind == OpKind::read_chunk;
      finish(op.ticket, needs_object ? Status::not_found : Status::ok);
      if (op.kind == OpKind::map) fx->done.back().bitmap.resize(limits::blocks_per_object / 64);
      return;
    }
    at = entries.try_emplace(op.oid).first;
  }
  Object& o = activate(op.oid, at->second);
  Executed result = Executed::waiting;
  if (o.loaded && o.queue_empty()) {
    result = execute(o, op);
    if (result == Executed::done) {
      settle(o);
      return;
    }
  }
  if (queued_ops >= options.max_queued_ops && o.loaded && o.queue_empty() && !o.busy) {
    finish(op.ticket, Status::busy);
    settle(o);
    return;
  }
  if (queued_ops >= options.max_queued_ops && !o.queue_empty()) {
    finish(op.ticket, Status::busy);
    return;
  }
  ++queued_ops;
  o.queue.push_back(std::move(op));
  if (result == Executed::parked) {
    o.blocked = true;
    blocked.push_back(&o);
  }
}

void Store::Impl::run_queue(Object& o) {
  while (o.loaded && !o.busy && !o.queue_empty()) {
    // Executing may not touch the queue, so the reference stays good.
    const Executed result = execute(o, o.queue[o.queue_head]);
    if (result == Executed::waiting) return;
    if (result == Executed::parked) {
      if (!o.blocked) {
        o.blocked = true;
        blocked.push_back(&o);
      }
      return;
    }
    o.queue[o.queue_head++] = {};
    --queued_ops;
    if (o.queue_empty()) {
      o.queue.clear();
      o.queue_head = 0;
    } else if (o.queue_head >= 64) {
      o.queue.erase(o.queue.begin(), o.queue.begin() + static_cast<std::ptrdiff_t>(o.queue_head));
      o.queue_head = 0;
    }
  }
}

void Store::Impl::run_blocked() {
  if (running_blocked) return;
  running_blocked = true;
  while (!blocked.empty() && state == State::running) {
    Object& o = *blocked.front();
    run_queue(o);
    if (!o.busy && !o.queue_empty()) break;  // still no room
    o.blocked = false;
    blocked.pop_front();
    settle(o);
  }
  running_blocked = false;
}

Store::Impl::Executed Store::Impl::execute(Object& o, Op& op) {
  if (o.load_status != Status::ok) {
    finish(op.ticket, o.load_status);
    return Executed::done;
  }
  switch (op.kind) {
    case OpKind::read: return execute_read(o, op);
    case OpKind::read_chunk: return execute_read_chunk(o, op);
    case OpKind::query:
      // Who asks takes what is told for as good as acknowledged, and what is flushed next for durable: it has to be in
      // the journal.
      SD_SOMETIMES(o.last_sequence > completed, query_waits_for_journal);
      if (SD_BUG(tell_unwritten))
        finish(op.ticket, Status::ok, o);
      else
        acknowledge(o, op.ticket, false);
      return Executed::done;
    case OpKind::map:
      finish(op.ticket, Status::ok, o);
      fx->done.back().bitmap.assign(o.meta.allocated.begin(), o.meta.allocated.end());
      return Executed::done;
    case OpKind::chunks_since:
      finish(op.ticket, Status::ok, o);
      for (std::uint32_t c = 0; c < limits::chunks_per_object; ++c)
        if (o.meta.chunk_version[c] > op.version) fx->done.back().chunks |= 1ull << c;
      return Executed::done;
    default: break;
  }
  const Executed result = execute_update(o, op);
  if (result == Executed::parked && disk_full) {
    finish(op.ticket, Status::no_space, o);
    o.edges.clear();
    o.placing = Object::Placing::no;
    return Executed::done;
  }
  if (result == Executed::done) o.edges.clear();
  return result;
}

Store::Impl::Executed Store::Impl::execute_update(Object& o, Op& op) {
  journal::Record record;
  record.oid = op.oid;
  record.version = op.version;
  record.prev = op.prev;
  switch (op.kind) {
    case OpKind::write:
    case OpKind::zero: {
      if (o.edge_status != Status::ok) {
        finish(op.ticket, std::exchange(o.edge_status, Status::ok), o);
        return Executed::done;
      }
      if (o.exists && o.meta.incomplete) {
        finish(op.ticket, Status::behind, o);
        return Executed::done;
      }
      if (op.version <= o.meta.version) {
        acknowledge(o, op.ticket);
        return Executed::done;
      }
      if (op.prev != o.meta.version && !SD_BUG(accept_version_gap)) {
        finish(op.ticket, Status::behind, o);
        return Executed::done;
      }
      return op.kind == OpKind::write ? execute_write(o, op) : execute_zero(o, op);
    }
    case OpKind::remove:
      if (!o.exists) break;
      if (op.mask != 0 && o.meta.version != op.version) {
        finish(op.ticket, Status::behind, o);
        return Executed::done;
      }
      if (!admit(o, 1, 0)) return Executed::parked;
      record.kind = journal::Kind::remove;
      emit(o, record, {});
      break;
    case OpKind::begin_sync:
      if (!o.exists || !o.meta.incomplete || o.meta.torn) {
        if (!admit(o, 1, 0)) return Executed::parked;
        record.kind = journal::Kind::begin_sync;
        record.prev = o.meta.version;
        record.creates = !o.exists;
        emit(o, record, {});
      }
      forget_placed(o);
      o.being_copied = true;
      break;
    case OpKind::end_sync: return execute_end_sync(o, op);
    case OpKind::put_chunk: return execute_put_chunk(o, op);
    case OpKind::repair: return execute_repair(o, op);
    default: SD_ASSERT(false, "every update is handled");
  }
  acknowledge(o, op.ticket);
  return Executed::done;
}

bool Store::Impl::refuse_for_space(const Object& o, std::uint32_t first, std::uint32_t count) const {
  return (disk_full || space_left() < options.reserve_bytes) && count > 0 && !o.meta.all_allocated(first, count);
}

// Disks opened with O_DIRECT want memory on sector boundaries.
Slice Store::Impl::aligned_for_disk(Slice data) const {
  return reinterpret_cast<std::uintptr_t>(data.data()) % limits::sector_size == 0 ? data : pool.copy_of(data.bytes());
}

Store::Impl::Executed Store::Impl::execute_write(Object& o, Op& op) {
  const auto length = static_cast<std::uint32_t>(op.data.size());
  const std::uint32_t first = op.offset / block_size;
  const std::uint32_t end = length == 0 ? first : (op.offset + length + block_size - 1) / block_size;
  if (refuse_for_space(o, first, end - first)) {
    finish(op.ticket, Status::no_space, o);
    return Executed::done;
  }
  // bytes of the first block before the data
  const std::uint32_t front = length == 0 ? 0 : op.offset % block_size;
  // bytes of the last block behind it
  const std::uint32_t back = length == 0 ? 0 : end * block_size - op.offset - length;
  boost::container::small_vector<std::uint32_t, 2> edges;
  if (front > 0) edges.push_back(first);
  if (back > 0 && (front == 0 || end - 1 > first)) edges.push_back(end - 1);
  if (!edges.empty() && !fetch_edges(o, edges)) return Executed::waiting;
  if (!admit(o, 1, end - first)) return Executed::parked;

  // At most an edge, the middle as it came, an edge.
  boost::container::small_vector<Slice, 3> slices;
  const auto merged = [&](std::uint32_t block) {
    Slice whole = pool.allocate(block_size);
    for (const auto& edge : o.edges)
      if (edge.block == block) std::memcpy(whole.mutable_data(), edge.data.data(), block_size);
    const std::uint64_t start = std::uint64_t{block} * block_size;
    const std::uint64_t from = std::max<std::uint64_t>(start, op.offset);
    const std::uint64_t to = std::min<std::uint64_t>(start + block_size, std::uint64_t{op.offset} + length);
    std::memcpy(whole.mutable_data() + (from - start), op.data.data() + (from - op.offset), to - from);
    return whole;
  };
  std::uint32_t middle = first;
  std::uint32_t middle_end = end;
  if (!edges.empty() && edges.front() == first) {
    slices.push_back(merged(first));
    ++middle;
  }
  const bool last_is_edge = !edges.empty() && edges.back() == end - 1 && end - 1 >= middle;
  if (last_is_edge) --middle_end;
  if (middle < middle_end)
    slices.push_back(aligned_for_disk(
        op.data.part(std::size_t{middle} * block_size - op.offset, std::size_t{middle_end - middle} * block_size)));
  if (last_is_edge) slices.push_back(merged(end - 1));

  journal::Record record;
  record.kind = journal::Kind::write;
  record.creates = !o.exists;
  record.oid = op.oid;
  record.version = op.version;
  record.prev = op.prev;
  record.first = static_cast<std::uint16_t>(first);
  record.count = static_cast<std::uint16_t>(end - first);
  if (!o.meta.all_allocated(first, end - first)) space_spent += std::uint64_t{end - first} * block_size;
  emit(o, record, slices);
  acknowledge(o, op.ticket);
  return Executed::done;
}

Store::Impl::Executed Store::Impl::execute_zero(Object& o, Op& op) {
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
  if (!edges.empty() && !fetch_edges(o, edges)) return Executed::waiting;
  if (!admit(o, 1 + edges.size(), edges.size())) return Executed::parked;

  // One batch holds all the records, so they happen together.
  journal::Record record;
  record.oid = op.oid;
  record.version = op.version;
  record.prev = op.prev;
  record.creates = !o.exists;
  record.kind = journal::Kind::zero;
  record.first = static_cast<std::uint16_t>(whole_first < limits::blocks_per_object ? whole_first : 0);
  record.count = static_cast<std::uint16_t>(SD_BUG(trim_keeps_data) ? 0 : whole_end - whole_first);
  emit(o, record, {});
  record.creates = false;
  record.kind = journal::Kind::write;
  record.count = 1;
  for (const auto block : edges) {
    Slice whole = pool.allocate(block_size);
    for (const auto& edge : o.edges)
      if (edge.block == block) std::memcpy(whole.mutable_data(), edge.data.data(), block_size);
    const std::uint64_t start = std::uint64_t{block} * block_size;
    const std::uint64_t from = std::max<std::uint64_t>(start, op.offset);
    const std::uint64_t to = std::min<std::uint64_t>(start + block_size, range_end);
    if (!SD_BUG(trim_keeps_data)) std::memset(whole.mutable_data() + (from - start), 0, to - from);
    record.first = static_cast<std::uint16_t>(block);
    emit(o, record, {&whole, 1});
  }
  acknowledge(o, op.ticket);
  return Executed::done;
}

Store::Impl::Executed Store::Impl::execute_put_chunk(Object& o, Op& op) {
  if (!o.being_copied) {
    finish(op.ticket, o.exists && o.meta.incomplete ? Status::unavailable : Status::invalid, o);
    return Executed::done;
  }
  if (o.placing == Object::Placing::written) return place_chunk(o, op);
  const std::uint32_t blocks = static_cast<std::uint32_t>(op.data.size() / block_size);
  const std::uint32_t first = op.offset * blocks_per_chunk;
  if (blocks > 0 && refuse_for_space(o, first, blocks_per_chunk)) {
    finish(op.ticket, Status::no_space, o);
    return Executed::done;
  }
  if (may_place(o, op)) return place_chunk(o, op);
  if (!admit(o, 2, blocks + (op.lost != 0))) return Executed::parked;
  o.placed_chunks &= ~(1ull << op.offset);
  journal::Record record;
  record.kind = journal::Kind::chunk;
  record.oid = op.oid;
  record.version = op.version;
  record.first = static_cast<std::uint16_t>(first);
  record.count = blocks_per_chunk;
  record.mask = op.mask;
  const Slice data = aligned_for_disk(op.data);
  space_spent += data.size();
  emit(o, record, {&data, data.empty() ? 0u : 1u});
  if (op.lost != 0) {
    record.kind = journal::Kind::lose;
    record.mask = op.lost;
    emit(o, record, {&op.lost_crcs, 1u});
  }
  acknowledge(o, op.ticket);
  return Executed::done;
}

Store::Impl::Executed Store::Impl::execute_end_sync(Object& o, Op& op) {
  if (!o.being_copied) {
    finish(op.ticket, o.exists && o.meta.incomplete ? Status::unavailable : Status::invalid, o);
    return Executed::done;
  }
  if (!sync_placed(o)) return Executed::waiting;
  if (!admit(o, 1, meta_slot_bytes / block_size)) return Executed::parked;
  journal::Record record;
  record.kind = journal::Kind::end_sync;
  record.oid = op.oid;
  record.version = op.version;
  const Slice meta = completed_meta(o, op.version, op.prev);
  emit(o, record, {&meta, 1u});
  forget_placed(o);
  o.being_copied = false;
  acknowledge(o, op.ticket);
  return Executed::done;
}

Store::Impl::Executed Store::Impl::execute_repair(Object& o, Op& op) {
  const std::uint32_t block = op.offset;
  if (!o.exists || !o.meta.is_allocated(block) ||
      (o.meta.block_crc[block] != crc32c(op.data.bytes()) && !SD_BUG(repair_unchecked))) {
    finish(op.ticket, Status::behind, o);
    return Executed::done;
  }
  if (!admit(o, 1, 1)) return Executed::parked;
  journal::Record record;
  record.kind = journal::Kind::repair;
  record.oid = op.oid;
  record.version = o.meta.version;
  record.first = static_cast<std::uint16_t>(block);
  record.count = 1;
  const Slice data = aligned_for_disk(op.data);
  emit(o, record, {&data, 1u});
  acknowledge(o, op.ticket);
  return Executed::done;
}

// --- admission and batches

bool Store::Impl::admit(Object& o, std::size_t records, std::size_t blocks) {
  if (!blocked.empty() && !running_blocked) return false;  // others came first
  const std::uint64_t bytes = std::uint64_t{blocks} * block_size;
  if (blocks > 0 && dirty_bytes > 0 && dirty_bytes + bytes > options.max_dirty_bytes) {
    want_round = true;
    return false;
  }
  if (!o.dirty && dirty.size() >= options.max_dirty_objects) {
    want_checkpoint = true;
    return false;
  }
  if (!pending.records.empty() && (pending.payload_bytes + bytes > max_batch_payload() ||
                                   pending.records.size() + records > options.max_batch_records)) {
    if (flight.size() >= options.max_batches_in_flight) return false;
    submit_batch();
  }
  const std::uint64_t header =
      journal::header_bytes_for(pending.records.size() + records, pending.crcs.size() + blocks);
  if (!fits(header + pending.payload_bytes + bytes)) {
    want_checkpoint = true;
    return false;
  }
  return true;
}

void Store::Impl::emit(Object& o, journal::Record record, std::span<const Slice> slices) {
  record.crc_at = static_cast<std::uint32_t>(pending.crcs.size());
  for (const auto& slice : slices) {
    for (std::size_t at = 0; at < slice.size(); at += block_size)
      pending.crcs.push_back(crc32c(slice.bytes().subspan(at, block_size)));
    pending.payload_bytes += slice.size();
    pending.payload.push_back(slice);
  }
  record.crc_count = static_cast<std::uint32_t>(pending.crcs.size()) - record.crc_at;
  pending.records.push_back(record);
  note_sequence(o, record, next_sequence);
  ++counts.records;
  absorb(o, record, std::span(pending.crcs).subspan(record.crc_at, record.crc_count), slices);
}

// As soon as the object's last record is in the journal.
void Store::Impl::acknowledge(Object& o, std::uint64_t ticket, bool update) {
  if (o.last_sequence <= completed) {
    finish(ticket, Status::ok, o);
  } else if (o.last_sequence == next_sequence) {
    pending_acks.push_back({ticket, info_of(o), update});
  } else {
    for (auto& b : flight)
      if (b.sequence == o.last_sequence) b.acks.push_back({ticket, info_of(o), update});
  }
}

void Store::Impl::submit_batch() {
  if (pending.records.empty() || flight.size() >= options.max_batches_in_flight) return;
  journal::Header header;
  header.journal_id = super.journal_id;
  header.sequence = next_sequence;
  const std::uint64_t bytes =
      journal::header_bytes_for(pending.records.size(), pending.crcs.size()) + pending.payload_bytes;
  SD_ASSERT(fits(bytes), "admission promised room in the journal");
  header.position = place(head, bytes);
  header.salt = random.next();
  header.previous_link = last_link;
  header.durable_sequence = durable;
  DiskOp op{DiskOp::Kind::write,
            journal_file(),
            make_tag(Tag::batch, next_sequence),
            physical(header.position),
            static_cast<std::uint32_t>(bytes),
            {}};
  op.slices.reserve(pending.payload.size() + 1);
  op.slices.push_back(journal::encode_header(header, pending, pool, last_link));
  for (auto& slice : pending.payload) op.slices.push_back(std::move(slice));
  pending.clear();
  disk(std::move(op));

  auto& b = flight.emplace_back();
  b.sequence = next_sequence;
  if (!spare_acks.empty()) {
    b.acks = std::move(spare_acks.back());
    spare_acks.pop_back();
  }
  b.acks.swap(pending_acks);
  head = header.position + bytes;
  ++next_sequence;
  ++counts.batches;
}

void Store::Impl::on_batch(std::uint64_t sequence, Status status) {
  if (status == Status::no_space) {
    if (state == State::running) notice("the disk of the journal is full; writes fail until there is space");
    restart();
    return;
  }
  if (status != Status::ok) {
    fail("cannot write the journal");
    return;
  }
  for (auto& b : flight)
    if ((b.sequence & 0xffffffff) == sequence) b.complete = true;
  acknowledge_batches();
  if (state == State::running) submit_batch();
}

// In order, also where the disk is not.
void Store::Impl::acknowledge_batches() {
  while (!flight.empty() && flight.front().complete) {
    auto& b = flight.front();
    completed = b.sequence;
    for (const auto& ack : b.acks) {
      finish(ack.ticket, Status::ok);
      fx->done.back().info = ack.info;
    }
    b.acks.clear();
    spare_acks.push_back(std::move(b.acks));
    flight.pop_front();
  }
}

// --- flush and failure

void Store::Impl::flush(std::uint64_t ticket) {
  if (state != State::running) {
    finish(ticket, state == State::failed ? Status::io_error : Status::unavailable);
    return;
  }
  if (durable >= completed || SD_BUG(skip_flush)) {
    finish(ticket, Status::ok);
    return;
  }
  if (flush_waiters.size() >= options.max_queued_ops) {
    finish(ticket, Status::busy);
    return;
  }
  flush_waiters.push_back({ticket, completed});
  start_sync();
}

void Store::Impl::start_sync() {
  if (sync_in_flight || durable >= completed) return;
  sync_in_flight = true;
  sync_covers = completed;
  ++counts.journal_syncs;
  disk(DiskOp::Kind::sync, journal_file(), make_tag(Tag::sync, 0));
}

void Store::Impl::on_sync(Status status) {
  sync_in_flight = false;
  if (status != Status::ok) {
    fail("cannot sync the journal");
    return;
  }
  durable = std::max(durable, sync_covers);
  std::size_t kept = 0;
  for (const auto& waiter : flush_waiters) {
    if (waiter.target <= durable)
      finish(waiter.ticket, Status::ok);
    else
      flush_waiters[kept++] = waiter;
  }
  flush_waiters.resize(kept);
  if (kept > 0) start_sync();
}

// Answers everything that waits: updates with `status`, the rest with unavailable unless the store failed.
void Store::Impl::drop_requests(Status status) {
  const Status other = status == Status::io_error ? status : Status::unavailable;
  for (const auto& ack : pending_acks) finish(ack.ticket, ack.update ? status : other);
  for (const auto& waiter : flush_waiters) finish(waiter.ticket, other);
  for (auto& r : reads)
    if (r->object && r->purpose != PendingRead::Purpose::edges) finish(r->ticket, other);
  for (auto& item : entries) {
    if (!item.second.object) continue;
    Object& o = *item.second.object;
    for (std::size_t i = o.queue_head; i < o.queue.size(); ++i)
      finish(o.queue[i].ticket, o.queue[i].changes() ? status : other);
    o.queue.clear();
    o.queue_head = 0;
  }
  blocked.clear();
  queued_ops = 0;
  for (auto& r : reads) r->object = nullptr;
  pending.clear();
  pending_acks.clear();
  flush_waiters.clear();
}

void Store::Impl::drop_flight(Status status) {
  const Status other = status == Status::io_error ? status : Status::unavailable;
  for (auto& b : flight)
    for (const auto& ack : b.acks) finish(ack.ticket, ack.update ? status : other);
  flight.clear();
}

void Store::Impl::fail(const std::string& why) {
  if (state == State::failed) return;
  notice("the object store has failed: " + why);
  state = State::failed;
  drop_flight(Status::io_error);
  drop_requests(Status::io_error);
}

// What is in memory contains updates that will never be in the journal: forget it all and open again, once the disk is
// quiet. Batches before the one that failed may still complete and count.
void Store::Impl::restart() {
  if (state == State::restarting) return;
  state = State::restarting;
  drop_requests(Status::no_space);
}

void Store::Impl::pump() {
  if (state == State::restarting && disk_in_flight == 0) {
    drop_flight(Status::no_space);
    scan_limit = completed + 1;
    begin_open();
  }
  if (state == State::scanning) {
    advance_round();
    if (phase == Phase::idle && want_round) {
      begin_round();
      advance_round();
    }
    if (phase == Phase::idle && state == State::scanning) scan();
    return;
  }
  while (state == State::running) {
    advance_round();
    if (state != State::running) return;
    run_blocked();
    if (phase != Phase::idle || !round_wanted()) return;
    submit_batch();
    if (!pending.records.empty()) return;  // the next batch that completes makes room for it
    begin_round();
    if (phase == Phase::idle) return;
  }
}

}  // namespace sd
