// The index: which objects of the disk exist. One 4-byte entry for each data object, holding the vid that owns it, in
// index objects that are replicated like all others. Loaded by pages of one block, kept in memory.
#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/gateway/volume.hpp"

namespace sd {

Volume::Page& Volume::page_of(Time now, std::uint32_t number, VolumeEffects& out) {
  Page& known = pages_[number];
  if (!known.loaded && !known.loading) {
    known.loading = true;
    constexpr std::uint32_t pages_per_object = limits::index_entries_per_object / page_entries;
    Op op;
    op.kind = Op::Kind::read;
    op.purpose = Op::Purpose::load_page;
    op.offset = number % pages_per_object * limits::block_size;
    op.length = limits::block_size;
    op.entry = number;
    enqueue(now, object_for(Oid::index_object(vid_, number / pages_per_object)), ops_.insert(std::move(op)), out);
  }
  // The load may have ended at once, and failed: then this is a new page, which tick loads again.
  return pages_[number];
}

void Volume::on_page(Time now, std::uint32_t number, Status status, const Payload& payload, VolumeEffects& out) {
  Page& page = pages_[number];
  const auto waiting = std::exchange(page.waiting, {});
  const auto maps = std::exchange(page.maps, {});
  SD_SOMETIMES(status != Status::ok, index_page_fails);
  if (status != Status::ok) {
    pages_.erase(number);
    for (const std::uint64_t id : waiting) finish_op(now, id, status, {}, out);
    for (const std::uint64_t io : maps) finish_part(now, io, 0, status, {}, out);
    return;
  }
  std::string bytes;
  for (const Slice& slice : payload) bytes.append(slice.text());
  Reader reader(bytes);
  page.set.resize(page_entries);
  for (auto& entry : page.set) entry = reader.u32() != 0;
  page.loaded = true;
  for (const std::uint64_t id : waiting) admit(now, id, out);
  for (const std::uint64_t io : maps) try_map(now, io, out);
}

bool Volume::entry_set(std::uint32_t index) {
  const auto at = pages_.find(index / page_entries);
  return at != pages_.end() && at->second.loaded && at->second.set[index % page_entries];
}

void Volume::write_entry(Time now, std::uint32_t index, std::uint64_t first_op, VolumeEffects& out) {
  const auto [at, fresh] = entries_.try_emplace(index);
  at->second.push_back(first_op);
  SD_SOMETIMES(!fresh, index_page_shared);
  if (!fresh) return;
  if (SD_BUG(lose_index_entry)) {
    on_entry_written(now, index, Status::ok, out);
    return;
  }
  std::string bytes;
  Writer(bytes).u32(vid_);
  Op op;
  op.kind = Op::Kind::write;
  op.purpose = Op::Purpose::set_entry;
  op.offset = index % limits::index_entries_per_object * index_owner_size;
  op.length = index_owner_size;
  op.payload.push_back(pool_.copy_of(bytes));
  op.entry = index;
  enqueue(now, object_for(Oid::index_object(vid_, index / limits::index_entries_per_object)),
          ops_.insert(std::move(op)), out);
}

void Volume::on_entry_written(Time now, std::uint32_t index, Status status, VolumeEffects& out) {
  const auto waiting = std::move(entries_.at(index));
  entries_.erase(index);
  if (status == Status::ok) {
    pages_.at(index / page_entries).set[index % page_entries] = 1;
    begin_object(index);
  }
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
  for (std::uint32_t number = first / page_entries; count > 0 && number <= (first + count - 1) / page_entries;
       ++number) {
    Page& page = page_of(now, number, out);
    if (page.loaded) continue;
    page.maps.push_back(id);
    io.parts_left = 1;
    return;
  }
  Slice bits = pool_.zeros((count + 7) / 8);
  for (std::uint32_t i = 0; i < count; ++i)
    if (entry_set(first + i)) bits.mutable_data()[i / 8] |= std::byte{1} << (i % 8);
  io.payload.clear();
  if (!bits.empty()) io.payload.push_back(std::move(bits));
  finish_io(now, id, out);
}

}  // namespace sd
