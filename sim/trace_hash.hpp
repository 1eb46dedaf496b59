// The fingerprint of a run: everything that happens is folded into one chain, so two runs are the same if their last
// values are. For the first difference, keep the value after each step (`remember`) and compare the two lists.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sd::sim {

class TraceHash {
 public:
  void fold(std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9fb21c651e98df25ull;
    hash_ ^= hash_ >> 29;
  }
  void end_step() {
    ++steps_;
    if (remember_) after_step_.push_back(hash_);
  }
  void remember() { remember_ = true; }

  std::uint64_t value() const { return hash_; }
  std::uint64_t steps() const { return steps_; }
  const std::vector<std::uint64_t>& after_step() const { return after_step_; }

  // The first step at which two runs differ; the length of the shorter one if it is the start of the other; -1 if they
  // are the same.
  static std::ptrdiff_t first_difference(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
    const std::size_t both = a.size() < b.size() ? a.size() : b.size();
    for (std::size_t i = 0; i < both; ++i)
      if (a[i] != b[i]) return static_cast<std::ptrdiff_t>(i);
    return a.size() == b.size() ? -1 : static_cast<std::ptrdiff_t>(both);
  }

 private:
  std::uint64_t hash_ = 0x243f6a8885a308d3ull;
  std::uint64_t steps_ = 0;
  bool remember_ = false;
  std::vector<std::uint64_t> after_step_;
};

}  // namespace sd::sim
