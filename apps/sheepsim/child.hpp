// Runs seeds in child processes, so that a broken invariant (which aborts) or an endless loop ends one seed and is told
// apart.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/sim_bug.hpp"
#include "sim/world.hpp"

namespace sd::sim {

struct SeedResult {
  std::uint64_t seed = 0;
  Report report;  // without hashes
};

struct BatchOptions {
  std::vector<std::string> overrides;
  SimBug bug = SimBug::count;  // count: none
  unsigned jobs = 1;
  unsigned seconds_per_seed = 120;  // of real time; more is a failure of liveness
};

// Runs the seeds first..last (both included) and hands over each result, in the order in which they end, until `each`
// says false.
void run_seeds(std::uint64_t first, std::uint64_t last, const BatchOptions& options,
               const std::function<bool(const SeedResult&)>& each);
Report run_one(std::uint64_t seed, const BatchOptions& options);

// False in a build without the planted bugs.
bool plant(SimBug bug);

}  // namespace sd::sim
