// Payload bytes: reference-counted, pooled, and passed along by slices instead of copies.
//
// A BufferPool hands out blocks whose memory starts on a 4 KB boundary, so that a payload received from the network can
// go to a disk opened with O_DIRECT as it is. When the last slice of a block is gone the block returns to its pool; in
// steady state nothing is allocated. The counts are atomic, so a slice may be dropped on another thread than the one
// that made it; a pool itself may be used from one thread at a time only, except for the return of blocks.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace sd {

class BufferPool;

namespace detail {
struct Block {
  std::atomic<std::uint32_t> references{0};
  std::uint32_t size_class = 0;
  std::size_t capacity = 0;
  std::byte* memory = nullptr;
  BufferPool* pool = nullptr;
  Block* next_free = nullptr;
};
void release(Block* block);
}  // namespace detail

// A range of a block. Copying a slice shares the bytes. An empty slice holds no block.
class Slice {
 public:
  Slice() = default;
  Slice(const Slice& other) : block_(other.block_), at_(other.at_), size_(other.size_) {
    if (block_) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Slice(Slice&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        at_(std::exchange(other.at_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Slice& operator=(Slice other) noexcept {
    std::swap(block_, other.block_);
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Slice() {
    if (block_) detail::release(block_);
  }

  const std::byte* data() const { return at_; }
  // Only for the maker of the bytes, before the slice is shared.
  std::byte* mutable_data() { return at_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const std::byte> bytes() const { return {at_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(at_), size_}; }

  // The part [offset, offset + size), which must lie inside; shares the block.
  Slice part(std::size_t offset, std::size_t size) const;
  Slice from(std::size_t offset) const { return part(offset, size_ - offset); }
  void shrink(std::size_t size);

 private:
  friend class BufferPool;
  detail::Block* block_ = nullptr;
  std::byte* at_ = nullptr;
  std::size_t size_ = 0;
};

class BufferPool {
 public:
  // Keeps at most this many bytes of unused blocks for reuse; more are given back to the system.
  explicit BufferPool(std::size_t keep_bytes = 32u << 20);
  ~BufferPool();  // every slice must be gone
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Uninitialised bytes, starting on a 4 KB boundary (64 bytes for sizes below 4 KB). size 0 gives an empty slice.
  Slice allocate(std::size_t size);
  Slice copy_of(std::span<const std::byte> bytes);
  Slice copy_of(std::string_view text);
  Slice zeros(std::size_t size);

  // Blocks handed out and not yet returned; 0 once everything is cleaned up (the leak check of the tests).
  std::size_t outstanding() const;
  std::size_t outstanding_bytes() const;

 private:
  friend void detail::release(detail::Block*);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sd
