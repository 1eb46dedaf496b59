#include "core/base/out_queue.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace sd {

namespace {
constexpr std::size_t tail_capacity = 4096;
}

void OutQueue::append_copy(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (tail_block_.empty() || tail_used_ == tail_block_.size()) {
      tail_block_ = pool_.allocate(tail_capacity);
      tail_used_ = 0;
      tail_is_last_ = false;
    }
    const std::size_t n = std::min(bytes.size(), tail_block_.size() - tail_used_);
    std::memcpy(tail_block_.mutable_data() + tail_used_, bytes.data(), n);
    if (tail_is_last_ && first_ < segments_.size()) {
      const std::size_t before = segments_.back().size();
      segments_.back() = tail_block_.part(tail_used_ - before, before + n);
    } else {
      segments_.push_back(tail_block_.part(tail_used_, n));
    }
    tail_used_ += n;
    tail_is_last_ = true;
    size_ += n;
    bytes = bytes.subspan(n);
  }
}

void OutQueue::append(Slice slice) {
  if (slice.empty()) return;
  size_ += slice.size();
  segments_.push_back(std::move(slice));
  tail_is_last_ = false;
}

void OutQueue::move_front(std::size_t n, OutQueue& to) {
  SD_ASSERT(n <= size_, "only queued bytes can be moved");
  while (n > 0) {
    const Slice& front = segments_[first_];
    const std::size_t part = std::min(n, front.size());
    to.append(front.part(0, part));
    consume(part);
    n -= part;
  }
}

std::size_t OutQueue::peek_slices(std::size_t max, std::vector<Slice>& out) const {
  std::size_t n = 0;
  for (std::size_t i = first_; i < segments_.size() && n < max; ++i, ++n) out.push_back(segments_[i]);
  return n;
}

void OutQueue::consume(std::size_t n) {
  SD_ASSERT(n <= size_, "only queued bytes can have been sent");
  size_ -= n;
  while (n > 0) {
    Slice& front = segments_[first_];
    if (n < front.size()) {
      front = front.from(n);
      return;
    }
    n -= front.size();
    front = {};
    ++first_;
  }
  if (first_ == segments_.size()) {
    segments_.clear();
    first_ = 0;
    tail_is_last_ = false;
    if (tail_used_ > tail_capacity / 2) tail_block_ = {};
  } else if (first_ > 64 && first_ * 2 > segments_.size()) {
    segments_.erase(segments_.begin(), segments_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

void OutQueue::clear() {
  segments_.clear();
  first_ = 0;
  size_ = 0;
  tail_block_ = {};
  tail_used_ = 0;
  tail_is_last_ = false;
}

}  // namespace sd
