#include "core/member/replica.hpp"

#include <algorithm>
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd {

namespace {
constexpr std::size_t max_parked = 4096;  // requests from ahead; their senders repeat what is dropped
constexpr std::size_t max_parked_bytes = 64u << 20;
constexpr std::size_t max_recent_objects = 16384;
constexpr std::size_t max_fences = 65536;  // tidied beyond this
}  // namespace

Replica::Replica(NodeId self, BufferPool& pool, Store& store, const cluster::State& state, std::size_t remembered)
    : self_(self), pool_(pool), store_(store), state_(state), writes_(remembered, max_recent_objects) {}

bool Replica::leftover(const ObjectInfo& info, Vid vid) const {
  const auto* vdi = state_.find(vid);
  return info.exists && vdi && info.version.log_index() < vdi->created_index;
}

// An object that lost its metadata is met by those who look at it unasked: the scrub, a collector. Only the owner can
// have it made whole.
void Replica::tell_owner(std::uint64_t id, const Job& job, ReplicaEffects& out) {
  const auto pull = pulls_.find(job.request.oid);
  const auto* vdi = state_.find(job.request.vid);
  if ((pull != pulls_.end() && pull->second != id) || !vdi || vdi->owner == 0 || SD_BUG(lost_copy_untold)) return;
  SD_SOMETIMES(true, lost_copy_told);
  Request tell;
  tell.op = Request::Op::lost;
  tell.vid = job.request.vid;
  tell.generation = state_.generation(job.request.vid);
  tell.oid = job.request.oid;
  out.requests.emplace_back(vdi->owner, std::move(tell));
}

// Removes what must never be seen again; nobody waits for it.
void Replica::forget(Time now, Oid oid, ReplicaEffects& out) {
  Job job;
  job.step = Job::Step::ignore;
  writes_.remove(oid);
  store_.remove(now, jobs_.insert(std::move(job)), oid, out.store);
}

void Replica::on_request(Time now, NodeId from, Request&& request, bool member, ReplicaEffects& out) {
  const std::uint64_t current = state_.generation(request.vid);
  if (request.generation > current || !member) {
    // The sender knows more of the cluster log than this node. It repeats its request, so what does not fit may go.
    if (request.generation > current && request.generation <= state_.applied) return;  // of a disk that is gone
    const std::size_t bytes = total_size(request.payload);
    SD_SOMETIMES(true, request_parked);
    if (parked_.size() < max_parked && parked_bytes_ + bytes <= max_parked_bytes) {
      parked_bytes_ += bytes;
      parked_.emplace_back(from, std::move(request));
    }
    return;
  }
  const auto* vdi = state_.find(request.vid);
  const bool deleted = vdi && vdi->deleting && request.op != Request::Op::remove;
  SD_SOMETIMES(request.generation < current, request_refused);
  if ((request.generation < current && !SD_BUG(ignore_generation)) || deleted) {
    Reply reply;
    reply.id = request.id;
    reply.vid = request.vid;
    reply.status = Status::stale;
    reply.generation = current;
    out.replies.emplace_back(from, std::move(reply));
    return;
  }
  start(now, from, std::move(request), out);
}

void Replica::on_state(Time now, bool member, ReplicaEffects& out) {
  if (!parked_.empty()) {
    auto waiting = std::move(parked_);
    parked_.clear();
    parked_bytes_ = 0;
    for (auto& [from, request] : waiting) on_request(now, from, std::move(request), member, out);
  }
  on_store(now, out);
}

void Replica::start(Time now, NodeId from, Request&& request, ReplicaEffects& out) {
  const Oid oid = request.oid;
  const Request::Op op = request.op;
  if (op == Request::Op::pull || op == Request::Op::repair) {
    // A repeated pull takes over the one under way; another one has to wait for its end.
    if (const auto active = pulls_.find(oid); active != pulls_.end()) {
      Job& job = *jobs_.find(active->second);
      if (op == Request::Op::repair) {
        Reply busy;  // what is under way sees to it, or the next reader asks again
        busy.id = request.id;
        busy.vid = request.vid;
        busy.status = Status::busy;
        busy.generation = state_.generation(request.vid);
        out.replies.emplace_back(from, std::move(busy));
        return;
      }
      if (job.request.version == request.version && job.request.generation == request.generation) {
        SD_SOMETIMES(true, pull_repeated);
        job.from = from;
        job.request.id = request.id;
        if (!request.background) set_foreground(now, active->second, job, out);
        return;
      }
      fail(job, Status::busy);
      if (job.request.op == Request::Op::pull) return;
      // A repair may stop anywhere, and an owner does not wait for one.
      const std::uint64_t repair = active->second;
      pulls_.erase(active);
      if (job.step == Job::Step::repair_gather || job.throttled) pull_failed(repair, job, out);
    }
  }
  if (op == Request::Op::query && request.version.round() > 0) fence(oid, request.version.generation);
  if (op == Request::Op::write || op == Request::Op::zero) {
    // Sent before the owner asked anew: it would change what this member has answered.
    const auto fenced = fences_.find(oid);
    SD_SOMETIMES(fenced != fences_.end() && request.version.generation < fenced->second, request_fenced);
    if (fenced != fences_.end() && request.version.generation < fenced->second && !SD_BUG(ignore_generation)) return;
    // The write before it is still being looked into.
    if (const auto looking = looking_.find(oid); looking != looking_.end()) {
      SD_SOMETIMES(true, request_waits_for_first);
      looking->second.emplace_back(from, std::move(request));
      return;
    }
  }
  if (op == Request::Op::write || op == Request::Op::zero || op == Request::Op::read) throttle_.on_foreground(now);
  Job fresh;
  fresh.from = from;
  fresh.request = std::move(request);
  fresh.last_progress = now;
  const std::uint64_t id = jobs_.insert(std::move(fresh));
  Job& job = *jobs_.find(id);
  Request& r = job.request;
  switch (op) {
    case Request::Op::write:
    case Request::Op::zero:
      if (r.previous == Version{}) {
        // The first write of an object: the owner knows that nothing was ever there, so whatever an earlier generation
        // left is void.
        job.step = Job::Step::look_before_write;
        looking_[oid];
        store_.query(now, id, oid, out.store);
      } else {
        write(now, id, job, out);
      }
      break;
    case Request::Op::read: store_.read(now, id, oid, r.offset, r.length, out.store); break;
    case Request::Op::query:
      job.step = Job::Step::look;
      store_.query(now, id, oid, out.store);
      break;
    case Request::Op::flush: store_.flush(now, id, out.store); break;
    case Request::Op::pull:
      pulls_[oid] = id;
      job.step = Job::Step::pull_look;
      store_.query(now, id, oid, out.store);
      break;
    case Request::Op::repair:
      pulls_[oid] = id;
      begin_repair(now, id, job, out);
      break;
    case Request::Op::fetch_info:
      job.step = Job::Step::info_look;
      store_.query(now, id, oid, out.store);
      break;
    case Request::Op::fetch: store_.read_chunk(now, id, oid, r.offset / limits::chunk_size, out.store); break;
    case Request::Op::collect:
      if (pulls_.contains(oid)) {
        finish(id, Status::busy, nullptr, out);
        break;
      }
      writes_.remove(oid);
      unreadable_.erase(oid);
      store_.remove(now, id, oid, out.store, r.version);
      break;
    case Request::Op::remove:
      writes_.remove(oid);
      unreadable_.erase(oid);
      store_.remove(now, id, oid, out.store);
      break;
    case Request::Op::lost:  // for an owner, not for a member
      jobs_.erase(id);
      break;
  }
}

// Rounds are rare, and the log index fences the generations before: only objects asked about twice in a generation are
// remembered.
void Replica::fence(Oid oid, std::uint64_t generation) {
  if (fences_.size() >= max_fences)
    std::erase_if(fences_, [&](const auto& entry) {
      return entry.second >> Version::round_bits != state_.generation(entry.first.vid());
    });
  auto& fenced = fences_[oid];
  fenced = std::max(fenced, generation);
}

void Replica::write(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  Request& r = job.request;
  job.step = r.fua ? Job::Step::then_flush : Job::Step::done;
  if (r.op == Request::Op::zero) {
    if (SD_BUG(trim_keeps_data))
      store_.zero(now, id, r.oid, r.version, r.previous, r.offset, 0, out.store);
    else
      store_.zero(now, id, r.oid, r.version, r.previous, r.offset, r.length, out.store);
    return;
  }
  SD_ASSERT(r.payload.size() <= 1, "a write carries one slice");
  Slice data = r.payload.empty() ? Slice{} : std::move(r.payload.front());
  r.payload.clear();
  store_.write(now, id, r.oid, r.version, r.previous, r.offset, std::move(data), out.store);
}

void Replica::on_store(Time now, ReplicaEffects& out) {
  while (!out.store.done.empty()) {
    std::swap(batch_, out.store.done);
    for (auto& done : batch_) on_store_done(now, std::move(done), out);
    batch_.clear();
  }
}

void Replica::on_store_done(Time now, StoreDone&& done, ReplicaEffects& out) {
  Job* found = jobs_.find(done.ticket);
  SD_ASSERT(found, "the store answers each ticket once");
  Job& job = *found;
  const std::uint64_t id = done.ticket;
  const Request& r = job.request;
  switch (job.step) {
    case Job::Step::ignore: jobs_.erase(id); break;
    case Job::Step::done:
      if (r.op == Request::Op::read && done.info.incomplete) tell_owner(id, job, out);
      finish(id, done.status, &done, out);
      break;
    case Job::Step::then_flush:
      if (done.status != Status::ok) {
        finish(id, done.status, &done, out);
        break;
      }
      job.step = Job::Step::done;
      store_.flush(now, id, out.store);
      break;
    case Job::Step::look_before_write:
      if (done.status == Status::ok && done.info.exists &&
          (done.info.version.generation < r.version.generation || done.info.incomplete)) {
        SD_SOMETIMES(true, first_write_voids);
        forget(now, r.oid, out);
      }
      {
        const auto queued = looking_.extract(r.oid);
        write(now, id, job, out);
        for (auto& [from, request] : queued.mapped()) start(now, from, std::move(request), out);
      }
      break;
    case Job::Step::look:
      if (done.status == Status::ok && leftover(done.info, r.vid)) {
        forget(now, r.oid, out);
        done.info = {};
      }
      finish(id, done.status, &done, out);
      break;
    case Job::Step::info_look: {
      if (done.status != Status::ok || !done.info.exists || done.info.incomplete || done.info.version != r.previous) {
        finish(id, done.status == Status::ok ? Status::behind : done.status, &done, out);
        break;
      }
      // What the puller holds is part of this object's history if it ends in this generation, or where the one before
      // ended. Else the two have parted, and only a whole copy will do; likewise if an earlier pull was cut off.
      const Version theirs = r.version;
      const bool prefix = theirs == Version{} ||
                          (theirs.generation == done.info.version.generation && theirs <= done.info.version) ||
                          (theirs.generation == done.info.base.generation && theirs <= done.info.base);
      if (!prefix || r.incomplete) {
        done.chunks = ~0ull;
        finish(id, Status::ok, &done, out);
        break;
      }
      job.step = Job::Step::done;
      store_.chunks_since(now, id, r.oid, theirs, out.store);
      break;
    }
    case Job::Step::pull_look: pull_on_look(now, id, job, done, out); break;
    case Job::Step::repair_scan: repair_on_scan(now, id, job, std::move(done), out); break;
    case Job::Step::repair_store: repair_on_stored(now, id, job, done, out); break;
    case Job::Step::delta_chunk: {
      const std::uint64_t parent = job.parent;
      const std::uint32_t chunk = job.scanning;
      jobs_.erase(id);
      on_delta_chunk(now, parent, chunk, std::move(done), out);
      break;
    }
    case Job::Step::own_chunk: {
      const std::uint64_t parent = job.parent;
      jobs_.erase(id);
      on_own_chunk(now, parent, std::move(done), out);
      break;
    }
    case Job::Step::pull_info:
    case Job::Step::repair_gather: break;
    case Job::Step::pull_begin:
    case Job::Step::pull_announce:
      if (done.status != Status::ok) {
        fail(job, done.status);
        pull_failed(id, job, out);
        break;
      }
      job.begun = true;
      // The store writes a copy once instead of twice if it is known for good that the object is incomplete.
      if (r.previous == Version{} && job.step == Job::Step::pull_begin) {
        job.step = Job::Step::pull_announce;
        store_.flush(now, id, out.store);
        break;
      }
      job.step = Job::Step::pull_chunks;
      pull_more(now, id, job, out);
      break;
    case Job::Step::pull_chunks:
      --job.storing;
      job.last_progress = now;
      if (done.status != Status::ok) fail(job, done.status);
      pull_more(now, id, job, out);
      break;
    case Job::Step::pull_end:
      if (done.status == Status::ok && job.recent != peer::RecentWrites{})
        writes_.replace(r.oid, std::move(job.recent));
      release(id, r.oid);
      if (done.status == Status::ok)
        ++stats_.pulled_objects;
      else
        store_.give_up_sync(r.oid);
      finish(id, done.status, &done, out);
      break;
  }
}

void Replica::finish(std::uint64_t id, Status status, const StoreDone* done, ReplicaEffects& out) {
  answer(*jobs_.find(id), status, done, out);
  jobs_.erase(id);
}

void Replica::answer(Job& job, Status status, const StoreDone* done, ReplicaEffects& out) {
  const Request& r = job.request;
  Reply reply;
  reply.id = r.id;
  reply.vid = r.vid;
  reply.status = status;
  reply.generation = state_.generation(r.vid);
  reply.full = full_;
  reply.offset = r.offset;
  reply.read = job.read;
  if (done) {
    reply.exists = done->info.exists;
    reply.incomplete = done->info.incomplete;
    reply.lossy = done->info.lossy;
    reply.version = done->info.version;
    reply.base = done->info.base;
    reply.chunks = done->chunks;
    if (status == Status::ok && (r.op == Request::Op::write || r.op == Request::Op::zero))
      writes_.remember(r.oid, r.origin);
    if (status == Status::ok && (r.op == Request::Op::query || r.op == Request::Op::fetch_info))
      reply.recent = writes_.of(r.oid);
    if (status == Status::ok || (r.op == Request::Op::fetch && status == Status::damaged)) {
      reply.payload.assign(done->data.begin(), done->data.end());
      if (r.op == Request::Op::fetch) {
        reply.base = done->chunk_version;
        reply.damaged = done->damaged_blocks;
        reply.crcs = done->damaged_crcs;
        if (r.version != Version{} && (done->info.incomplete || done->info.version != r.version))
          reply.status = Status::behind;
        leave_out(r, *done, reply);
      }
    }
  }
  out.replies.emplace_back(job.from, std::move(reply));
}

// --- Pulling

void Replica::pull_on_look(Time now, std::uint64_t id, Job& job, const StoreDone& done, ReplicaEffects& out) {
  Request& r = job.request;
  if (done.status != Status::ok) fail(job, done.status);
  if (job.failure != Status::ok) {
    pull_failed(id, job, out);
    return;
  }
  ObjectInfo info = done.info;
  if (leftover(info, r.vid)) {
    forget(now, r.oid, out);
    info = {};
  }
  if (info.exists && !info.incomplete && !r.incomplete && info.version == r.version) {
    release(id, r.oid);
    finish(id, Status::ok, &done, out);
    return;
  }
  if (info.exists && !info.incomplete && info.version > r.version && info.version != r.previous) {
    // Sent long ago, and late: the object has moved on, beyond what the owner knew and dropped.
    fail(job, Status::behind);
    pull_failed(id, job, out);
    return;
  }
  if (r.incomplete && info.exists && !info.incomplete && info.version == r.version) {
    // Known to be damaged somewhere, but otherwise equal: find out where, and replace just that. The rest may be the
    // only good copy.
    r.length = limits::object_size;
    r.op = Request::Op::repair;
    if (r.source != self_) r.helpers.insert(r.helpers.begin(), r.source);
    begin_repair(now, id, job, out);
    return;
  }
  std::erase(r.helpers, self_);
  // Last, and more than once: a disk that could not read a block may read it the next time, and this copy may be all
  // that is left soon.
  if (r.source != self_) r.helpers.push_back(r.source);
  r.incomplete = r.incomplete || (info.exists && info.incomplete);
  r.previous = info.version;
  job.step = Job::Step::pull_info;
  ask_info(id, job, out);
  job.last_asked = now;
}

void Replica::put(Time now, std::uint64_t id, Job& job, std::uint32_t chunk, Reply&& reply, ReplicaEffects& out) {
  ++job.storing;
  Slice data = joined(reply.payload, pool_);
  store_.put_chunk(now, id, job.request.oid, chunk, reply.base, static_cast<std::uint16_t>(reply.chunks),
                   std::move(data), out.store);
}

Replica::Request Replica::ask_source(Request::Op op, std::uint64_t id, const Job& job) const {
  Request ask;
  ask.id = id | own_request_bit;
  ask.op = op;
  ask.vid = job.request.vid;
  ask.generation = job.request.generation;
  ask.oid = job.request.oid;
  return ask;
}

void Replica::ask_info(std::uint64_t id, Job& job, ReplicaEffects& out) {
  Request ask = ask_source(Request::Op::fetch_info, id, job);
  ask.version = job.request.previous;
  ask.previous = job.request.version;
  ask.incomplete = job.request.incomplete;
  out.requests.emplace_back(job.request.source, std::move(ask));
}

void Replica::ask_chunk(std::uint64_t id, Job& job, std::uint32_t chunk, ReplicaEffects& out) {
  Request ask = ask_source(Request::Op::fetch, id, job);
  ask.version = job.request.version;
  ask.offset = chunk * limits::chunk_size;
  ask.length = limits::chunk_size;
  if (const auto own = std::ranges::find(job.owns, chunk, &Own::chunk); own != job.owns.end()) ask.have = own->have;
  out.requests.emplace_back(job.request.source, std::move(ask));
}

void Replica::pull_more(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  // A newer generation ends this pull: its owner decides anew what this member should hold.
  if (state_.generation(job.request.vid) != job.request.generation) fail(job, Status::busy);
  if (job.failure != Status::ok) {
    if (job.storing == 0) pull_failed(id, job, out);
    return;
  }
  throttled_ -= std::exchange(job.throttled, false);
  for (auto& place : job.asked) {
    if (place != 0 || job.chunks_left == 0) continue;
    if (job.request.background && !throttle_.take(now, limits::chunk_size, state_.recovery_rates)) {
      job.throttled = true;
      ++throttled_;
      job.last_progress = now;
      break;
    }
    const auto chunk = static_cast<std::uint32_t>(std::countr_zero(job.chunks_left));
    job.chunks_left &= job.chunks_left - 1;
    place = chunk + 1;
    ++job.fetching;
    job.last_asked = now;
    if (job.delta)
      look_before_asking(now, id, chunk, job, out);
    else
      ask_chunk(id, job, chunk, out);
  }
  if (job.fetching > 0 || job.storing > 0 || job.chunks_left != 0 || !job.gathers.empty()) return;
  job.step = Job::Step::pull_end;
  store_.end_sync(now, id, job.request.oid, job.request.version, job.base, out.store);
}

// A client waits for it now.
void Replica::set_foreground(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  if (!job.request.background) return;
  job.request.background = false;
  if (job.throttled) go_on(now, id, job, out);
}

// The throttle held it up.
void Replica::go_on(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  if (job.step == Job::Step::repair_scan)
    repair_scan(now, id, job, out);
  else
    pull_more(now, id, job, out);
}

void Replica::release(std::uint64_t id, Oid oid) {
  if (const auto at = pulls_.find(oid); at != pulls_.end() && at->second == id) pulls_.erase(at);
}

void Replica::pull_failed(std::uint64_t id, Job& job, ReplicaEffects& out) {
  throttled_ -= std::exchange(job.throttled, false);
  release(id, job.request.oid);
  if (job.begun) store_.give_up_sync(job.request.oid);
  // The owner may rely on that: what is here counts as no copy from now on.
  StoreDone marked;
  marked.info.exists = marked.info.incomplete = true;
  finish(id, job.failure, job.begun ? &marked : nullptr, out);
}

void Replica::on_reply(Time now, NodeId from, Reply&& reply, ReplicaEffects& out) {
  const std::uint64_t id = reply.id & ~own_request_bit;
  Job* job = jobs_.find(id);
  if (!job) return;
  if (helper_asked(*job) == from && reply.offset / limits::chunk_size == job->gathers.front().chunk) {
    on_helper_reply(now, from, id, *job, std::move(reply), out);
    on_store(now, out);
    return;
  }
  if (job->request.op != Request::Op::pull || job->request.source != from) return;
  if (job->step == Job::Step::pull_info) {
    job->last_progress = now;
    if (reply.status != Status::ok) fail(*job, reply.status);
    if (state_.generation(job->request.vid) != job->request.generation) fail(*job, Status::busy);
    if (job->failure != Status::ok) {
      pull_failed(id, *job, out);
      return;
    }
    job->base = reply.base;
    job->recent = std::move(reply.recent);
    job->chunks_left = reply.chunks;
    job->delta = job->request.previous != Version{};  // whatever became of it: its blocks are compared, not its history
    job->step = Job::Step::pull_begin;
    store_.begin_sync(now, id, job->request.oid, out.store);
    on_store(now, out);
    return;
  }
  if (job->step != Job::Step::pull_chunks) return;
  const auto asked = std::ranges::find(job->asked, reply.offset / limits::chunk_size + 1);
  if (asked == std::end(job->asked)) return;  // answered before
  const auto chunk = static_cast<std::uint32_t>(*asked - 1);
  *asked = 0;
  --job->fetching;
  job->last_progress = now;
  const std::uint16_t same = reply.same;
  if (!fill_in(*job, chunk, reply)) reply.status = Status::io_error;
  if (reply.status == Status::damaged) {
    pull_damaged_chunk(now, id, *job, std::move(reply), out);
  } else if (reply.status == Status::ok) {
    if (same == 0) stats_.pulled_bytes += total_size(reply.payload);
    put(now, id, *job, chunk, std::move(reply), out);
  } else {
    fail(*job, reply.status);
    pull_more(now, id, *job, out);
  }
  on_store(now, out);
}

Time Replica::next_deadline() const {
  if (pulls_.empty()) return never;
  return throttled_ > 0 ? std::min(next_tick_, throttle_.free_at()) : next_tick_;
}

void Replica::tick(Time now, ReplicaEffects& out) {
  constexpr Time repeat = milliseconds(500), give_up = seconds(5);
  std::vector<std::uint64_t> active;
  for (const auto& [oid, id] : pulls_) active.push_back(id);
  if (throttled_ > 0 && (now >= throttle_.free_at() || now >= next_tick_))  // the rate may be another one by now
    for (const std::uint64_t id : active)
      if (Job* job = jobs_.find(id); job && job->throttled) go_on(now, id, *job, out);
  if (now < next_tick_) {
    on_store(now, out);
    return;
  }
  next_tick_ = now + milliseconds(100);
  for (const std::uint64_t id : active) {
    Job* job = jobs_.find(id);
    if (job && job->throttled) job->last_progress = now;
    const bool waits = job && (job->step == Job::Step::pull_info || job->step == Job::Step::pull_chunks ||
                               job->step == Job::Step::repair_gather);
    if (!waits) continue;
    if (now - job->last_progress > give_up) fail(*job, Status::unavailable);
    if (state_.generation(job->request.vid) != job->request.generation) fail(*job, Status::busy);
    if (job->failure != Status::ok) {
      if (job->storing == 0) pull_failed(id, *job, out);
      continue;
    }
    if (helper_asked(*job) != 0 && now - job->gathers.front().asked_at >= repeat) {
      repeat_helper(now, id, *job, out);
      if (job = jobs_.find(id); !job) continue;
    }
    if (now - job->last_asked < repeat) continue;
    job->last_asked = now;
    if (job->step == Job::Step::pull_info)
      ask_info(id, *job, out);
    else
      for (const auto place : job->asked)
        if (place != 0 && (!job->delta || std::ranges::find(job->owns, static_cast<std::uint32_t>(place - 1),
                                                            &Own::chunk) != job->owns.end()))
          ask_chunk(id, *job, static_cast<std::uint32_t>(place - 1), out);
  }
  on_store(now, out);
}

}  // namespace sd
