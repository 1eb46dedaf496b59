#include "core/member/delta.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "core/base/sim_bug.hpp"

namespace sd::member_detail {

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

void leave_out(const peer::ObjectRequest& request, const StoreDone& done, peer::ObjectReply& reply) {
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

void DeltaChunks::add(std::uint32_t chunk, const StoreDone& done) {
  Chunk& own = chunks_.emplace_back();
  own.number = chunk;
  own.have.assign(2 * blocks_per_chunk, 0);
  if (done.status != Status::ok && done.status != Status::damaged) return;
  each_block(done.chunks, done.damaged_blocks, {done.data.data(), done.data.size()},
             [&](std::uint32_t i, Slice&& bytes) {
               const Fingerprint f = fingerprint(bytes.bytes());
               own.have[2 * i] = f.low;
               own.have[2 * i + 1] = f.high;
               own.blocks[i] = std::move(bytes);
             });
}

const std::vector<std::uint64_t>* DeltaChunks::have(std::uint32_t chunk) const {
  const auto at = std::ranges::find(chunks_, chunk, &Chunk::number);
  return at == chunks_.end() ? nullptr : &at->have;
}

bool DeltaChunks::fill_in(std::uint32_t chunk, peer::ObjectReply& reply, BufferPool& pool) {
  const auto at = std::ranges::find(chunks_, chunk, &Chunk::number);
  if (at == chunks_.end()) return reply.same == 0;
  const Chunk own = std::move(*at);
  chunks_.erase(at);
  if (reply.same == 0 || reply.status != Status::ok) return reply.same == 0;
  if ((reply.same & ~reply.chunks) != 0) return false;
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
  reply.payload.push_back(join_blocks(blocks, pool));
  return true;
}

}  // namespace sd::member_detail
