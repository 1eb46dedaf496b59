// The fingerprint of a run: everything that happens is folded into one chain, so two runs are the same if their last
// values are. For the first difference, keep every step (`remember`) and compare the two lists.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/time.hpp"

namespace sd::sim {

// One call of one node, for people who look for a difference: what was called, when, and what it asked for.
struct TraceStep {
  std::uint64_t hash = 0;  // of the run up to here
  Time at = 0;
  std::uint32_t node = 0;
  const char* input = "";
  std::uint32_t disk = 0, dial = 0, output = 0, close = 0, resume = 0;  // effects, counted

  std::string text() const {
    return "node" + std::to_string(node) + " at " + std::to_string(at) + " ns, " + input + ": " + std::to_string(disk) +
           " disk operations, " + std::to_string(dial) + " dials, " + std::to_string(output) +
           " streams with output, " + std::to_string(close) + " closed, " + std::to_string(resume) + " resumed";
  }
};

class TraceHash {
 public:
  void fold(std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9fb21c651e98df25ull;
    hash_ ^= hash_ >> 29;
  }
  void end_step(TraceStep step) {
    ++steps_;
    if (!remember_) return;
    step.hash = hash_;
    after_step_.push_back(step);
  }
  void remember() { remember_ = true; }

  std::uint64_t value() const { return hash_; }
  std::uint64_t steps() const { return steps_; }
  const std::vector<TraceStep>& after_step() const { return after_step_; }

  // The first step at which two runs differ; the length of the shorter one if it is the start of the other; -1 if they
  // are the same.
  static std::ptrdiff_t first_difference(const std::vector<TraceStep>& a, const std::vector<TraceStep>& b) {
    const std::size_t both = a.size() < b.size() ? a.size() : b.size();
    for (std::size_t i = 0; i < both; ++i)
      if (a[i].hash != b[i].hash) return static_cast<std::ptrdiff_t>(i);
    return a.size() == b.size() ? -1 : static_cast<std::ptrdiff_t>(both);
  }
  // What differs there, in words.
  static std::string difference(const std::vector<TraceStep>& a, const std::vector<TraceStep>& b) {
    const std::ptrdiff_t at = first_difference(a, b);
    if (at < 0) return "nothing between steps: something that the simulator itself decided";
    const auto text = [at](const std::vector<TraceStep>& run) {
      const auto i = static_cast<std::size_t>(at);
      return i < run.size() ? run[i].text() : std::string("the run is over");
    };
    const std::string one = text(a), two = text(b);
    return "step " + std::to_string(at) + "\n  one:   " + one +
           "\n  other: " + (one == two ? "the same, but other bytes or numbers went in or out" : two);
  }

 private:
  std::uint64_t hash_ = 0x243f6a8885a308d3ull;
  std::uint64_t steps_ = 0;
  bool remember_ = false;
  std::vector<TraceStep> after_step_;
};

}  // namespace sd::sim
