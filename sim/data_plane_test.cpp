#include "sim/data_plane.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "core/base/sim_bug.hpp"

namespace sd::sim {
namespace {

std::uint64_t first() {
  const char* wanted = std::getenv("SD_DATA_PLANE_FIRST");
  return wanted ? std::strtoull(wanted, nullptr, 10) : 1;
}
// How many runs; SD_DATA_PLANE_RUNS asks for more.
std::uint64_t runs() {
  if (const char* wanted = std::getenv("SD_DATA_PLANE_RUNS")) return std::strtoull(wanted, nullptr, 10);
#ifdef NDEBUG
  return 200;
#else
  return 20;  // slow with sanitizers
#endif
}

// A broken invariant ends the process: then too the seed is told.
std::uint64_t running = 0;
void tell_seed(int) { std::fprintf(stderr, "data plane: seed %llu\n", static_cast<unsigned long long>(running)); }

DataPlaneOutcome run_seed(std::uint64_t seed) {
  // The disks are blocks of memory that come and go. Getting each from the system takes longer than the rest of a run.
  static const bool kept = mallopt(M_MMAP_THRESHOLD, 64 << 20) == 1 && mallopt(M_TRIM_THRESHOLD, 256 << 20) == 1;
  static_cast<void>(kept);
  running = seed;
  std::signal(SIGABRT, tell_seed);
  DataPlaneOptions options;
  options.seed = seed;
  return run_data_plane(options);
}

TEST(DataPlaneChaos, WhatGuestsWereToldStaysTrue) {
  DataPlaneOutcome sum;
  for (std::uint64_t seed = first(); seed < first() + runs(); ++seed) {
    const DataPlaneOutcome outcome = run_seed(seed);
    ASSERT_EQ(outcome.error, "") << "seed " << seed;
    sum.answers += outcome.answers;
    sum.refusals += outcome.refusals;
    sum.epochs += outcome.epochs;
    sum.steps += outcome.steps;
    sum.sectors += outcome.sectors;
    sum.undecided += outcome.undecided;
  }
  EXPECT_GT(sum.answers, 20 * runs());
  EXPECT_LT(sum.refusals, sum.answers / 10);
  EXPECT_GT(sum.epochs, 5 * runs());
  EXPECT_EQ(sum.undecided, 0u);
}

// SD_DATA_PLANE_SEED=N tells every step of one run.
TEST(DataPlaneChaos, OneRunInWords) {
  const char* seed = std::getenv("SD_DATA_PLANE_SEED");
  if (!seed) GTEST_SKIP() << "set SD_DATA_PLANE_SEED to follow a run";
  DataPlaneOptions options;
  options.seed = std::strtoull(seed, nullptr, 10);
  options.follow = [](const std::string& line) { std::puts(line.c_str()); };
  EXPECT_EQ(run_data_plane(options).error, "");
}

#ifdef SD_SIM_BUGS
// Each must fall within a few hundred seeds. Others fall later: SD_DATA_PLANE_BUG=name looks for one.
constexpr SimBug common_bugs[] = {
    SimBug::ack_before_all_members, SimBug::skip_flush,         SimBug::skip_checksum,       SimBug::read_past_write,
    SimBug::skip_peering,           SimBug::accept_version_gap, SimBug::journal_skip_replay, SimBug::apply_before_sync,
    SimBug::trim_keeps_data,        SimBug::lose_index_entry,   SimBug::forget_incarnation,  SimBug::flush_one_member,
    SimBug::delta_keeps_all,        SimBug::full_counts_as_copy};

std::uint64_t first_seed_that_notices(SimBug bug, std::uint64_t seeds) {
  for (std::uint64_t seed = first(); seed < first() + seeds; ++seed) {
    planted_bug = bug;
    const std::string error = run_seed(seed).error;
    planted_bug = SimBug::count;
    if (!error.empty()) return seed;
  }
  return 0;
}

TEST(DataPlaneChaos, PlantedBugsAreFound) {
  for (const SimBug bug : common_bugs)
    EXPECT_NE(first_seed_that_notices(bug, 1000), 0u) << sim_bugs[static_cast<std::size_t>(bug)].name;
}

TEST(DataPlaneChaos, OnePlantedBug) {
  const char* name = std::getenv("SD_DATA_PLANE_BUG");
  if (!name) GTEST_SKIP() << "set SD_DATA_PLANE_BUG to look for one";
  const auto bug = std::ranges::find(sim_bugs, std::string_view(name), &SimBugInfo::name);
  ASSERT_NE(bug, std::end(sim_bugs));
  const auto seed = first_seed_that_notices(static_cast<SimBug>(bug - std::begin(sim_bugs)), runs());
  EXPECT_NE(seed, 0u);
  std::printf("%s falls at seed %llu\n", name, static_cast<unsigned long long>(seed));
}
#endif

}  // namespace
}  // namespace sd::sim
