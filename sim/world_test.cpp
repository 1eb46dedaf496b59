// Whole runs: a handful of seeds on every build; many more are the business of sheepsim.
#include "sim/world.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::sim {
namespace {

TEST(World, TheFirstSeedsPass) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Report report = run_seed(seed, {});
    EXPECT_EQ(report.outcome, Outcome::ok) << "seed " << seed << ": " << report.what;
    EXPECT_GT(report.operations, 0u) << "seed " << seed;
  }
}

TEST(World, ARunIsAFunctionOfItsSeed) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const Report a = run_seed(seed, {}, nullptr, true);
    const Report b = run_seed(seed, {}, nullptr, true);
    EXPECT_EQ(TraceHash::first_difference(a.hashes, b.hashes), -1) << "seed " << seed;
    EXPECT_EQ(a.hash, b.hash) << "seed " << seed;
  }
}

TEST(World, OtherSeedsAreOtherRuns) { EXPECT_NE(run_seed(1, {"ops=20"}).hash, run_seed(2, {"ops=20"}).hash); }

const std::filesystem::path regressions = std::filesystem::path(SD_SOURCE_DIR) / "sim" / "regressions";

struct Regression {
  std::uint64_t seed = 0;
  std::vector<std::string> overrides;
};

Regression read_regression(const std::filesystem::path& file) {
  std::ifstream in(file);
  Regression run;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("seed "))
      run.seed = std::stoull(line.substr(5));
    else if (!line.empty() && line[0] != '#')
      run.overrides.push_back(line);
  }
  return run;
}

Report run_regression(const std::filesystem::path& file) {
  const Regression run = read_regression(file);
  return run_seed(run.seed, run.overrides);
}

TEST(World, ALogOfDecisionsIsTheSameRun) {
  Decisions recorded(7);
  recorded.record();
  const Report first = run_decisions(recorded, {});
  auto replayed = Decisions::parse(recorded.text());
  ASSERT_TRUE(replayed);
  const Report second = run_decisions(*replayed, {});
  EXPECT_EQ(first.hash, second.hash);
  EXPECT_EQ(first.hash, run_seed(7, {}).hash);
  EXPECT_FALSE(replayed->diverged());
  auto other = Decisions::parse(recorded.text());
  run_decisions(*other, {"ops=3"});
  EXPECT_TRUE(other->diverged());
  EXPECT_NE(other->divergence().find("choice "), std::string::npos);
}

TEST(World, ADifferenceOfTwoRunsIsNamed) {
  const std::vector<TraceStep> run = {{1, 10, 0, "tick", 1}, {2, 20, 1, "received", 0, 0, 1}};
  auto other = run;
  EXPECT_EQ(TraceHash::first_difference(run, other), -1);
  other[1].hash = 3;
  EXPECT_NE(TraceHash::difference(run, other).find("step 1"), std::string::npos);
  EXPECT_NE(TraceHash::difference(run, other).find("node1 at 20 ns, received"), std::string::npos);
  EXPECT_NE(TraceHash::difference(run, other).find("the same, but other bytes"), std::string::npos);
  other[1].output = 2;
  EXPECT_NE(TraceHash::difference(run, other).find("2 streams with output"), std::string::npos);
  other.resize(1);
  EXPECT_NE(TraceHash::difference(run, other).find("the run is over"), std::string::npos);
}

TEST(World, EveryRegressionPasses) {
  if (!std::filesystem::exists(regressions)) return;
  for (const auto& entry : std::filesystem::directory_iterator(regressions)) {
    if (entry.path().extension() != ".txt") continue;
    const Report report = run_regression(entry.path());
    EXPECT_EQ(report.outcome, Outcome::ok) << entry.path() << ": " << report.what;
  }
}

// So that a path on that list is not one that nothing takes.
TEST(World, EachProbeLeftToScenariosIsAssertedByOne) {
  std::string scenarios;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(SD_SOURCE_DIR) / "sim")) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("scenario_") || !name.ends_with("_test.cpp")) continue;
    std::ifstream in(entry.path());
    scenarios.append(std::istreambuf_iterator<char>(in), {});
  }
  for (const Probe probe : probes_of_scenarios) {
    const std::string_view name = probes[static_cast<std::size_t>(probe)].name;
    EXPECT_NE(scenarios.find("came_by(Probe::" + std::string(name) + ")"), std::string::npos) << name;
  }
}

#ifdef SD_SIM_BUGS
// The first seed, of the regression's and those behind it, whose run of that kind fails with the bug and passes without
// it; nothing if no seed does. Any change of timing makes another run of a seed, so its own seed alone proves little.
std::optional<std::uint64_t> find_again(SimBug bug, const Regression& run) {
  constexpr std::uint64_t tries = 200;
  for (std::uint64_t seed = run.seed; seed < run.seed + tries; ++seed) {
    planted_bug = bug;
    const Report with = run_seed(seed, run.overrides);
    planted_bug = SimBug::count;
    if (with.outcome != Outcome::ok && run_seed(seed, run.overrides).outcome == Outcome::ok) return seed;
  }
  return std::nullopt;
}

// Planted bugs that hardly another kind of run notices than the one by which they were found. (adopt_unwritten is not
// among them: it takes some thousand runs of its kind, and core/replication/golden_test.cpp notices it each time; nor
// is keep_orphans, which a scenario notices.)
TEST(World, RegressionsNoticeTheBugsThatTheyWereFoundBy) {
  static constexpr std::pair<SimBug, std::string_view> found_by[] = {
      {SimBug::one_incarnation_for_all, "seed-12046.txt"}};
  for (const auto& [bug, file] : found_by) {
    EXPECT_TRUE(find_again(bug, read_regression(regressions / file))) << file;
  }
}
#endif

TEST(Config, OverridesSayWhatTheyMean) {
  Config config;
  EXPECT_TRUE(apply_override(config, "faults=kill,rot"));
  EXPECT_EQ(config.faults, bit(FaultClass::kill) | bit(FaultClass::rot));
  EXPECT_TRUE(apply_override(config, "faults=none"));
  EXPECT_EQ(config.faults, 0u);
  EXPECT_TRUE(apply_override(config, "nodes=1"));
  EXPECT_EQ(config.copies, 1u);
  EXPECT_FALSE(apply_override(config, "nodes=0"));
  EXPECT_FALSE(apply_override(config, "faults=plague"));
  EXPECT_FALSE(apply_override(config, "what"));
}

TEST(Config, ItsFullTextMakesItFromAnyOther) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Decisions a(seed);
    Config config = draw_config(a);
    Decisions b(seed + 1000);
    Config again = draw_config(b);
    std::string text = full_text(config) + " ";
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find(' ', at);
      EXPECT_TRUE(apply_override(again, text.substr(at, end - at))) << text.substr(at, end - at);
      at = end + 1;
    }
    EXPECT_EQ(to_text(config), to_text(again));
    EXPECT_EQ(full_text(config), full_text(again));
  }
}

}  // namespace
}  // namespace sd::sim
