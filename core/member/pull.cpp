#include "core/member/pull.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace sd::member_detail {

using Next = Copying::Next;

Next Pull::start() {
  context_.store.query(context_.now, id_, request_.oid, context_.out->store);
  return {};
}

Next Pull::on_store(StoreDone&& done) {
  switch (step_) {
    case Step::looking: return on_looked(done);
    case Step::marking:
    case Step::announcing: return on_marked(done.status);
    case Step::copying:
      --storing_;
      last_progress_ = context_.now;
      if (done.status != Status::ok) fail(done.status);
      return more();
    case Step::ending: return on_ended(done);
    case Step::asking: break;
  }
  return {};
}

Next Pull::on_looked(const StoreDone& done) {
  if (done.status != Status::ok) fail(done.status);
  if (failure_ != Status::ok) return failed();
  Request& r = request_;
  ObjectInfo info = done.info;
  if (context_.leftover(info, r.vid)) {
    context_.forget(r.oid);
    info = {};
  }
  const bool whole = info.exists && !info.incomplete;
  if (whole && !r.damaged && info.version == r.version) return {Next::Kind::finished, Status::ok, done.info};
  if (whole && info.version > r.version && info.version != r.previous) {
    // Sent long ago, and late: the object has moved on, beyond what the owner knew and dropped.
    fail(Status::behind);
    return failed();
  }
  if (r.damaged && whole && info.version == r.version) {
    // Known to be damaged somewhere, but otherwise equal: find out where, and replace just that. The rest may be the
    // only good copy.
    r.length = limits::object_size;
    r.op = Request::Op::repair;
    if (r.source != context_.self) r.helpers.insert(r.helpers.begin(), r.source);
    return {Next::Kind::repair};
  }
  std::erase(r.helpers, context_.self);
  // Last, and more than once: a disk that could not read a block may read it the next time, and this copy may be all
  // that is left soon.
  if (r.source != context_.self) r.helpers.push_back(r.source);
  r.incomplete = r.damaged || (info.exists && info.incomplete);
  r.previous = info.version;
  step_ = Step::asking;
  ask_differences();
  last_asked_ = context_.now;
  return {};
}

// The store writes a copy once instead of twice if it is known for good that the object is incomplete.
Next Pull::on_marked(Status status) {
  if (status != Status::ok) {
    fail(status);
    return failed();
  }
  if (request_.previous == Version{} && step_ == Step::marking) {
    step_ = Step::announcing;
    context_.store.flush(context_.now, id_, context_.out->store);
    return {};
  }
  step_ = Step::copying;
  return more();
}

Next Pull::on_ended(const StoreDone& done) {
  if (done.status == Status::ok) {
    ++context_.stats.pulled_objects;
  } else {
    context_.store.give_up_sync(request_.oid);
  }
  return {Next::Kind::finished, done.status, done.info};
}

Next Pull::on_look(const Look& look, StoreDone&& done) {
  if (look.why == Look::Why::search) return search_.on_look(std::move(done)) ? advance_search() : Next{};
  if (step_ != Step::copying) return {};
  held_.add(look.chunk, done);
  last_asked_ = context_.now;
  ask_chunk(look.chunk);
  return {};
}

// --- Answers of other members

Next Pull::on_reply(NodeId from, Reply&& reply) {
  if (search_.asked_for(from, reply)) {
    last_progress_ = context_.now;
    return search_.on_reply(from, reply) ? advance_search() : Next{};
  }
  if (request_.source != from) return {};
  if (step_ == Step::asking) return on_differences(std::move(reply));
  if (step_ != Step::copying) return {};
  const auto asked = std::ranges::find(asked_, reply.offset / limits::chunk_size + 1);
  if (asked == std::end(asked_)) return {};  // answered before
  const auto chunk = static_cast<std::uint32_t>(*asked - 1);
  *asked = 0;
  last_progress_ = context_.now;
  return on_chunk(chunk, std::move(reply));
}

Next Pull::on_differences(Reply&& reply) {
  last_progress_ = context_.now;
  if (reply.status != Status::ok) fail(reply.status);
  if (context_.state.generation(request_.vid) != request_.generation) fail(Status::busy);
  if (failure_ != Status::ok) return failed();
  base_ = reply.base;
  recent_ = std::move(reply.recent);
  chunks_left_ = reply.chunks;
  with_delta_ = request_.previous != Version{};  // whatever became of it: its blocks are compared, not its history
  step_ = Step::marking;
  context_.store.begin_sync(context_.now, id_, request_.oid, context_.out->store);
  return {};
}

Next Pull::on_chunk(std::uint32_t chunk, Reply&& reply) {
  const std::size_t received = total_size(reply.payload);
  if (!held_.fill_in(chunk, reply, context_.pool)) reply.status = Status::io_error;
  if (reply.status == Status::damaged) return on_damaged_chunk(std::move(reply));
  if (reply.status != Status::ok) {
    fail(reply.status);
    return more();
  }
  context_.stats.pulled_bytes += received;
  put(chunk, std::move(reply));
  return {};
}

// The source has damaged blocks in this chunk.
Next Pull::on_damaged_chunk(Reply&& reply) {
  const std::span<const Slice> slices{reply.payload.data(), reply.payload.size()};
  std::size_t good = 0;
  const bool sane = reply.chunks <= 0xffff && (reply.damaged & ~reply.chunks) == 0 &&
                    reply.crcs.size() == static_cast<std::size_t>(std::popcount(reply.damaged)) &&
                    each_block(reply.chunks, reply.damaged, slices, [&](std::uint32_t, Slice&&) { ++good; }) &&
                    total_size(reply.payload) == good * limits::block_size;
  if (!sane) {
    fail(Status::io_error);
    return more();
  }
  Damage damage;
  damage.chunk = reply.offset / limits::chunk_size;
  damage.want(reply.damaged, reply.crcs);
  each_block(reply.chunks, reply.damaged, slices,
             [&](std::uint32_t i, Slice&& bytes) { damage.found[i] = std::move(bytes); });
  damage.allocated = reply.chunks;
  damage.version = reply.base;
  const bool first = search_.idle();
  search_.add(std::move(damage));
  return first ? advance_search() : Next{};
}

Next Pull::advance_search() {
  while (auto damage = search_.advance()) put_found(std::move(*damage));
  return {};
}

// --- Copying

void Pull::put(std::uint32_t chunk, Reply&& reply) {
  ++storing_;
  Slice data = joined(reply.payload, context_.pool);
  context_.store.put_chunk(context_.now, id_, request_.oid, chunk, reply.base, static_cast<std::uint16_t>(reply.chunks),
                           std::move(data), context_.out->store);
}

void Pull::put_found(Damage&& damage) {
  note_lost(damage);
  Slice data = join_blocks(damage.found, context_.pool);
  ++storing_;
  context_.stats.pulled_bytes += data.size();
  context_.store.put_chunk(context_.now, id_, request_.oid, damage.chunk, damage.version,
                           static_cast<std::uint16_t>(damage.allocated & ~damage.wanted), std::move(data),
                           context_.out->store, LostBlocks{damage.wanted, damage.crc});
}

std::uint32_t Pull::fetching() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(asked_, [](std::uint64_t chunk) { return chunk != 0; }));
}

Next Pull::more() {
  throttled_ = false;
  // A newer generation ends this pull: its owner decides anew what this member should hold.
  if (context_.state.generation(request_.vid) != request_.generation) fail(Status::busy);
  if (failure_ != Status::ok) return storing_ == 0 ? failed() : Next{};
  for (auto& place : asked_) {
    if (place != 0 || chunks_left_ == 0) continue;
    if (request_.background &&
        !context_.throttle.take(context_.now, limits::chunk_size, context_.state.recovery_rates)) {
      throttled_ = true;
      last_progress_ = context_.now;
      break;
    }
    const auto chunk = static_cast<std::uint32_t>(std::countr_zero(chunks_left_));
    chunks_left_ &= chunks_left_ - 1;
    place = chunk + 1;
    last_asked_ = context_.now;
    if (!with_delta_) {
      ask_chunk(chunk);
      continue;
    }
    // What this member holds of the chunk is read first, then the source is asked.
    context_.look({Look::Why::delta, id_, chunk}, request_.oid);
  }
  if (fetching() > 0 || storing_ > 0 || chunks_left_ != 0 || !search_.idle()) return {};
  step_ = Step::ending;
  context_.store.end_sync(context_.now, id_, request_.oid, request_.version, base_, context_.out->store,
                          std::move(recent_));
  return {};
}

Request Pull::ask(Request::Op op) const {
  Request ask;
  ask.id = id_;
  ask.asker = peer::Asker::member;
  ask.op = op;
  ask.vid = request_.vid;
  ask.generation = request_.generation;
  ask.oid = request_.oid;
  return ask;
}

void Pull::ask_differences() {
  Request request = ask(Request::Op::fetch_info);
  request.version = request_.version;
  request.previous = request_.previous;
  request.incomplete = request_.incomplete;
  context_.out->requests.emplace_back(request_.source, std::move(request));
}

void Pull::ask_chunk(std::uint32_t chunk) {
  Request request = ask(Request::Op::fetch);
  request.version = request_.version;
  request.offset = chunk * limits::chunk_size;
  request.length = limits::chunk_size;
  if (const auto* have = held_.have(chunk)) request.have = *have;
  context_.out->requests.emplace_back(request_.source, std::move(request));
}

void Pull::ask_again() {
  if (step_ == Step::asking) {
    ask_differences();
    return;
  }
  for (const auto place : asked_) {
    const auto chunk = static_cast<std::uint32_t>(place - 1);
    if (place != 0 && (!with_delta_ || held_.have(chunk))) ask_chunk(chunk);
  }
}

std::string Pull::check_state() const {
  if (held_.size() > chunks_at_once) return "a pull remembers what it holds of the chunks that it has asked for only";
  if (step_ < Step::copying && storing_ > 0) return "nothing is stored before the object is marked as no copy";
  if (step_ == Step::ending && (fetching() > 0 || storing_ > 0 || !search_.idle()))
    return "a pull ends when everything is here";
  return Copying::check_state();
}

}  // namespace sd::member_detail
