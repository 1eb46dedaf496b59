// Bytes waiting to be sent on one stream: small headers are copied together, payload slices are queued as they are, and
// the sender takes as many segments as one gathering write can carry.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "core/base/slice.hpp"

namespace sd {

class OutQueue {
 public:
  explicit OutQueue(BufferPool& pool) : pool_(pool) {}

  // Copies; meant for headers.
  void append_copy(std::span<const std::byte> bytes);
  void append_copy(std::string_view text) { append_copy(std::as_bytes(std::span(text.data(), text.size()))); }
  // Shares; meant for payload.
  void append(Slice slice);
  // Moves the first n bytes to the end of another queue.
  void move_front(std::size_t n, OutQueue& to);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Calls f(std::span<const std::byte>) for the next segments in order, at most `max` of them. Returns how many.
  template <typename F>
  std::size_t peek(std::size_t max, F&& f) const {
    std::size_t n = 0;
    for (std::size_t i = first_; i < segments_.size() && n < max; ++i, ++n) f(segments_[i].bytes());
    return n;
  }
  // A reference to each of the next segments, for a sender that must keep the bytes alive past changes of the queue.
  std::size_t peek_slices(std::size_t max, std::vector<Slice>& out) const;
  // Drops the first n bytes, which were sent.
  void consume(std::size_t n);
  void clear();

 private:
  BufferPool& pool_;
  std::vector<Slice> segments_;  // live from first_ on
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  Slice tail_block_;           // headers are gathered here ...
  std::size_t tail_used_ = 0;  // ... up to this byte
  bool tail_is_last_ = false;  // the last segment ends at tail_used_ of tail_block_
};

}  // namespace sd
