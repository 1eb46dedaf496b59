// Where large reads of a stream land before they are parsed: one fixed buffer, filled at its end and consumed at its
// beginning.
#pragma once
#include <algorithm>
#include <cstring>
#include <span>

#include "core/base/assert.hpp"
#include "core/base/slice.hpp"

namespace sd::nbd {

class Staging {
 public:
  Staging(BufferPool& pool, std::size_t size) : memory_(pool.allocate(size)) {}

  std::span<const std::byte> readable() const { return {memory_.data() + begin_, end_ - begin_}; }
  std::size_t size() const { return end_ - begin_; }
  void consume(std::size_t n) {
    SD_ASSERT(n <= size(), "only received bytes are consumed");
    begin_ += n;
  }

  std::span<std::byte> writable() { return {memory_.mutable_data() + end_, memory_.size() - end_}; }
  void commit(std::size_t n) {
    SD_ASSERT(n <= memory_.size() - end_, "a read fills no more than it was offered");
    end_ += n;
  }
  // Moves the rest to the front. Not while a read into writable() is under way.
  void compact() {
    if (begin_ == 0) return;
    if (begin_ != end_) std::memmove(memory_.mutable_data(), memory_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // Copies at most `n` bytes out; returns how many.
  std::size_t take(std::byte* to, std::size_t n) {
    n = std::min(n, size());
    if (n > 0) std::memcpy(to, memory_.data() + begin_, n);
    begin_ += n;
    return n;
  }

 private:
  Slice memory_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace sd::nbd
