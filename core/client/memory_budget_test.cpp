#include "core/client/memory_budget.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sd::client {
namespace {

class MemoryBudgetTest : public ::testing::Test {
 protected:
  static constexpr std::size_t mb = 1u << 20;

  void SetUp() override {
    for (StreamId stream = 1; stream <= 8; ++stream) budget.open(stream);
  }
  void TearDown() override { budget.check_invariants(); }

  std::vector<StreamId> served() {
    std::vector<StreamId> streams;
    while (const auto next = budget.next()) streams.push_back(next->stream);
    budget.check_invariants();
    return streams;
  }

  MemoryBudget budget{16 * mb};
};

using Streams = std::vector<StreamId>;

TEST_F(MemoryBudgetTest, WhatFitsIsServedAndHeld) {
  budget.want(1, 3 * mb);
  const auto next = budget.next();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->stream, 1u);
  EXPECT_EQ(next->bytes, 3 * mb);
  EXPECT_EQ(budget.held(), 3 * mb);
  EXPECT_FALSE(budget.waits(1));
  EXPECT_FALSE(budget.short_of_room());
  budget.hold(1, mb);
  EXPECT_EQ(budget.held(), mb);
}

TEST_F(MemoryBudgetTest, SessionsAreServedInTurns) {
  for (StreamId stream = 1; stream <= 8; ++stream) budget.want(stream, 4 * mb);
  EXPECT_EQ(served(), (Streams{1, 2, 3, 4}));
  budget.hold(3, 0);
  budget.want(3, 4 * mb);  // again, behind all others
  EXPECT_EQ(served(), Streams{5});
  for (const StreamId stream : {1u, 2u, 4u, 5u}) budget.hold(stream, 0);
  EXPECT_EQ(served(), (Streams{6, 7, 8, 3}));
}

TEST_F(MemoryBudgetTest, NobodyOvertakesARequestThatWaitsForRoom) {
  for (StreamId stream = 1; stream <= 3; ++stream) budget.want(stream, 4 * mb);
  EXPECT_EQ(served(), (Streams{1, 2, 3}));
  budget.want(4, 6 * mb);
  budget.want(5, 2 * MemoryBudget::small);
  EXPECT_EQ(served(), Streams{});
  EXPECT_TRUE(budget.short_of_room());
  budget.hold(1, 2 * mb);
  EXPECT_EQ(served(), (Streams{4}));
  budget.hold(2, 0);
  EXPECT_EQ(served(), (Streams{5}));
}

TEST_F(MemoryBudgetTest, ASmallRequestOfASessionThatHoldsNothingNeverWaits) {
  for (StreamId stream = 1; stream <= 4; ++stream) budget.want(stream, 4 * mb);
  EXPECT_EQ(served(), (Streams{1, 2, 3, 4}));
  budget.want(5, mb);
  budget.want(6, MemoryBudget::small);
  EXPECT_EQ(served(), Streams{6});
  budget.want(6, MemoryBudget::small);
  EXPECT_EQ(served(), Streams{}) << "its second one waits behind the others";
  budget.hold(1, 2 * mb);
  EXPECT_EQ(served(), (Streams{5, 6}));
}

TEST_F(MemoryBudgetTest, WhoeverIsAtItsShareHoldsNobodyUpAndKeepsItsPlace) {
  budget.hold(1, 4 * mb);
  budget.want(1, mb);
  budget.want(2, mb);
  EXPECT_EQ(served(), Streams{2});
  EXPECT_TRUE(budget.waits(1));
  EXPECT_FALSE(budget.short_of_room()) << "it waits for itself";
  budget.want(3, mb);
  budget.hold(1, 3 * mb);
  EXPECT_EQ(served(), (Streams{1, 3}));
}

TEST_F(MemoryBudgetTest, ARequestAboveABoundIsServedAlone) {
  budget.want(1, 6 * mb);
  EXPECT_EQ(served(), Streams{1}) << "more than a share, of a session that holds nothing";
  budget.want(2, 20 * mb);
  budget.want(3, mb);
  EXPECT_EQ(served(), Streams{});
  budget.hold(1, 0);
  EXPECT_EQ(served(), Streams{2}) << "more than the budget, while nobody holds anything";
  budget.hold(2, 0);
  EXPECT_EQ(served(), Streams{3});
}

TEST_F(MemoryBudgetTest, WhatASessionLeavesBehindCountsUntilItIsReleased) {
  budget.want(1, 4 * mb);
  budget.want(2, 4 * mb);
  EXPECT_EQ(served(), (Streams{1, 2}));
  budget.want(2, mb);
  budget.close(2, 3 * mb);
  EXPECT_FALSE(budget.short_of_room());
  EXPECT_EQ(budget.held(), 7 * mb);
  budget.close(1, 0);
  budget.release(3 * mb);
  EXPECT_EQ(budget.held(), 0u);
}

TEST_F(MemoryBudgetTest, WhoeverHoldsNothingMayBeginAtAllTimes) {
  EXPECT_TRUE(budget.may_begin(1));
  budget.hold(1, 4 * mb);
  EXPECT_FALSE(budget.may_begin(1)) << "its share";
  for (StreamId stream = 2; stream <= 4; ++stream) budget.hold(stream, 4 * mb);
  budget.hold(5, 1);
  EXPECT_TRUE(budget.full());
  EXPECT_FALSE(budget.may_begin(5));
  EXPECT_TRUE(budget.may_begin(6));
  budget.hold(4, 0);
  EXPECT_TRUE(budget.may_begin(5));
}

}  // namespace
}  // namespace sd::client
