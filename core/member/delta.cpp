// A changed chunk rarely changed everywhere. The puller says what it holds, as a fingerprint of each block, and gets
// only the other blocks.
//
// The checksums that the store keeps would not do: among the millions of changed blocks of a long absence two with
// equal 32 bits are to be expected now and then, and such a block would stay as it was, unnoticed. Fingerprints of 128
// bits never meet by chance. (A guest might make them meet; it would harm its own disk.)
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "core/base/sim_bug.hpp"
#include "core/member/blocks.hpp"
#include "core/member/replica.hpp"

namespace sd {

namespace {

struct Fingerprint {
  std::uint64_t low = 0, high = 0;
};

Fingerprint fingerprint(std::span<const std::byte> block) {
  const XXH128_hash_t hash = XXH3_128bits(block.data(), block.size());
  // {0, 0} stands for "nothing".
  return {hash.low64 == 0 && hash.high64 == 0 ? 1 : hash.low64, hash.high64};
}

}  // namespace

// What this member holds of the chunk is read first, then the source is asked.
void Replica::look_before_asking(Time now, std::uint64_t id, std::uint32_t chunk, const Job& job, ReplicaEffects& out) {
  Job look;
  look.step = Job::Step::delta_chunk;
  look.parent = id;
  look.scanning = chunk;
  const Oid oid = job.request.oid;
  store_.read_chunk(now, jobs_.insert(std::move(look)), oid, chunk, out.store);
}

void Replica::on_delta_chunk(Time now, std::uint64_t parent, std::uint32_t chunk, StoreDone&& done,
                             ReplicaEffects& out) {
  Job* job = jobs_.find(parent);
  if (!job || job->step != Job::Step::pull_chunks) return;
  Own own;
  own.chunk = chunk;
  own.have.assign(2 * blocks_per_chunk, 0);
  if (done.status == Status::ok || done.status == Status::damaged)
    each_block(done.chunks, done.damaged_blocks, {done.data.data(), done.data.size()},
               [&](std::uint32_t i, Slice&& bytes) {
                 const Fingerprint f = fingerprint(bytes.bytes());
                 own.have[2 * i] = f.low;
                 own.have[2 * i + 1] = f.high;
                 own.blocks[i] = std::move(bytes);
               });
  job->owns.push_back(std::move(own));
  job->last_asked = now;
  ask_chunk(parent, *job, chunk, out);
}

// At the source: leaves out what the puller has.
void Replica::leave_out(const Request& request, const StoreDone& done, Reply& reply) {
  if (request.have.size() != 2 * blocks_per_chunk || done.status != Status::ok || reply.status != Status::ok) return;
  reply.payload.clear();
  each_block(done.chunks, 0, {done.data.data(), done.data.size()}, [&](std::uint32_t i, Slice&& bytes) {
    const Fingerprint f = fingerprint(bytes.bytes());
    const bool theirs = request.have[2 * i] != 0 || request.have[2 * i + 1] != 0;
    if ((request.have[2 * i] == f.low && request.have[2 * i + 1] == f.high) || (theirs && SD_BUG(delta_keeps_all)))
      reply.same |= static_cast<std::uint16_t>(1u << i);
    else
      reply.payload.push_back(std::move(bytes));
  });
}

// At the puller: puts what was left out back in. False if that cannot be.
bool Replica::fill_in(Job& job, std::uint32_t chunk, Reply& reply) {
  const auto at = std::ranges::find(job.owns, chunk, &Own::chunk);
  if (at == job.owns.end()) return reply.same == 0;
  const Own own = std::move(*at);
  job.owns.erase(at);
  if (reply.same == 0 || reply.status != Status::ok) return reply.same == 0;
  if ((reply.same & ~reply.chunks) != 0) return false;
  stats_.pulled_bytes += total_size(reply.payload);
  std::array<Slice, blocks_per_chunk> blocks;
  const bool whole = each_block(reply.chunks, reply.same, {reply.payload.data(), reply.payload.size()},
                                [&](std::uint32_t i, Slice&& bytes) { blocks[i] = std::move(bytes); });
  if (!whole) return false;
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i)
    if ((reply.same >> i & 1) != 0) {
      if (own.blocks[i].empty()) return false;
      blocks[i] = own.blocks[i];
    }
  reply.payload.clear();
  reply.payload.push_back(join_blocks(blocks, pool_));
  return true;
}

}  // namespace sd
