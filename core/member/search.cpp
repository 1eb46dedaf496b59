#include "core/member/search.hpp"

#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"

namespace sd::member_detail {

namespace {

constexpr Time repeat_after = milliseconds(500);
constexpr unsigned max_asked = 6;        // times, of one helper, before the search is given up
constexpr unsigned asked_of_source = 3;  // times, of a pull's source, before what it cannot read counts as lost

}  // namespace

void Damage::want(std::uint16_t damaged, std::span<const std::uint32_t> crcs) {
  wanted = damaged;
  for (std::uint32_t i = 0, at = 0; i < blocks_per_chunk; ++i)
    if ((wanted >> i & 1) != 0) crc[i] = crcs[at++];
}

std::optional<Damage> Search::advance() {
  if (damages_.empty()) return {};
  Damage& damage = damages_.front();
  if (!damage.here) {
    context_.look({Look::Why::search, job_, damage.chunk}, request_.oid);
    return {};
  }
  if (damage.wanted != 0 && at_ < request_.helpers.size()) {
    ask();
    return {};
  }
  std::optional<Damage> found = std::move(damage);
  damages_.pop_front();
  at_ = asked_ = 0;
  return found;
}

// Whose answer the search waits for; 0: nobody's.
NodeId Search::helper() const {
  if (damages_.empty() || !damages_.front().here || at_ >= request_.helpers.size()) return 0;
  return request_.helpers[at_];
}

void Search::ask() {
  ++asked_;
  asked_at_ = context_.now;
  Request ask;
  ask.id = job_;
  ask.asker = peer::Asker::member;
  ask.op = Request::Op::fetch;
  ask.vid = request_.vid;
  ask.generation = request_.generation;
  ask.oid = request_.oid;
  ask.offset = damages_.front().chunk * limits::chunk_size;
  ask.length = limits::chunk_size;
  context_.out->requests.emplace_back(request_.helpers[at_], std::move(ask));
}

// Of these blocks of the chunk, those that are looked for and right.
void Search::take_wanted(Damage& damage, std::uint64_t allocated, std::uint16_t left_out,
                         std::span<const Slice> slices) {
  each_block(allocated, left_out, slices, [&](std::uint32_t i, Slice&& bytes) {
    if ((damage.wanted >> i & 1) == 0) return;
    if (crc32c(bytes.bytes()) != damage.crc[i] && !SD_BUG(repair_unchecked)) return;
    damage.wanted &= static_cast<std::uint16_t>(~(1u << i));
    damage.found[i] = std::move(bytes);
  });
}

bool Search::on_look(StoreDone&& done) {
  if (damages_.empty() || damages_.front().here) return false;
  damages_.front().here = true;
  if (done.status == Status::ok || done.status == Status::damaged)
    take_wanted(damages_.front(), done.chunks, done.damaged_blocks, {done.data.data(), done.data.size()});
  return true;
}

bool Search::asked_for(NodeId from, const Reply& reply) const {
  return helper() == from && reply.offset / limits::chunk_size == damages_.front().chunk;
}

bool Search::on_reply(NodeId from, const Reply& reply) {
  // A read error may pass: it says nothing about what the helper has.
  const bool knows = reply.status == Status::ok || reply.status == Status::damaged || reply.status == Status::not_found;
  if (!knows) return false;
  Damage& damage = damages_.front();
  if (reply.status != Status::not_found)
    take_wanted(damage, reply.chunks, reply.damaged, {reply.payload.data(), reply.payload.size()});
  const bool source = request_.op == Request::Op::pull && from == request_.source;
  if (damage.wanted != 0 && source && asked_ < asked_of_source) return false;  // asked again
  ++at_;
  asked_ = 0;
  return true;
}

// Nobody may be taken to lack a block only because a message was lost.
bool Search::repeat() {
  if (helper() == 0 || context_.now - asked_at_ < repeat_after) return true;
  if (asked_ >= max_asked) return false;
  ask();
  return true;
}

}  // namespace sd::member_detail
