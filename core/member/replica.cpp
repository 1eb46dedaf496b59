#include "core/member/replica.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/member/pull.hpp"
#include "core/member/repair.hpp"

namespace sd {

using member_detail::Look;
using member_detail::Pull;
using member_detail::Repair;
using member_detail::Served;

namespace {

constexpr std::size_t max_parked = 4096;
constexpr std::size_t max_parked_bytes = 64u << 20;
constexpr Time tick_interval = milliseconds(100);

}  // namespace

Replica::Replica(NodeId self, BufferPool& pool, Store& store, const cluster::State& state)
    : context_(self, pool, store, state), server_(context_) {}

void Replica::enter(Time now, ReplicaEffects& out) {
  context_.now = now;
  context_.out = &out;
}

// --- Requests

void Replica::on_request(Time now, NodeId from, Request&& request, bool member, ReplicaEffects& out) {
  enter(now, out);
  admit(from, std::move(request), member);
}

void Replica::admit(NodeId from, Request&& request, bool member) {
  const std::uint64_t current = context_.state.generation(request.vid);
  if (request.generation > current || !member) {
    park(from, std::move(request), current);
    return;
  }
  const auto* vdi = context_.state.find(request.vid);
  const bool deleted = vdi && vdi->deleting && request.op != Request::Op::remove;
  SD_SOMETIMES(request.generation < current, request_refused);
  if ((request.generation < current && !SD_BUG(ignore_generation)) || deleted) {
    context_.answer(from, context_.reply_to(request, Status::stale));
    return;
  }
  switch (request.op) {
    case Request::Op::pull:
    case Request::Op::repair: start_copying(from, std::move(request)); return;
    case Request::Op::lost: return;  // for an owner, not for a member
    default: server_.start(from, std::move(request), context_.copying.contains(request.oid)); return;
  }
}

// The sender knows more of the cluster log than this node. It repeats its request, so what does not fit may go.
void Replica::park(NodeId from, Request&& request, std::uint64_t current) {
  if (request.generation > current && request.generation <= context_.state.applied) return;  // of a disk that is gone
  const std::size_t bytes = total_size(request.payload);
  SD_SOMETIMES(true, request_parked);
  if (parked_.requests.size() >= max_parked || parked_.bytes + bytes > max_parked_bytes) return;
  parked_.bytes += bytes;
  parked_.requests.emplace_back(from, std::move(request));
}

bool Replica::works_on(Vid vid) const {
  bool found = false;
  context_.jobs.each([&](std::uint64_t, const member_detail::Job& job) {
    if (const auto* served = std::get_if<Served>(&job)) found = found || served->request.vid == vid;
    if (const auto* copy = std::get_if<std::unique_ptr<Copying>>(&job)) found = found || (*copy)->request().vid == vid;
  });
  return found;
}

void Replica::on_state(Time now, bool member, ReplicaEffects& out) {
  enter(now, out);
  Parked waiting = std::exchange(parked_, {});
  for (auto& [from, request] : waiting.requests) admit(from, std::move(request), member);
  settle();
}

// --- Pulls and repairs

void Replica::start_copying(NodeId from, Request&& request) {
  if (joins_other(from, request)) return;
  const bool pull = request.op == Request::Op::pull;
  const Oid oid = request.oid;
  const std::uint64_t id = context_.jobs.insert(std::unique_ptr<Copying>{});
  std::unique_ptr<Copying> made;
  if (pull)
    made = std::make_unique<Pull>(context_, id, from, std::move(request));
  else
    made = std::make_unique<Repair>(context_, id, from, std::move(request));
  Copying& started = *made;
  *context_.jobs.find(id) = std::move(made);
  context_.copying[oid] = id;
  act(id, started.start());
}

// One at a time for each object: a repeated pull takes over the one under way, another one has to wait for its end. A
// repair does not wait: what is under way sees to it, or the next reader asks again.
bool Replica::joins_other(NodeId from, const Request& request) {
  const auto active = context_.copying.find(request.oid);
  if (active == context_.copying.end()) return false;
  const std::uint64_t id = active->second;
  Copying& other = *copying(id);
  if (request.op == Request::Op::repair) {
    context_.answer(from, context_.reply_to(request, Status::busy));
    return true;
  }
  if (other.request().version == request.version && other.request().generation == request.generation) {
    SD_SOMETIMES(true, pull_repeated);
    act(id, other.take_over(from, request));
    return true;
  }
  other.fail(Status::busy);
  if (other.request().op == Request::Op::pull) return true;
  // A repair may stop anywhere, and an owner does not wait for one.
  context_.copying.erase(active);
  if (other.may_end()) act(id, other.failed());
  return false;
}

Replica::Copying* Replica::copying(std::uint64_t id) {
  auto* job = context_.jobs.find(id);
  auto* found = job ? std::get_if<std::unique_ptr<Copying>>(job) : nullptr;
  return found ? found->get() : nullptr;
}

const Replica::Copying* Replica::copying(std::uint64_t id) const {
  const auto* job = context_.jobs.find(id);
  const auto* found = job ? std::get_if<std::unique_ptr<Copying>>(job) : nullptr;
  return found ? found->get() : nullptr;
}

void Replica::act(std::uint64_t id, Copying::Next next) {
  switch (next.kind) {
    case Copying::Next::Kind::go_on: return;
    case Copying::Next::Kind::repair: go_on_as_repair(id); return;
    case Copying::Next::Kind::finished: break;
  }
  const Copying& ended = *copying(id);
  const auto at = context_.copying.find(ended.request().oid);
  if (at != context_.copying.end() && at->second == id) context_.copying.erase(at);
  Reply reply = context_.reply_to(ended.request(), next.status, next.info);
  reply.read = ended.blocks_read();
  context_.answer(ended.from(), std::move(reply));
  context_.jobs.erase(id);
}

void Replica::go_on_as_repair(std::uint64_t id) {
  Copying& pull = *copying(id);
  const NodeId from = pull.from();
  auto repair = std::make_unique<Repair>(context_, id, from, pull.take_request());
  Copying& started = *repair;
  *context_.jobs.find(id) = std::move(repair);
  act(id, started.start());
}

// --- Answers

void Replica::on_store(Time now, ReplicaEffects& out) {
  enter(now, out);
  settle();
}

void Replica::settle() {
  auto& done = context_.out->store.done;
  while (!done.empty()) {
    std::swap(batch_, done);
    for (auto& one : batch_) on_store_done(std::move(one));
    batch_.clear();
  }
}

void Replica::on_store_done(StoreDone&& done) {
  const std::uint64_t id = done.ticket;
  member_detail::Job* job = context_.jobs.find(id);
  SD_ASSERT(job, "the store answers each ticket once");
  if (auto* served = std::get_if<Served>(job)) {
    if (server_.on_store(id, *served, std::move(done))) context_.jobs.erase(id);
  } else if (auto* copy = std::get_if<std::unique_ptr<Copying>>(job)) {
    act(id, (*copy)->on_store(std::move(done)));
  } else {
    const auto ended = context_.jobs.take(id);
    const Look* look = std::get_if<Look>(&*ended);
    if (Copying* parent = look ? copying(look->parent) : nullptr)
      act(look->parent, parent->on_look(*look, std::move(done)));
  }
}

void Replica::on_reply(Time now, NodeId from, Reply&& reply, ReplicaEffects& out) {
  enter(now, out);
  const std::uint64_t id = reply.id;
  if (Copying* copy = copying(id)) act(id, copy->on_reply(from, std::move(reply)));
  settle();
}

// --- Time

Time Replica::next_deadline() const {
  if (context_.copying.empty()) return never;
  for (const auto& [oid, id] : context_.copying)
    if (copying(id)->throttled()) return std::min(next_tick_, context_.throttle.free_at());
  return next_tick_;
}

void Replica::tick(Time now, ReplicaEffects& out) {
  enter(now, out);
  const bool due = now >= next_tick_;
  std::vector<std::uint64_t> active;
  for (const auto& [oid, id] : context_.copying) active.push_back(id);
  if (due || now >= context_.throttle.free_at())  // when due: the rate may be another one by now
    for (const std::uint64_t id : active)
      if (Copying* copy = copying(id); copy && copy->throttled()) act(id, copy->go_on());
  if (due) {
    next_tick_ = now + tick_interval;
    for (const std::uint64_t id : active)
      if (Copying* copy = copying(id)) act(id, copy->tick());
  }
  settle();
}

std::string Replica::check_state() const {
  if (parked_.requests.size() > max_parked || parked_.bytes > max_parked_bytes) return "only so much is parked";
  for (const auto& [oid, id] : context_.copying) {
    const Copying* copy = copying(id);
    if (!copy || copy->request().oid != oid) return "a pull or repair is a job of its object";
    if (std::string broken = copy->check_state(); !broken.empty()) return broken;
  }
  return server_.check_state();
}

}  // namespace sd
