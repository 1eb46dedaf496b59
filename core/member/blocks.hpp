// A chunk's blocks, taken apart and put together.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/base/limits.hpp"
#include "core/base/slice.hpp"

namespace sd {

using limits::blocks_per_chunk;

// Calls `each(block, bytes)` for the blocks that `slices` hold one after the other: those of `allocated` without those
// `left_out`. False if the slices hold fewer.
template <typename F>
bool each_block(std::uint64_t allocated, std::uint16_t left_out, std::span<const Slice> slices, F&& each) {
  const std::uint64_t present = allocated & ~std::uint64_t{left_out};
  std::size_t slice = 0, at = 0;
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i) {
    if ((present >> i & 1) == 0) continue;
    while (slice < slices.size() && at == slices[slice].size()) {
      ++slice;
      at = 0;
    }
    if (slice == slices.size() || slices[slice].size() - at < limits::block_size) return false;
    each(i, slices[slice].part(at, limits::block_size));
    at += limits::block_size;
  }
  return true;
}

// The blocks that are not empty, in one slice.
inline Slice join_blocks(const std::array<Slice, blocks_per_chunk>& blocks, BufferPool& pool) {
  std::size_t size = 0, at = 0;
  for (const Slice& block : blocks) size += block.size();
  if (size == 0) return {};
  Slice data = pool.allocate(size);
  for (const Slice& block : blocks) {
    if (block.empty()) continue;
    std::memcpy(data.mutable_data() + at, block.data(), block.size());
    at += block.size();
  }
  return data;
}

}  // namespace sd
