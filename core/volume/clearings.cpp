#include "core/volume/clearings.hpp"

#include <algorithm>

#include "core/base/sim_probe.hpp"

namespace sd::volume_detail {

using member_set::take;
using replication::Op;
using Request = peer::ObjectRequest;

bool Clearings::start(std::uint32_t index) {
  Op op;
  op.kind = Op::Kind::clear;
  op.cause.entry = index;
  op.waiting_for = context_.members_to_ask(Oid::data(context_.vid, index));
  if (op.waiting_for.empty()) {
    clearings_.erase(index);
    return true;
  }
  clearings_[index] = {};
  const std::uint64_t id = context_.ops.insert(std::move(op));
  send(id, *context_.ops.find(id));
  return false;
}

void Clearings::send(std::uint64_t id, Op& op) {
  const Clearing& clearing = clearings_.at(op.cause.entry);
  op.sent = context_.now;
  for (const NodeId member : op.waiting_for) {
    Request request = context_.make(Request::Op::query, id, Oid::data(context_.vid, op.cause.entry));
    request.version.generation = Version::generation_of(context_.generation, 0);
    if (clearing.stage == Stage::removing) {
      request.op = Request::Op::collect;
      // By the version: a late repetition must not remove what is written afterwards.
      request.version = std::ranges::find(clearing.holders, member, &std::pair<NodeId, Version>::first)->second;
    } else if (clearing.stage == Stage::flushing) {
      request = context_.make(Request::Op::flush, id, Oid::inode(context_.vid));
    }
    context_.send(member, std::move(request));
  }
}

bool Clearings::on_reply(std::uint64_t id, Op& op, NodeId from, const peer::ObjectReply& reply) {
  const std::uint32_t index = op.cause.entry;
  Clearing& clearing = clearings_.at(index);
  if (reply.generation != context_.generation) return false;  // asked again, like whatever is not done yet
  if (clearing.stage == Stage::removing && reply.status == Status::behind) {
    context_.ops.erase(id);  // it is another one by now
    return start(index);
  }
  if (reply.status != Status::ok) return false;
  take(op.waiting_for, from);
  if (clearing.stage == Stage::asking && reply.exists) clearing.holders.emplace_back(from, reply.version);
  if (!op.waiting_for.empty()) return false;
  if (clearing.holders.empty() || clearing.stage == Stage::flushing) {
    context_.ops.erase(id);
    clearings_.erase(index);
    return true;
  }
  SD_SOMETIMES(true, orphan_cleared);
  clearing.stage = clearing.stage == Stage::asking ? Stage::removing : Stage::flushing;
  for (const auto& [member, version] : clearing.holders) op.waiting_for.push_back(member);
  // Under a new number: a late answer to the question before is no answer to this one.
  send(context_.ops.renumber(id), op);
  return false;
}

std::vector<std::uint32_t> Clearings::stop_all() {
  std::vector<std::uint64_t> under_way;
  context_.ops.each([&](std::uint64_t id, Op& op) {
    if (op.kind == Op::Kind::clear) under_way.push_back(id);
  });
  for (const std::uint64_t id : under_way) context_.ops.erase(id);
  std::vector<std::uint32_t> indexes;
  for (const auto& [index, clearing] : clearings_) indexes.push_back(index);
  return indexes;
}

}  // namespace sd::volume_detail
