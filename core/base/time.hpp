// Time as the machines see it: a number handed in by the driver, never read from a clock.
#pragma once
#include <cstdint>

namespace sd {

// Nanoseconds on a monotonic clock that starts anywhere. Two nodes' clocks are unrelated; only differences on one node
// mean anything.
using Time = std::uint64_t;

inline constexpr Time never = UINT64_MAX;

constexpr Time microseconds(std::uint64_t n) { return n * 1'000; }
constexpr Time milliseconds(std::uint64_t n) { return n * 1'000'000; }
constexpr Time seconds(std::uint64_t n) { return n * 1'000'000'000; }

}  // namespace sd
