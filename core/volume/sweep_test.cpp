#include "core/volume/sweep.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

TEST(Sweep, GoesThroughTheDiskAndEndsWithAFlush) {
  Sweep sweep(7);
  const Oid oid = Oid::data(1, 0);
  sweep.found();
  sweep.open(oid);
  sweep.advance();
  EXPECT_EQ(sweep.progress(1).open, 1u);
  sweep.close_if([](Oid) { return false; });
  EXPECT_EQ(sweep.open_objects(), 1u);
  sweep.close_if([&](Oid which) { return which == oid; });
  EXPECT_EQ(sweep.open_objects(), 0u);
  sweep.begin_flush(42);
  EXPECT_TRUE(sweep.flushing());
  EXPECT_TRUE(sweep.ends_with(42));
  EXPECT_FALSE(sweep.ends_with(41));
  sweep.on_flushed(true);
  EXPECT_TRUE(sweep.done());
  EXPECT_EQ(sweep.progress(5).at, 5u);
}

TEST(Sweep, IsNotDoneWhenItsFlushFails) {
  Sweep sweep(7);
  sweep.begin_flush(42);
  sweep.on_flushed(false);
  EXPECT_FALSE(sweep.done());
  EXPECT_FALSE(sweep.flushing());
  EXPECT_FALSE(sweep.ends_with(0));  // no request is none
}

}  // namespace
}  // namespace sd
