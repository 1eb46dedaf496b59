#include "core/member/repair.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace sd::member_detail {

using Next = Copying::Next;

namespace {
constexpr std::size_t max_unreadable = 65536;  // remembered
}  // namespace

Next Repair::start() {
  std::erase(request_.helpers, context_.self);
  const std::uint32_t end = request_.offset + std::max(request_.length, 1u);
  chunk_ = request_.offset / limits::chunk_size;
  last_chunk_ = std::min((end - 1) / limits::chunk_size, limits::chunks_per_object - 1);
  return scan();
}

// The next chunk, or later, if nobody waits for it and the rate is used up: by what the chunk before held.
Next Repair::scan() {
  throttled_ = false;
  step_ = Step::scanning;
  last_progress_ = context_.now;
  if (request_.background && unpaid_ > 0 &&
      !context_.throttle.take(context_.now, unpaid_, context_.state.recovery_rates)) {
    throttled_ = true;
    return {};
  }
  unpaid_ = 0;
  context_.store.read_chunk(context_.now, id_, request_.oid, chunk_, context_.out->store);
  return {};
}

Next Repair::on_store(StoreDone&& done) {
  last_progress_ = context_.now;
  return step_ == Step::storing ? on_stored(done.status) : on_scanned(std::move(done));
}

Next Repair::on_scanned(StoreDone&& done) {
  if (failure_ != Status::ok) return failed();
  seen_ = done.info;
  if (done.status == Status::not_found) {  // nothing here, so nothing damaged
    chunk_ = last_chunk_;
    return next_chunk();
  }
  if (done.info.incomplete) {
    context_.tell_owner(id_, request_);
    fail(Status::behind);
    return failed();
  }
  for (const Slice& slice : done.data) context_.stats.scanned_bytes += slice.size();
  unpaid_ = static_cast<std::uint32_t>(std::popcount(done.chunks)) * limits::block_size;
  read_.blocks = static_cast<std::uint16_t>(read_.blocks + std::popcount(done.chunks));
  read_.damaged = static_cast<std::uint16_t>(read_.damaged + std::popcount(done.damaged_blocks));
  if (done.status == Status::ok) return next_chunk();
  if (done.status == Status::damaged) return on_damage(done);
  fail(done.status);
  return failed();
}

Next Repair::on_damage(const StoreDone& done) {
  Damage damage;
  damage.chunk = chunk_;
  damage.here = true;
  damage.want(done.damaged_blocks, done.damaged_crcs);
  search_.add(std::move(damage));
  step_ = Step::searching;
  return advance_search();
}

Next Repair::on_reply(NodeId from, Reply&& reply) {
  if (!search_.asked_for(from, reply)) return {};
  last_progress_ = context_.now;
  return search_.on_reply(from, reply) ? advance_search() : Next{};
}

Next Repair::advance_search() {
  auto damage = search_.advance();
  if (!damage) return {};
  note_lost(*damage);
  step_ = Step::storing;
  for (const Slice& bytes : damage->found) storing_ += !bytes.empty();
  if (storing_ == 0) return next_chunk();
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i)
    if (!damage->found[i].empty())
      context_.store.repair(context_.now, id_, request_.oid, damage->chunk * blocks_per_chunk + i,
                            std::move(damage->found[i]), context_.out->store);
  return {};
}

Next Repair::on_stored(Status status) {
  // behind: overwritten meanwhile
  if (status != Status::ok && status != Status::behind) fail(status);
  context_.stats.repaired_blocks += status == Status::ok;
  read_.repaired += status == Status::ok;
  if (--storing_ > 0) return {};
  return failure_ != Status::ok ? failed() : next_chunk();
}

Next Repair::next_chunk() {
  if (chunk_ < last_chunk_) {
    ++chunk_;
    return scan();
  }
  ++context_.stats.scanned_objects;
  const bool all = request_.offset == 0 && request_.length == limits::object_size;
  if (read_.lost > 0 && context_.unreadable.size() < max_unreadable)
    context_.unreadable.insert(request_.oid);
  else if (read_.lost == 0 && all)
    context_.unreadable.erase(request_.oid);
  return {Next::Kind::finished, read_.lost > 0 ? Status::damaged : Status::ok, seen_};
}

}  // namespace sd::member_detail
