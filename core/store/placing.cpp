// Chunks that a copy from another member brings, written once: straight to the object's file. See store_impl.hpp for
// when that is safe.
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;
using store_detail::blocks_per_chunk;

bool Store::Impl::may_place(const Object& o, const Op& op) const {
  const bool known_incomplete = o.last_sequence <= durable;
  const bool nothing_to_replay = o.data_sequence < tail_sequence || SD_BUG(place_under_replay);
  return known_incomplete && nothing_to_replay && op.lost == 0 && !o.meta.torn && !o.in_round && o.current.empty() &&
         !o.current_removed && !o.meta.any_allocated(op.offset * blocks_per_chunk, blocks_per_chunk);
}

Store::Impl::Executed Store::Impl::place_chunk(Object& o, Op& op) {
  const std::uint32_t first = op.offset * blocks_per_chunk;
  if (o.placing == Object::Placing::no) {
    o.placed_chunks &= ~(1ull << op.offset);
    const Slice data = aligned_for_disk(op.data);
    std::uint32_t at = 0;
    for (std::uint32_t i = 0; i < blocks_per_chunk; ++i) {
      std::uint32_t n = 0;
      while (i + n < blocks_per_chunk && (op.mask >> (i + n) & 1) != 0) ++n;
      if (n == 0) continue;
      DiskOp write{DiskOp::Kind::write,
                   object_file(o.oid),
                   make_tag(Tag::place, o.id),
                   std::uint64_t{first + i} * block_size,
                   n * block_size,
                   {}};
      write.slices.push_back(data.part(std::size_t{at} * block_size, std::size_t{n} * block_size));
      write.uncached = true;
      disk(std::move(write));
      ++o.place_ops;
      at += n;
      i += n;
    }
    if (o.place_ops > 0) {
      SD_SOMETIMES(true, chunk_placed);
      o.placing = Object::Placing::writing;
      o.busy = true;
      return Executed::waiting;
    }
  }
  o.placing = Object::Placing::no;
  if (const Status status = std::exchange(o.place_status, Status::ok); status != Status::ok) {
    finish(op.ticket, status, o);
    return Executed::done;
  }
  if (!o.placed) o.placed = std::make_unique<ObjectMeta>();
  o.placed->clear_blocks(first, blocks_per_chunk);
  std::uint32_t at = 0;
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i)
    if ((op.mask >> i & 1) != 0)
      o.placed->set_block(first + i, crc32c(op.data.bytes().subspan(std::size_t{at++} * block_size, block_size)));
  o.placed->chunk_version[op.offset] = op.version;
  o.placed_chunks |= 1ull << op.offset;
  ++counts.placed_chunks;
  space_spent += op.data.size();
  finish(op.ticket, Status::ok, o);
  return Executed::done;
}

bool Store::Impl::sync_placed(Object& o) {
  if (o.placed_chunks == 0 || o.placing == Object::Placing::synced || !o.entry->object_file || SD_BUG(place_unsynced))
    return true;
  o.placing = Object::Placing::syncing;
  o.busy = true;
  o.place_ops = 2;
  disk(DiskOp::Kind::sync, object_file(o.oid), make_tag(Tag::place, o.id));
  disk(DiskOp::Kind::sync_directory, object_file(o.oid), make_tag(Tag::place, o.id));
  return false;
}

void Store::Impl::on_place(Object& o, Status status) {
  using Placing = Object::Placing;
  const bool writes = o.placing == Placing::writing;
  if (writes && status == Status::no_space) {
    o.place_status = status;
  } else if (status != Status::ok && !(o.placing == Placing::removing && status == Status::not_found)) {
    fail("cannot write object " + to_string(o.oid));
    return;
  } else if (writes && !std::exchange(o.entry->object_file, true)) {
    object_directory_dirty = true;
  }
  if (--o.place_ops > 0) return;
  if (writes && !o.entry->object_file) {  // an empty file may have been made all the same
    o.placing = Placing::removing;
    o.place_ops = 1;
    disk(DiskOp::Kind::remove, object_file(o.oid), make_tag(Tag::place, o.id));
    return;
  }
  o.placing = o.placing == Placing::syncing ? Placing::synced : Placing::written;
  o.busy = false;
  run_queue(o);
  settle(o);
}

// The object as it is once it is complete.
Slice Store::Impl::completed_meta(const Object& o, Version version, Version base) const {
  ObjectMeta meta = o.meta;
  for (std::uint32_t c = 0; c < limits::chunks_per_object; ++c)
    if ((o.placed_chunks >> c & 1) != 0) meta.take_chunk(c, *o.placed);
  meta.incomplete = meta.torn = false;
  meta.version = version;
  meta.base = base;
  Slice out = pool.allocate(meta_slot_bytes);
  encode_meta_slot(o.oid, {}, meta, std::span<std::byte, meta_slot_bytes>(out.mutable_data(), meta_slot_bytes));
  return out;
}

void Store::Impl::forget_placed(Object& o) {
  o.placed_chunks = 0;
  o.placed.reset();
  o.placing = Object::Placing::no;
}

}  // namespace sd
