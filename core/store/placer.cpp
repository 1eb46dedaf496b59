#include "core/store/placer.hpp"

#include <utility>

#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::store_detail {

using limits::block_size;
using Step = Placing::Step;

bool Placer::may_place(const Object& o, const Op& op) const {
  const bool known_incomplete = o.last_sequence <= journal_.durable();
  const bool nothing_to_replay = o.data_sequence < journal_.tail_sequence() || SD_BUG(place_under_replay);
  return known_incomplete && nothing_to_replay && op.lost == 0 && !o.meta.torn && !o.frozen.in_round &&
         o.current.empty() && !o.current_removed &&
         !o.meta.any_allocated(op.offset * blocks_per_chunk, blocks_per_chunk);
}

// False if there is nothing to write.
bool Placer::start_writes(Object& o, const Op& op) {
  const std::uint32_t first = op.offset * blocks_per_chunk;
  const Slice data = aligned_for_disk(op.data, context_.pool);
  std::uint32_t at = 0;
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i) {
    std::uint32_t n = 0;
    while (i + n < blocks_per_chunk && (op.mask >> (i + n) & 1) != 0) ++n;
    if (n == 0) continue;
    DiskOp write{DiskOp::Kind::write,
                 object_file(o.key),
                 make_tag(Tag::place, o.id),
                 std::uint64_t{first + i} * block_size,
                 n * block_size,
                 {}};
    write.slices.push_back(data.part(std::size_t{at} * block_size, std::size_t{n} * block_size));
    write.uncached = true;
    context_.disk(std::move(write));
    ++o.placing.ops;
    at += n;
    i += n;
  }
  return o.placing.ops > 0;
}

Executed Placer::place(Object& o, Op& op) {
  Placing& placing = o.placing;
  if (placing.step == Step::no) {
    placing.chunks &= ~(1ull << op.offset);
    if (start_writes(o, op)) {
      SD_SOMETIMES(true, chunk_placed);
      placing.step = Step::writing;
      o.queue.busy = true;
      return Executed::waiting;
    }
  }
  placing.step = Step::no;
  if (const Status status = std::exchange(placing.status, Status::ok); status != Status::ok) {
    context_.finish(op.ticket, status, info_of(o));
    return Executed::done;
  }
  const std::uint32_t first = op.offset * blocks_per_chunk;
  if (!placing.meta) placing.meta = std::make_unique<ObjectMeta>();
  placing.meta->clear_blocks(first, blocks_per_chunk);
  std::uint32_t at = 0;
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i)
    if ((op.mask >> i & 1) != 0)
      placing.meta->set_block(first + i, crc32c(op.data.bytes().subspan(std::size_t{at++} * block_size, block_size)));
  placing.meta->chunk_version[op.offset] = op.version;
  placing.chunks |= 1ull << op.offset;
  ++context_.counts.placed_chunks;
  context_.space.spent += op.data.size();
  context_.finish(op.ticket, Status::ok, info_of(o));
  return Executed::done;
}

bool Placer::sync(Object& o) {
  Placing& placing = o.placing;
  if (placing.chunks == 0 || placing.step == Step::synced || !o.entry->object_file || SD_BUG(place_unsynced))
    return true;
  placing.step = Step::syncing;
  o.queue.busy = true;
  placing.ops = 2;
  context_.disk(DiskOp::Kind::sync, object_file(o.key), make_tag(Tag::place, o.id));
  context_.disk(DiskOp::Kind::sync_directory, object_file(o.key), make_tag(Tag::place, o.id));
  return false;
}

bool Placer::on_place(Object& o, Status status) {
  Placing& placing = o.placing;
  const bool writes = placing.step == Step::writing;
  if (writes && status == Status::no_space) {
    placing.status = status;
  } else if (status != Status::ok && !(placing.step == Step::removing && status == Status::not_found)) {
    context_.fail("cannot write object " + to_string(o.key));
    return false;
  } else if (writes && !std::exchange(o.entry->object_file, true)) {
    directories_.objects_dirty = true;
  }
  if (--placing.ops > 0) return false;
  if (writes && !o.entry->object_file) {  // an empty file may have been made all the same
    placing.step = Step::removing;
    placing.ops = 1;
    context_.disk(DiskOp::Kind::remove, object_file(o.key), make_tag(Tag::place, o.id));
    return false;
  }
  placing.step = placing.step == Step::syncing ? Step::synced : Step::written;
  o.queue.busy = false;
  return true;
}

Slice Placer::completed_meta(const Object& o, Version version, Version base, const RecentWrites& recent) const {
  ObjectMeta meta = o.meta;
  for (std::uint32_t c = 0; c < limits::chunks_per_object; ++c)
    if ((o.placing.chunks >> c & 1) != 0) meta.take_chunk(c, *o.placing.meta);
  meta.incomplete = meta.torn = false;
  meta.version = version;
  meta.base = base;
  meta.recent = recent;
  Slice out = context_.pool.allocate(meta_slot_bytes);
  encode_meta_slot(o.key, {}, meta, std::span<std::byte, meta_slot_bytes>(out.mutable_data(), meta_slot_bytes));
  return out;
}

}  // namespace sd::store_detail
