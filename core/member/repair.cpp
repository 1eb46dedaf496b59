// Damaged blocks: looked for elsewhere one by one, so that a copy which is bad here and one which is bad there still
// make a good one.
//
// A block's checksum, kept apart from it, says what the block should hold. So bytes that match it are as good as what a
// read of an undamaged block returns, whoever has them and whatever the version of their object: a repair needs no
// agreement, disturbs no request, and may stop anywhere.
#include <algorithm>
#include <bit>
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/member/blocks.hpp"
#include "core/member/replica.hpp"

namespace sd {

namespace {

constexpr unsigned max_asked = 6;              // times, of one helper, before the search is given up
constexpr std::size_t max_unreadable = 65536;  // remembered
constexpr unsigned asked_of_source = 3;        // times, of a pull's source, before what it cannot read counts as lost

}  // namespace

// --- A repair: every chunk of the range in turn

void Replica::begin_repair(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  std::erase(job.request.helpers, self_);
  const std::uint32_t end = job.request.offset + std::max(job.request.length, 1u);
  job.scanning = job.request.offset / limits::chunk_size;
  job.last_chunk = std::min((end - 1) / limits::chunk_size, limits::chunks_per_object - 1);
  repair_scan(now, id, job, out);
}

// The next chunk, or later, if nobody waits for it and the rate is used up: by what the chunk before held.
void Replica::repair_scan(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  throttled_ -= std::exchange(job.throttled, false);
  job.step = Job::Step::repair_scan;
  job.last_progress = now;
  if (job.request.background && job.unpaid > 0 && !throttle_.take(now, job.unpaid, state_.recovery_rates)) {
    job.throttled = true;
    ++throttled_;
    return;
  }
  job.unpaid = 0;
  store_.read_chunk(now, id, job.request.oid, job.scanning, out.store);
}

void Replica::repair_on_scan(Time now, std::uint64_t id, Job& job, StoreDone&& done, ReplicaEffects& out) {
  job.last_progress = now;
  if (job.failure != Status::ok) {
    pull_failed(id, job, out);
    return;
  }
  job.seen = done.info;
  if (done.status == Status::not_found) {  // nothing here, so nothing damaged
    job.scanning = job.last_chunk;
    repair_next(now, id, job, out);
    return;
  }
  if (done.info.incomplete) {
    tell_owner(id, job, out);
    fail(job, Status::behind);
    pull_failed(id, job, out);
    return;
  }
  for (const Slice& slice : done.data) stats_.scanned_bytes += slice.size();
  job.unpaid = static_cast<std::uint32_t>(std::popcount(done.chunks)) * limits::block_size;
  job.read.blocks = static_cast<std::uint16_t>(job.read.blocks + std::popcount(done.chunks));
  job.read.damaged = static_cast<std::uint16_t>(job.read.damaged + std::popcount(done.damaged_blocks));
  if (done.status == Status::ok) {
    repair_next(now, id, job, out);
    return;
  }
  if (done.status != Status::damaged) {
    fail(job, done.status);
    pull_failed(id, job, out);
    return;
  }
  Gather& g = job.gathers.emplace_back();
  g.chunk = job.scanning;
  g.wanted = done.damaged_blocks;
  g.here = true;
  for (std::uint32_t i = 0, at = 0; i < blocks_per_chunk; ++i)
    if ((g.wanted >> i & 1) != 0) g.crc[i] = done.damaged_crcs[at++];
  job.step = Job::Step::repair_gather;
  gather(now, id, job, out);
}

void Replica::repair_on_stored(Time now, std::uint64_t id, Job& job, const StoreDone& done, ReplicaEffects& out) {
  job.last_progress = now;
  // behind: overwritten meanwhile
  if (done.status != Status::ok && done.status != Status::behind) fail(job, done.status);
  stats_.repaired_blocks += done.status == Status::ok;
  job.read.repaired += done.status == Status::ok;
  if (--job.storing > 0) return;
  if (job.failure != Status::ok)
    pull_failed(id, job, out);
  else
    repair_next(now, id, job, out);
}

void Replica::repair_next(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  if (job.scanning < job.last_chunk) {
    ++job.scanning;
    repair_scan(now, id, job, out);
    return;
  }
  release(id, job.request.oid);
  ++stats_.scanned_objects;
  const Oid oid = job.request.oid;
  const bool all = job.request.offset == 0 && job.request.length == limits::object_size;
  if (job.read.lost > 0 && unreadable_.size() < max_unreadable)
    unreadable_.insert(oid);
  else if (job.read.lost == 0 && all)
    unreadable_.erase(oid);
  StoreDone scanned;
  scanned.info = job.seen;
  finish(id, job.read.lost > 0 ? Status::damaged : Status::ok, &scanned, out);
}

// --- The search

// The source of a pull has damaged blocks in this chunk.
void Replica::pull_damaged_chunk(Time now, std::uint64_t id, Job& job, Reply&& reply, ReplicaEffects& out) {
  std::size_t good = 0;
  const bool sane = reply.chunks <= 0xffff && (reply.damaged & ~reply.chunks) == 0 &&
                    reply.crcs.size() == static_cast<std::size_t>(std::popcount(reply.damaged)) &&
                    each_block(reply.chunks, reply.damaged, {reply.payload.data(), reply.payload.size()},
                               [&](std::uint32_t, Slice&&) { ++good; }) &&
                    total_size(reply.payload) == good * limits::block_size;
  if (!sane) {
    fail(job, Status::io_error);
    pull_more(now, id, job, out);
    return;
  }
  Gather fresh;
  fresh.chunk = reply.offset / limits::chunk_size;
  fresh.wanted = reply.damaged;
  for (std::uint32_t i = 0, at = 0; i < blocks_per_chunk; ++i)
    if ((fresh.wanted >> i & 1) != 0) fresh.crc[i] = reply.crcs[at++];
  each_block(reply.chunks, reply.damaged, {reply.payload.data(), reply.payload.size()},
             [&](std::uint32_t i, Slice&& bytes) { fresh.found[i] = std::move(bytes); });
  fresh.reply = std::move(reply);
  fresh.reply.payload.clear();
  job.gathers.push_back(std::move(fresh));
  if (job.gathers.size() == 1) gather(now, id, job, out);
}

void Replica::gather(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  Gather& g = job.gathers.front();
  if (!g.here) {
    Job look;
    look.step = Job::Step::own_chunk;
    look.parent = id;
    const Oid oid = job.request.oid;
    const std::uint32_t chunk = g.chunk;
    store_.read_chunk(now, jobs_.insert(std::move(look)), oid, chunk, out.store);
    return;
  }
  if (g.wanted == 0 || g.helper == job.request.helpers.size())
    gathered(now, id, job, out);
  else
    ask_helper(now, id, job, out);
}

// Whose answer the search waits for; 0: nobody's.
NodeId Replica::helper_asked(const Job& job) {
  if (job.gathers.empty() || !job.gathers.front().here || job.gathers.front().helper >= job.request.helpers.size())
    return 0;
  return job.request.helpers[job.gathers.front().helper];
}

void Replica::ask_helper(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  Gather& g = job.gathers.front();
  ++g.asked;
  g.asked_at = now;
  Request ask = ask_source(Request::Op::fetch, id, job);
  ask.offset = g.chunk * limits::chunk_size;
  ask.length = limits::chunk_size;
  out.requests.emplace_back(job.request.helpers[g.helper], std::move(ask));
}

// Nobody may be taken to lack a block only because a message was lost.
void Replica::repeat_helper(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  if (job.gathers.front().asked < max_asked) {
    ask_helper(now, id, job, out);
    return;
  }
  job.gathers.clear();
  fail(job, Status::unavailable);
  if (job.storing == 0) pull_failed(id, job, out);
}

// Of these blocks of the chunk, those that are looked for and right.
void Replica::Gather::take_wanted(std::uint64_t allocated, std::uint16_t left_out, std::span<const Slice> slices) {
  each_block(allocated, left_out, slices, [&](std::uint32_t i, Slice&& bytes) {
    if ((wanted >> i & 1) == 0 || (crc32c(bytes.bytes()) != crc[i] && !SD_BUG(repair_unchecked))) return;
    wanted &= static_cast<std::uint16_t>(~(1u << i));
    found[i] = std::move(bytes);
  });
}

void Replica::on_own_chunk(Time now, std::uint64_t parent, StoreDone&& done, ReplicaEffects& out) {
  Job* job = jobs_.find(parent);
  if (!job || job->gathers.empty() || job->gathers.front().here) return;
  Gather& g = job->gathers.front();
  g.here = true;
  if (done.status == Status::ok || done.status == Status::damaged)
    g.take_wanted(done.chunks, done.damaged_blocks, {done.data.data(), done.data.size()});
  gather(now, parent, *job, out);
}

void Replica::on_helper_reply(Time now, NodeId from, std::uint64_t id, Job& job, Reply&& reply, ReplicaEffects& out) {
  job.last_progress = now;
  Gather& g = job.gathers.front();
  // A read error may pass: it says nothing about what the helper has.
  const bool knows = reply.status == Status::ok || reply.status == Status::damaged || reply.status == Status::not_found;
  if (!knows) return;
  if (reply.status != Status::not_found)
    g.take_wanted(reply.chunks, reply.damaged, {reply.payload.data(), reply.payload.size()});
  // tick asks again
  if (g.wanted != 0 && job.request.op == Request::Op::pull && from == job.request.source && g.asked < asked_of_source)
    return;
  ++g.helper;
  g.asked = 0;
  gather(now, id, job, out);
}

// All that could be found is there.
void Replica::gathered(Time now, std::uint64_t id, Job& job, ReplicaEffects& out) {
  Gather g = std::move(job.gathers.front());
  job.gathers.erase(job.gathers.begin());
  const Oid oid = job.request.oid;
  const auto lost = static_cast<std::uint32_t>(std::popcount(g.wanted));
  if (lost > 0)
    out.store.notices.push_back("object " + to_string(oid) + ", chunk " + std::to_string(g.chunk) + ": " +
                                std::to_string(lost) + " blocks are damaged at every member; reads of them fail");
  job.read.lost = static_cast<std::uint16_t>(job.read.lost + lost);
  stats_.lost_blocks += lost;
  if (job.step == Job::Step::repair_gather) {
    job.step = Job::Step::repair_store;
    for (const Slice& bytes : g.found) job.storing += !bytes.empty();
    if (job.storing == 0) {
      repair_next(now, id, job, out);
      return;
    }
    for (std::uint32_t i = 0; i < blocks_per_chunk; ++i)
      if (!g.found[i].empty())
        store_.repair(now, id, oid, g.chunk * blocks_per_chunk + i, std::move(g.found[i]), out.store);
    return;
  }
  const auto present = static_cast<std::uint16_t>(g.reply.chunks & ~g.wanted);
  Slice data = join_blocks(g.found, pool_);
  ++job.storing;
  stats_.pulled_bytes += data.size();
  store_.put_chunk(now, id, oid, g.chunk, g.reply.base, present, std::move(data), out.store,
                   LostBlocks{g.wanted, g.crc});
  if (!job.gathers.empty()) gather(now, id, job, out);
}

}  // namespace sd
