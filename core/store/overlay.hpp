// The part of an object that is newer than its file: extents of whole blocks that refer to the slices in which they
// arrived, and ranges that are to become holes. A later change of a block replaces the earlier one; extents never
// overlap.
#pragma once
#include <cstdint>
#include <vector>

#include "core/base/limits.hpp"
#include "core/base/slice.hpp"

namespace sd {

class Overlay {
 public:
  struct Extent {
    std::uint32_t first = 0;  // block
    std::uint32_t count = 0;
    Slice data;  // count blocks, or empty: a hole
    std::uint32_t end() const { return first + count; }
    bool is_hole() const { return data.empty(); }
  };

  // `data` is a whole number of blocks.
  void put(std::uint32_t first, Slice data);
  void punch(std::uint32_t first, std::uint32_t count);
  // The extent that holds the block, a hole too, or null.
  const Extent* find(std::uint32_t block) const;
  // The bytes of one block; empty if the overlay does not have it.
  Slice block(std::uint32_t block) const;

  // In ascending order.
  const std::vector<Extent>& extents() const { return extents_; }
  bool empty() const { return extents_.empty(); }
  std::uint64_t bytes() const { return bytes_; }  // of data
  void clear();
  void swap(Overlay& other) {
    extents_.swap(other.extents_);
    std::swap(bytes_, other.bytes_);
  }

 private:
  // Makes room: afterwards no extent has a block of [first, end). Returns the index at which an extent for it belongs.
  std::size_t carve(std::uint32_t first, std::uint32_t end);
  std::vector<Extent> extents_;
  std::uint64_t bytes_ = 0;
};

}  // namespace sd
