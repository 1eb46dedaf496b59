#include "core/control/proposals.hpp"

#include <gtest/gtest.h>

namespace sd::control {
namespace {

using Sent = std::vector<std::string>;

class ProposalsTest : public ::testing::Test {
 protected:
  Sent sent(Time now, bool reachable = true) {
    Sent commands;
    proposals_.send(now, reachable, [&](const std::string& command) { commands.push_back(command); });
    return commands;
  }
  // The log has it at `index`.
  void commit(std::uint64_t index, const std::string& command) {
    const auto decoded = cluster::decode_command(command);
    ASSERT_TRUE(decoded);
    state_.apply(index, *decoded);
    proposals_.look(state_, 1, 1);
  }

  Proposals proposals_;
  cluster::State state_;
};

TEST_F(ProposalsTest, AreRepeatedUntilTheStateShowsTheOutcome) {
  const auto number = proposals_.add(0, 1, 1, cluster::Shutdown{});
  EXPECT_EQ(number, 1u);
  const Sent first = sent(0);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(sent(milliseconds(499)), Sent{});
  EXPECT_EQ(sent(milliseconds(500)), first);
  commit(1, first.front());
  ASSERT_EQ(proposals_.done().size(), 1u);
  EXPECT_EQ(proposals_.done().front().first, number);
  EXPECT_EQ(sent(seconds(1)), Sent{});
}

TEST_F(ProposalsTest, ThatNobodyWaitsForAreNotRepeated) {
  const auto number = proposals_.add(0, 1, 1, cluster::Shutdown{});
  EXPECT_EQ(sent(0).size(), 1u);
  proposals_.forget(number);
  EXPECT_EQ(sent(seconds(1)), Sent{});
  EXPECT_TRUE(proposals_.done().empty());
}

TEST_F(ProposalsTest, WaitForALeaderAndAreGivenUp) {
  const auto number = proposals_.add(0, 1, 1, cluster::Shutdown{});
  EXPECT_EQ(sent(seconds(29), false), Sent{});
  EXPECT_EQ(sent(seconds(29)).size(), 1u);
  EXPECT_EQ(sent(seconds(30)), Sent{});
  ASSERT_EQ(proposals_.done().size(), 1u);
  EXPECT_EQ(proposals_.done().front().first, number);
  EXPECT_EQ(proposals_.done().front().second.status, Status::unavailable);
}

TEST_F(ProposalsTest, AreRefusedWhenTheStateCouldNotRememberTheirOutcomes) {
  for (std::size_t i = 0; i < Proposals::max_under_way; ++i)
    EXPECT_NE(proposals_.add(0, 1, 1, cluster::Shutdown{}), 0u);
  EXPECT_EQ(proposals_.add(0, 1, 1, cluster::Shutdown{}), 0u);
  sent(seconds(30));
  EXPECT_EQ(proposals_.under_way(), 0u);
  EXPECT_NE(proposals_.add(0, 1, 1, cluster::Shutdown{}), 0u);
}

}  // namespace
}  // namespace sd::control
