// Makes a failing run smaller: fewer nodes, guests, operations, regions and kinds of trouble, keeping only what still
// fails by the same checker.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "child.hpp"

namespace sd::sim {

struct Shrunk {
  std::uint64_t seed = 0;
  std::vector<std::string> overrides;
  Report report;
  unsigned tries = 0;
};

// `report` is how the run fails now. Each reduction is tried with the same seed and with a few next to it, since a
// smaller run is another run. `say` is told of progress.
Shrunk shrink(std::uint64_t seed, const BatchOptions& options, const Report& report, void (*say)(const std::string&));

// A regression file: `seed N` and a word on each line, with the failure as a comment. The tests run every one and want
// it to pass.
std::string regression_text(const Shrunk& shrunk);
std::string regression_text(std::uint64_t seed, const Config& config);

}  // namespace sd::sim
