#include "core/member/server.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/member/copying.hpp"
#include "core/member/delta.hpp"

namespace sd::member_detail {

using Step = Served::Step;

namespace {

constexpr std::size_t max_fences = 65536;  // swept beyond this

// An owner numbers the writes of its generation one by one. Any other version would make what honest owners write later
// look like something that is there already.
bool is_numbered_by_owner(const Request& request) {
  return request.version.log_index() == request.generation &&
         request.version.sequence == request.previous.sequence + 1 && request.previous < request.version;
}

bool changes(const Request& request) { return request.op == Request::Op::write || request.op == Request::Op::zero; }

}  // namespace

void Server::start(NodeId from, Request&& request, bool copying) {
  using Op = Request::Op;
  const Op op = request.op;
  if (op == Op::query && request.version.round() > 0) fence(request.oid, request.version.generation);
  if (changes(request) && !is_numbered_by_owner(request)) {
    context_.answer(from, context_.reply_to(request, Status::invalid));
    return;
  }
  if (changes(request) && (refused(request) || waits_for_first(from, request))) return;
  if (changes(request) || op == Op::read) context_.throttle.on_foreground(context_.now);
  if (op == Op::collect && copying) {
    context_.answer(from, context_.reply_to(request, Status::busy, std::nullopt));
    return;
  }
  const std::uint64_t id = context_.jobs.insert(Served{from, std::move(request), Step::done});
  begin(id, std::get<Served>(*context_.jobs.find(id)));
}

// Sent before the owner asked anew: it would change what this member has answered.
bool Server::refused(const Request& request) {
  const auto fenced = fences_.find(request.oid);
  const bool late = fenced != fences_.end() && request.version.generation < fenced->second;
  SD_SOMETIMES(late, request_fenced);
  return late && !SD_BUG(ignore_generation);
}

// The write before it is still being looked into.
bool Server::waits_for_first(NodeId from, Request& request) {
  const auto looking = looking_.find(request.oid);
  if (looking == looking_.end()) return false;
  SD_SOMETIMES(true, request_waits_for_first);
  looking->second.emplace_back(from, std::move(request));
  return true;
}

// Rounds are rare, and the log index fences the generations before: only objects asked about twice in a generation are
// remembered.
void Server::fence(Oid oid, std::uint64_t generation) {
  if (fences_.size() >= max_fences)
    std::erase_if(fences_, [&](const auto& entry) {
      return entry.second >> Version::round_bits != context_.state.generation(entry.first.vid());
    });
  auto& fenced = fences_[oid];
  fenced = std::max(fenced, generation);
}

void Server::begin(std::uint64_t id, Served& served) {
  using Op = Request::Op;
  const Request& r = served.request;
  Store& store = context_.store;
  const Time now = context_.now;
  StoreEffects& out = context_.out->store;
  switch (r.op) {
    case Op::write:
    case Op::zero:
      if (r.previous != Version{}) {
        write(id, served);
        return;
      }
      served.step = Step::look_before_write;
      looking_[r.oid];
      store.query(now, id, r.oid, out);
      return;
    case Op::read: store.read(now, id, r.oid, r.offset, r.length, out); return;
    case Op::query:
      served.step = Step::look;
      store.query(now, id, r.oid, out);
      return;
    case Op::flush: store.flush(now, id, out); return;
    case Op::fetch_info:
      served.step = Step::look_for_puller;
      store.query(now, id, r.oid, out);
      return;
    case Op::fetch: store.read_chunk(now, id, r.oid, r.offset / limits::chunk_size, out); return;
    case Op::collect:
    case Op::remove:
      context_.unreadable.erase(r.oid);
      store.remove(now, id, r.oid, out, r.op == Op::collect ? std::optional(r.version) : std::nullopt);
      return;
    case Op::pull:
    case Op::repair:
    case Op::lost: break;
  }
  SD_ASSERT(false, "pulls and repairs are jobs of their own, and `lost` is for an owner");
}

void Server::write(std::uint64_t id, Served& served) {
  Request& r = served.request;
  StoreEffects& out = context_.out->store;
  served.step = r.fua ? Step::then_flush : Step::done;
  if (r.op == Request::Op::zero) {
    const std::uint32_t length = SD_BUG(trim_keeps_data) ? 0 : r.length;
    context_.store.zero(context_.now, id, r.oid, r.version, r.previous, r.offset, length, out, r.origin);
    return;
  }
  SD_ASSERT(r.payload.size() <= 1, "a write carries one slice");
  Slice data = r.payload.empty() ? Slice{} : std::move(r.payload.front());
  r.payload.clear();
  context_.store.write(context_.now, id, r.oid, r.version, r.previous, r.offset, std::move(data), out, r.origin);
}

bool Server::on_store(std::uint64_t id, Served& served, StoreDone&& done) {
  const Request& r = served.request;
  switch (served.step) {
    case Step::done:
      if (r.op == Request::Op::read && done.info.incomplete) context_.tell_owner(id, r);
      answer(served, done.status, done);
      return true;
    case Step::then_flush:
      if (done.status != Status::ok) {
        answer(served, done.status, done);
        return true;
      }
      served.step = Step::done;
      context_.store.flush(context_.now, id, context_.out->store);
      return false;
    case Step::look_before_write: on_looked_before_write(id, served, done); return false;
    case Step::look:
      if (done.status == Status::ok && context_.leftover(done.info, r.vid)) {
        context_.forget(r.oid);
        done.info = {};
      }
      answer(served, done.status, done);
      return true;
    case Step::look_for_puller: return on_looked_for_puller(id, served, done);
  }
  return true;
}

void Server::on_looked_before_write(std::uint64_t id, Served& served, const StoreDone& done) {
  const Request& r = served.request;
  if (done.status == Status::ok && done.info.exists &&
      (done.info.version.generation < r.version.generation || done.info.incomplete)) {
    SD_SOMETIMES(true, first_write_voids);
    context_.forget(r.oid);
  }
  auto queued = looking_.extract(r.oid);
  write(id, served);
  for (auto& [from, request] : queued.mapped()) start(from, std::move(request), false);
}

bool Server::on_looked_for_puller(std::uint64_t id, Served& served, StoreDone& done) {
  const Request& r = served.request;
  if (done.status != Status::ok || !done.info.exists || done.info.incomplete || done.info.version != r.version) {
    answer(served, done.status == Status::ok ? Status::behind : done.status, done);
    return true;
  }
  // What the puller holds is part of this object's history if it ends in this generation, or where the one before
  // ended. Else the two have parted, and only a whole copy will do; likewise if an earlier pull was cut off.
  const Version theirs = r.previous;
  const auto within = [&](Version end) { return theirs.generation == end.generation && theirs <= end; };
  if ((theirs != Version{} && !within(done.info.version) && !within(done.info.base)) || r.incomplete) {
    done.chunks = ~0ull;
    answer(served, Status::ok, done);
    return true;
  }
  served.step = Step::done;
  context_.store.chunks_since(context_.now, id, r.oid, theirs, context_.out->store);
  return false;
}

void Server::answer(Served& served, Status status, const StoreDone& done) {
  using Op = Request::Op;
  const Request& r = served.request;
  Reply reply = context_.reply_to(r, status, done.info);
  reply.chunks = done.chunks;
  if (status == Status::ok && (r.op == Op::query || r.op == Op::fetch_info)) reply.recent = done.recent;
  if (status == Status::ok || (r.op == Op::fetch && status == Status::damaged)) {
    reply.payload.assign(done.data.begin(), done.data.end());
    if (r.op == Op::fetch) answer_fetch(r, done, reply);
  }
  context_.answer(served.from, std::move(reply));
}

void Server::answer_fetch(const Request& request, const StoreDone& done, Reply& reply) const {
  reply.base = done.chunk_version;
  reply.damaged = done.damaged_blocks;
  reply.crcs = done.damaged_crcs;
  if (request.version != Version{} && (done.info.incomplete || done.info.version != request.version))
    reply.status = Status::behind;
  leave_out(request, done, reply);
}

std::string Server::check_state() const {
  if (fences_.size() > max_fences + 1) return "only so many fences are remembered";
  for (const auto& [oid, queued] : looking_)
    for (const auto& [from, request] : queued)
      if (request.oid != oid || !changes(request)) return "only writes of the object wait behind its first write";
  return {};
}

}  // namespace sd::member_detail
