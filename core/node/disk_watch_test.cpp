#include "core/node/disk_watch.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

using Level = LogLine::Level;

TEST(DiskWatch, WarnsOnceTellsWhenItIsOverAndGivesUp) {
  DiskWatch watch(seconds(20));
  EXPECT_FALSE(watch.look(0));
  EXPECT_FALSE(watch.look(DiskWatch::warn_after - 1));
  EXPECT_EQ(watch.silent_for(), 0u);
  const auto warning = watch.look(DiskWatch::warn_after);
  ASSERT_TRUE(warning);
  EXPECT_EQ(warning->level, Level::warning);
  EXPECT_FALSE(watch.look(seconds(7)));
  EXPECT_EQ(watch.silent_for(), seconds(7));
  const auto over = watch.look(milliseconds(3));
  ASSERT_TRUE(over);
  EXPECT_EQ(over->level, Level::info);
  EXPECT_EQ(watch.silent_for(), 0u);
  const auto given_up = watch.look(seconds(20));
  ASSERT_TRUE(given_up);
  EXPECT_EQ(given_up->level, Level::error);
}

}  // namespace
}  // namespace sd
