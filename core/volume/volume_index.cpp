// The index of the disk at its owner: reads and writes of its blocks for core/volume/object_map.hpp.
#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/volume/volume.hpp"

namespace sd {

// True if the page is in memory; if not, it is being read now.
bool Volume::load_page(Time now, std::uint32_t page, VolumeEffects& out) {
  if (map_.begin_load(page)) {
    const auto place = ObjectMap::place_of_page(page);
    Op op;
    op.kind = Op::Kind::read;
    op.purpose = Op::Purpose::load_page;
    op.offset = place.offset;
    op.length = limits::block_size;
    op.entry = page;
    enqueue(now, object_for(Oid::index_object(vid_, place.index_object)), ops_.insert(std::move(op)), out);
  }
  return map_.want(page);  // the load may have ended at once, or failed: then tick tries again
}

void Volume::on_page(Time now, std::uint32_t page, Status status, const Payload& payload, VolumeEffects& out) {
  SD_SOMETIMES(status != Status::ok, index_page_fails);
  if (status != Status::ok) {
    const auto waiters = map_.on_failed(page);
    for (const std::uint64_t id : waiters.operations) finish_op(now, id, status, {}, out);
    for (const std::uint64_t io : waiters.requests) finish_part(now, io, 0, status, {}, out);
    return;
  }
  const auto waiters = map_.on_loaded(page, payload);
  for (const std::uint64_t id : waiters.operations) admit(now, id, out);
  for (const std::uint64_t io : waiters.requests) try_map(now, io, out);
}

void Volume::write_entry(Time now, std::uint32_t index, std::uint64_t first_op, VolumeEffects& out) {
  const bool first = map_.begin_write(index, first_op);
  SD_SOMETIMES(!first, index_page_shared);
  if (!first) return;
  if (SD_BUG(lose_index_entry)) {
    on_entry_written(now, index, Status::ok, out);
    return;
  }
  const auto place = ObjectMap::place_of_entry(index);
  std::string bytes;
  Writer(bytes).u32(vid_);
  Op op;
  op.kind = Op::Kind::write;
  op.purpose = Op::Purpose::set_entry;
  op.offset = place.offset;
  op.length = ObjectMap::entry_size;
  op.payload.push_back(pool_.copy_of(bytes));
  op.entry = index;
  enqueue(now, object_for(Oid::index_object(vid_, place.index_object)), ops_.insert(std::move(op)), out);
}

void Volume::on_entry_written(Time now, std::uint32_t index, Status status, VolumeEffects& out) {
  const auto waiting = map_.on_written(index, status == Status::ok);
  if (status == Status::ok) begin_object(index);
  for (const std::uint64_t id : waiting) {
    if (status == Status::ok)
      admit(now, id, out);
    else
      finish_op(now, id, status, {}, out);
  }
}

void Volume::try_map(Time now, std::uint64_t id, VolumeEffects& out) {
  Io& io = *ios_.find(id);
  const auto first = static_cast<std::uint32_t>(io.offset / limits::object_size);
  const auto count = static_cast<std::uint32_t>(io.length);
  for (std::uint32_t page = ObjectMap::page_of(first); count > 0 && page <= ObjectMap::page_of(first + count - 1);
       ++page) {
    if (load_page(now, page, out)) continue;
    map_.wait_for_map(page, id);
    io.parts_left = 1;
    return;
  }
  Slice bits = pool_.zeros((count + 7) / 8);
  for (std::uint32_t i = 0; i < count; ++i)
    if (map_.exists(first + i)) bits.mutable_data()[i / 8] |= std::byte{1} << (i % 8);
  io.payload.clear();
  if (!bits.empty()) io.payload.push_back(std::move(bits));
  finish_io(now, id, out);
}

}  // namespace sd
