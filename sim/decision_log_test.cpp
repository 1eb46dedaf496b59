#include "sim/decision_log.hpp"

#include <gtest/gtest.h>

namespace sd::sim {
namespace {

TEST(Decisions, SameSeedSameChoices) {
  Decisions a(7);
  Decisions b(7);
  Decisions other(8);
  int differences = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto value = a.choose(Site::config, 1000);
    EXPECT_EQ(value, b.choose(Site::config, 1000));
    differences += value != other.choose(Site::config, 1000);
  }
  EXPECT_GT(differences, 900);
}

TEST(Decisions, SitesDoNotDisturbEachOther) {
  Decisions a(7);
  Decisions b(7);
  for (int i = 0; i < 100; ++i) b.choose(Site::guest_a, 10);
  EXPECT_EQ(a.bits(Site::config), b.bits(Site::config));
}

TEST(Decisions, ALogReplaysUnderAnotherSourceOfNumbers) {
  Decisions original(7);
  original.record();
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 500; ++i)
    values.push_back(original.choose(i % 3 == 0 ? Site::config : Site::disk_fault, i % 3 == 0 ? 1000 : 2));
  auto replayed = Decisions::parse(original.text());
  ASSERT_TRUE(replayed);
  for (int i = 0; i < 500; ++i)
    EXPECT_EQ(values[i], replayed->choose(i % 3 == 0 ? Site::config : Site::disk_fault, i % 3 == 0 ? 1000 : 2));
  EXPECT_FALSE(replayed->diverged());
}

TEST(Decisions, AReplayThatAsksForSomethingElseSaysSo) {
  Decisions original(7);
  original.record();
  original.choose(Site::config, 1000);
  auto replayed = Decisions::parse(original.text());
  ASSERT_TRUE(replayed);
  replayed->choose(Site::limits, 1000);
  EXPECT_TRUE(replayed->diverged());
}

TEST(Decisions, DamagedLogsAreRefused) {
  EXPECT_FALSE(Decisions::parse("hello"));
  EXPECT_FALSE(Decisions::parse("sheepsim-decisions 1 7\nff 1\n"));
  EXPECT_FALSE(Decisions::parse("sheepsim-decisions 1 7\n1\n"));
}

}  // namespace
}  // namespace sd::sim
