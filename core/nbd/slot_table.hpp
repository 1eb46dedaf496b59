// A fixed number of records that requests borrow while they are in flight, addressed by ids that tell the users of a slot apart.
#pragma once
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/assert.hpp"

namespace sd::nbd {

// An id is the slot's index in its low half and the slot's generation in its high half; no id is used twice in 2^32 uses of a slot.
template <typename T>
class SlotTable {
 public:
  explicit SlotTable(std::uint32_t capacity) : entries_(capacity) {
    free_.reserve(capacity);
    for (std::uint32_t i = capacity; i > 0; --i) free_.push_back(i - 1);
  }

  std::size_t used() const { return entries_.size() - free_.size(); }
  bool full() const { return free_.empty(); }

  // Must not be full.
  std::uint64_t take(T value) {
    SD_ASSERT(!free_.empty(), "a slot is taken only when one is free");
    const std::uint32_t index = free_.back();
    free_.pop_back();
    auto& entry = entries_[index];
    entry.value = std::move(value);
    entry.in_use = true;
    ++entry.generation;
    return std::uint64_t{entry.generation} << 32 | index;
  }

  // Null when the id is not in use.
  T* find(std::uint64_t id) {
    const auto index = static_cast<std::uint32_t>(id);
    if (index >= entries_.size()) return nullptr;
    auto& entry = entries_[index];
    return entry.in_use && entry.generation == id >> 32 ? &entry.value : nullptr;
  }

  // Nothing when the id is not in use.
  std::optional<T> release(std::uint64_t id) {
    if (!find(id)) return std::nullopt;
    auto& entry = entries_[static_cast<std::uint32_t>(id)];
    entry.in_use = false;
    free_.push_back(static_cast<std::uint32_t>(id));
    return std::exchange(entry.value, T{});
  }

  // Calls f(id, value) for each slot in use, by index, and frees it.
  template <typename F>
  void release_all(F&& f) {
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      if (!entries_[i].in_use) continue;
      const std::uint64_t id = std::uint64_t{entries_[i].generation} << 32 | i;
      f(id, *release(id));
    }
  }

 private:
  struct Entry {
    T value{};
    std::uint32_t generation = 0;
    bool in_use = false;
  };
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
};

}  // namespace sd::nbd
