// The index of the disk at its owner: reads and writes of its blocks for core/volume/object_map.hpp.
#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/member_set.hpp"
#include "core/volume/volume.hpp"

namespace sd {

using member_set::take;

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
  if (placement_.periods().size() > 1 && !SD_BUG(keep_orphans))
    clear_object(now, index, out);
  else
    set_entry(now, index, out);
}

void Volume::set_entry(Time now, std::uint32_t index, VolumeEffects& out) {
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

void Volume::clear_object(Time now, std::uint32_t index, VolumeEffects& out) {
  clearings_[index] = {};
  Op op;
  op.kind = Op::Kind::clear;
  op.entry = index;
  op.waiting_for = members_to_ask(Oid::data(vid_, index));
  if (op.waiting_for.empty()) {
    clearings_.erase(index);
    set_entry(now, index, out);
    return;
  }
  const std::uint64_t id = ops_.insert(std::move(op));
  send_clear(now, id, *ops_.find(id), out);
}

void Volume::send_clear(Time now, std::uint64_t id, Op& op, VolumeEffects& out) {
  const Clearing& clearing = clearings_.at(op.entry);
  op.sent = now;
  for (const NodeId member : op.waiting_for) {
    Request request = make(Request::Op::query, id, Oid::data(vid_, op.entry));
    request.version.generation = Version::generation_of(generation_, 0);
    if (clearing.stage == Clearing::Stage::removing) {
      request.op = Request::Op::collect;
      // By the version: a late repetition must not remove what is written afterwards.
      request.version = std::ranges::find(clearing.holders, member, &std::pair<NodeId, Version>::first)->second;
    } else if (clearing.stage == Clearing::Stage::flushing) {
      request = make(Request::Op::flush, id, Oid::inode(vid_));
    }
    out.requests.emplace_back(member, std::move(request));
  }
}

void Volume::on_clear_reply(Time now, std::uint64_t id, Op& op, NodeId from, const Reply& reply, VolumeEffects& out) {
  const std::uint32_t index = op.entry;
  Clearing& clearing = clearings_.at(index);
  if (reply.generation != generation_) return;  // repeated by tick, like whatever is not done yet
  if (clearing.stage == Clearing::Stage::removing && reply.status == Status::behind) {
    ops_.erase(id);  // it is another one by now
    clear_object(now, index, out);
    return;
  }
  if (reply.status != Status::ok) return;
  take(op.waiting_for, from);
  if (clearing.stage == Clearing::Stage::asking && reply.exists) clearing.holders.emplace_back(from, reply.version);
  if (!op.waiting_for.empty()) return;
  if (clearing.holders.empty() || clearing.stage == Clearing::Stage::flushing) {
    ops_.erase(id);
    clearings_.erase(index);
    set_entry(now, index, out);
    return;
  }
  SD_SOMETIMES(true, orphan_cleared);
  clearing.stage = clearing.stage == Clearing::Stage::asking ? Clearing::Stage::removing : Clearing::Stage::flushing;
  for (const auto& [member, version] : clearing.holders) op.waiting_for.push_back(member);
  // Under a new number: a late answer to the question before is no answer to this one.
  const std::uint64_t next = ops_.renumber(id);
  send_clear(now, next, op, out);
}

// In a new generation others may hold it, and some that were asked may be gone.
void Volume::restart_clearings(Time now, VolumeEffects& out) {
  if (clearings_.empty()) return;
  std::vector<std::uint64_t> under_way;
  ops_.each([&](std::uint64_t id, Op& op) {
    if (op.kind == Op::Kind::clear) under_way.push_back(id);
  });
  for (const std::uint64_t id : under_way) ops_.erase(id);
  std::vector<std::uint32_t> indexes;
  for (const auto& [index, clearing] : clearings_) indexes.push_back(index);
  for (const std::uint32_t index : indexes) clear_object(now, index, out);
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
