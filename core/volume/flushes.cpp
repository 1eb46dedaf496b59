#include "core/volume/flushes.hpp"

#include "core/base/sim_bug.hpp"

namespace sd::volume_detail {

using member_set::add_sorted;
using member_set::take;
using replication::Op;

bool Flushes::start(std::uint64_t io) {
  Op op;
  op.kind = Op::Kind::flush;
  op.cause.io = io;
  op.sent = context_.now;
  for (const std::uint64_t other : ops_)
    for (const NodeId member : context_.ops.find(other)->waiting_for) add_sorted(context_.dirty, member);
  for (const NodeId member : context_.dirty) {
    if (SD_BUG(flush_one_member) && member != context_.self) continue;
    if (context_.is_up(member)) op.waiting_for.push_back(member);
  }
  // What is acknowledged from now on makes its members dirty anew.
  context_.dirty.clear();
  if (op.waiting_for.empty()) return true;
  const std::uint64_t id = context_.ops.insert(std::move(op));
  ops_.push_back(id);
  send(id, *context_.ops.find(id));
  return false;
}

void Flushes::send(std::uint64_t id, Op& op) {
  op.sent = context_.now;
  for (const NodeId member : op.waiting_for)
    context_.send(member, context_.make(peer::ObjectRequest::Op::flush, id, Oid::inode(context_.vid)));
}

std::uint64_t Flushes::end(std::uint64_t id, const Op& op) {
  const std::uint64_t io = op.cause.io;
  std::erase(ops_, id);
  context_.ops.erase(id);
  return io;
}

std::optional<std::uint64_t> Flushes::on_reply(std::uint64_t id, Op& op, NodeId from, const peer::ObjectReply& reply) {
  if (reply.status != Status::ok || reply.generation != context_.generation) return {};  // asked again
  take(op.waiting_for, from);
  if (!op.waiting_for.empty()) return {};
  return end(id, op);
}

std::vector<std::uint64_t> Flushes::on_generation() {
  std::vector<std::uint64_t> ended;
  for (const std::uint64_t id : std::vector(ops_)) {
    Op& op = *context_.ops.find(id);
    const auto gone = [&](NodeId member) { return !context_.is_up(member); };
    op.waiting_for.erase(std::remove_if(op.waiting_for.begin(), op.waiting_for.end(), gone), op.waiting_for.end());
    if (op.waiting_for.empty())
      ended.push_back(end(id, op));
    else
      send(id, op);
  }
  return ended;
}

}  // namespace sd::volume_detail
