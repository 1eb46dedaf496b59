// Things under way, found again by a number: slots are reused, numbers are not, so a late answer never meets another's
// request.
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace sd {

// Ids are never 0 and below 2^63. A lookup is an index and a comparison; in steady state nothing is allocated.
// References stay valid while a slot lives.
template <typename T>
class SlotTable {
 public:
  std::uint64_t insert(T value) {
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(slots_.size()));
      slots_.emplace_back();
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    slot.value = std::move(value);
    slot.live = true;
    ++live_;
    return id_of(index, next(slot.use));
  }
  T* find(std::uint64_t id) {
    Slot* slot = slot_of(slots_, id);
    return slot ? &slot->value : nullptr;
  }
  const T* find(std::uint64_t id) const {
    const Slot* slot = slot_of(slots_, id);
    return slot ? &slot->value : nullptr;
  }
  // Frees the slot and hands out what was in it; nothing when the id is not in use.
  std::optional<T> take(std::uint64_t id) {
    if (!find(id)) return std::nullopt;
    const std::uint32_t index = static_cast<std::uint32_t>(id);
    slots_[index].live = false;
    free_.push_back(index);
    --live_;
    return std::exchange(slots_[index].value, T{});
  }
  void erase(std::uint64_t id) { take(id); }
  // Another number for the same thing, so that answers to the old one are ignored.
  std::uint64_t renumber(std::uint64_t id) {
    const std::uint32_t index = static_cast<std::uint32_t>(id);
    return id_of(index, next(slots_[index].use));
  }
  std::size_t size() const { return live_; }
  // f(id, value) for every live slot, in slot order. f may erase that slot; it must not insert or erase others.
  template <typename F>
  void each(F&& f) {
    for (std::uint32_t i = 0; i < slots_.size(); ++i)
      if (slots_[i].live) f(id_of(i, slots_[i].use), slots_[i].value);
  }
  template <typename F>
  void each(F&& f) const {
    for (std::uint32_t i = 0; i < slots_.size(); ++i)
      if (slots_[i].live) f(id_of(i, slots_[i].use), slots_[i].value);
  }

 private:
  struct Slot {
    T value{};
    std::uint32_t use = 0;
    bool live = false;
  };
  // The live slot of this id, or nothing.
  static auto* slot_of(auto& slots, std::uint64_t id) {
    const auto index = static_cast<std::uint32_t>(id);
    auto* slot = index < slots.size() ? &slots[index] : nullptr;
    return slot && slot->live && slot->use == static_cast<std::uint32_t>(id >> 32) ? slot : nullptr;
  }
  // Never 0, and below 2^31: the top bit of an id is free for others to mark it with.
  static std::uint32_t next(std::uint32_t& use) {
    use = (use + 1) & 0x7fffffff;
    if (use == 0) use = 1;
    return use;
  }
  static std::uint64_t id_of(std::uint32_t index, std::uint32_t use) { return std::uint64_t{use} << 32 | index; }
  std::deque<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t live_ = 0;
};

}  // namespace sd
