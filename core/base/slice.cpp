#include "core/base/slice.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>

#include "core/base/assert.hpp"

namespace sd {

namespace {

// Blocks come in powers of two, so a returned block fits a later request of about its size.
constexpr std::size_t smallest_block = 64;
constexpr std::size_t page = 4096;

std::uint32_t class_of(std::size_t size) {
  const std::size_t rounded = std::bit_ceil(size < smallest_block ? smallest_block : size);
  return static_cast<std::uint32_t>(std::countr_zero(rounded) - std::countr_zero(smallest_block));
}

// A lock for a few instructions: blocks may come back from another thread. The machines themselves never wait on it.
class SpinLock {
 public:
  void lock() {
    while (flag_.test_and_set(std::memory_order_acquire)) {
    }
  }
  void unlock() { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag flag_;
};

}  // namespace

struct BufferPool::Impl {
  SpinLock lock;
  std::array<detail::Block*, 40> free{};
  std::size_t keep_bytes = 0;
  std::size_t kept_bytes = 0;
  std::array<std::size_t, 40> kept_of_class{};
  std::size_t outstanding = 0;
  std::size_t outstanding_bytes = 0;

  detail::Block* pop(std::size_t size_class) {
    detail::Block* block = free[size_class];
    free[size_class] = block->next_free;
    kept_bytes -= block->capacity;
    kept_of_class[size_class] -= block->capacity;
    return block;
  }

  // Makes room for one more unused block at the cost of the class that holds most, if that holds more than the block's
  // own: after many small blocks, large ones must find room too. Returns what to destroy, as a list.
  detail::Block* make_room(const detail::Block& wanted) {
    detail::Block* dropped = nullptr;
    while (kept_bytes + wanted.capacity > keep_bytes) {
      const auto most = static_cast<std::size_t>(std::ranges::max_element(kept_of_class) - kept_of_class.begin());
      if (kept_of_class[most] <= kept_of_class[wanted.size_class] + wanted.capacity) break;
      detail::Block* block = pop(most);
      block->next_free = dropped;
      dropped = block;
    }
    return dropped;
  }

  static void destroy(detail::Block* block) {
    std::free(block->memory);
    delete block;
  }
};

namespace detail {

void release(Block* block) {
  if (block->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  auto& impl = *block->pool->impl_;
  impl.lock.lock();
  --impl.outstanding;
  impl.outstanding_bytes -= block->capacity;
  detail::Block* dropped = impl.make_room(*block);
  const bool keep = impl.kept_bytes + block->capacity <= impl.keep_bytes;
  if (keep) {
    block->next_free = impl.free[block->size_class];
    impl.free[block->size_class] = block;
    impl.kept_bytes += block->capacity;
    impl.kept_of_class[block->size_class] += block->capacity;
  }
  impl.lock.unlock();
  if (!keep) BufferPool::Impl::destroy(block);
  while (dropped) BufferPool::Impl::destroy(std::exchange(dropped, dropped->next_free));
}

}  // namespace detail

Slice Slice::part(std::size_t offset, std::size_t size) const {
  SD_ASSERT(offset <= size_ && size <= size_ - offset, "a part lies inside its slice");
  Slice result = *this;
  result.at_ += offset;
  result.size_ = size;
  return result;
}

void Slice::shrink(std::size_t size) {
  SD_ASSERT(size <= size_, "a slice only shrinks");
  size_ = size;
}

BufferPool::BufferPool(std::size_t keep_bytes) : impl_(std::make_unique<Impl>()) { impl_->keep_bytes = keep_bytes; }

BufferPool::~BufferPool() {
  SD_ASSERT(impl_->outstanding == 0, "every buffer is returned before its pool ends");
  for (auto* block : impl_->free)
    while (block) Impl::destroy(std::exchange(block, block->next_free));
}

Slice BufferPool::allocate(std::size_t size) {
  if (size == 0) return {};
  const std::uint32_t size_class = class_of(size);
  const std::size_t capacity = smallest_block << size_class;
  impl_->lock.lock();
  detail::Block* block = impl_->free[size_class] ? impl_->pop(size_class) : nullptr;
  ++impl_->outstanding;
  impl_->outstanding_bytes += capacity;
  impl_->lock.unlock();
  if (!block) {
    block = new detail::Block;
    block->size_class = size_class;
    block->capacity = capacity;
    block->pool = this;
    block->memory = static_cast<std::byte*>(std::aligned_alloc(capacity < page ? smallest_block : page, capacity));
    SD_ASSERT(block->memory != nullptr, "memory is available for a bounded number of buffers");
  }
  block->next_free = nullptr;
  block->references.store(1, std::memory_order_relaxed);
  Slice slice;
  slice.block_ = block;
  slice.at_ = block->memory;
  slice.size_ = size;
  return slice;
}

Slice BufferPool::copy_of(std::span<const std::byte> bytes) {
  Slice slice = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(slice.mutable_data(), bytes.data(), bytes.size());
  return slice;
}

Slice BufferPool::copy_of(std::string_view text) { return copy_of(std::as_bytes(std::span(text.data(), text.size()))); }

Slice BufferPool::zeros(std::size_t size) {
  Slice slice = allocate(size);
  if (size > 0) std::memset(slice.mutable_data(), 0, size);
  return slice;
}

std::size_t BufferPool::outstanding() const { return impl_->outstanding; }
std::size_t BufferPool::outstanding_bytes() const { return impl_->outstanding_bytes; }

}  // namespace sd
