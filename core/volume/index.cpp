#include "core/volume/index.hpp"

#include "core/base/codec.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::volume_detail {

using replication::Op;

bool Index::load(std::uint32_t page) {
  if (map_.begin_load(page)) {
    const auto place = ObjectMap::place_of_page(page);
    Op op;
    op.kind = Op::Kind::read;
    op.cause.purpose = Op::Cause::Purpose::load_page;
    op.cause.entry = page;
    op.offset = place.offset;
    op.length = limits::block_size;
    replication::Object& object = objects_.get(Oid::index_object(context_.vid, place.index_object));
    objects_.enqueue(object, context_.ops.insert(std::move(op)));
  }
  return map_.want(page);  // the load may have ended at once, or failed: then tick tries again
}

void Index::load_wanted() {
  for (const std::uint32_t page : map_.unknown_pages()) load(page);
}

void Index::on_page(std::uint32_t page, Status status, const Payload& block) {
  SD_SOMETIMES(status != Status::ok, index_page_fails);
  if (status != Status::ok) {
    const auto waiting = map_.on_failed(page);
    for (const std::uint64_t id : waiting.operations) context_.finish(id, status);
    for (const std::uint64_t io : waiting.requests) waiters_.fail_map(io, status);
    return;
  }
  const auto waiting = map_.on_loaded(page, block);
  for (const std::uint64_t id : waiting.operations) waiters_.admit(id);
  for (const std::uint64_t io : waiting.requests) waiters_.answer_map(io);
}

void Index::write_entry(std::uint32_t index, std::uint64_t op) {
  const bool first = map_.begin_write(index, op);
  SD_SOMETIMES(!first, index_page_shared);
  if (!first) return;
  const bool history = context_.placement.periods().size() > 1 && !SD_BUG(keep_orphans);
  if (!history || clearings_.start(index)) set_entry(index);
}

void Index::set_entry(std::uint32_t index) {
  if (SD_BUG(lose_index_entry)) {
    on_entry_written(index, Status::ok);
    return;
  }
  const auto place = ObjectMap::place_of_entry(index);
  std::string bytes;
  Writer(bytes).u32(context_.vid);
  Op op;
  op.kind = Op::Kind::write;
  op.cause.purpose = Op::Cause::Purpose::set_entry;
  op.cause.entry = index;
  op.offset = place.offset;
  op.length = ObjectMap::entry_size;
  op.payload.push_back(context_.pool.copy_of(bytes));
  replication::Object& object = objects_.get(Oid::index_object(context_.vid, place.index_object));
  objects_.enqueue(object, context_.ops.insert(std::move(op)));
}

void Index::on_entry_written(std::uint32_t index, Status status) {
  const auto waiting = map_.on_written(index, status == Status::ok);
  if (status == Status::ok) objects_.begin(Oid::data(context_.vid, index));
  for (const std::uint64_t id : waiting) {
    if (status == Status::ok)
      waiters_.admit(id);
    else
      context_.finish(id, status);
  }
}

void Index::on_clear_reply(std::uint64_t id, Op& op, NodeId from, const peer::ObjectReply& reply) {
  const std::uint32_t index = op.cause.entry;
  if (clearings_.on_reply(id, op, from, reply)) set_entry(index);
}

void Index::on_generation() {
  for (const std::uint32_t index : clearings_.stop_all())
    if (clearings_.start(index)) set_entry(index);
}

void Index::on_serving() {
  for (const auto& waiting : map_.take_waiters_of_loaded())
    for (const std::uint64_t id : waiting) waiters_.admit(id);
}

void Index::clear() {
  map_ = {};
  clearings_.clear();
}

}  // namespace sd::volume_detail
