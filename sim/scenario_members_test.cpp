// Members that leave, come back, are drained, vote, or are given up.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

TEST(Members, TwoNodesAndAWitnessSurviveTheLossOfEitherNode) {
  for (const std::uint32_t victim : {0u, 1u}) {
    Scenario s({.nodes = 3, .copies = 2, .gateways = 1, .witnesses = 1});
    ASSERT_TRUE(s.until([&] { return s.status(2).voter; })) << "the witness votes";
    ASSERT_TRUE(s.write_all(0, 4));
    s.kill({victim});
    EXPECT_EQ(s.write(1 - victim, 0, 8), Answer::ok) << s.trouble();
    EXPECT_TRUE(s.read_all(1 - victim)) << s.trouble();
    for (const auto& [vid, vdi] : s.state(2).vdis) {
      EXPECT_NE(vdi.owner, s.status(2).id) << "a witness serves no disk";
      EXPECT_EQ(s.objects_on(2, vid), 0u) << "a witness holds no data";
    }
    EXPECT_EQ(s.settle(), "");
  }
}

TEST(Members, TwoNodesWithoutAWitnessStopTogether) {
  Scenario s({.nodes = 2, .copies = 2});
  ASSERT_TRUE(s.write_all(0, 2));
  s.kill({1});
  EXPECT_TRUE(s.until([&] { return !s.serves(0); })) << "one of two is no majority";
  EXPECT_NE(s.status(0).trouble, "") << "and it says so";
  s.start({1});
  EXPECT_TRUE(s.until([&] { return s.serves(0) && s.serves(1); }));
  EXPECT_EQ(s.settle(), "");
}

TEST(Members, AVoterThatIsGoneIsReplaced) {
  Scenario s({.nodes = 4, .copies = 2});
  ASSERT_TRUE(
      s.until([&] { return s.status(0).voter + s.status(1).voter + s.status(2).voter + s.status(3).voter == 3; }));
  std::uint32_t victim = 0, learner = 0;
  for (std::uint32_t node = 0; node < 4; ++node) (s.status(node).voter ? victim : learner) = node;
  s.kill({victim});
  EXPECT_TRUE(s.until([&] { return s.status(learner).voter; })) << s.trouble();
  // Now another may go: two of the three voters are left.
  std::uint32_t second = 0;
  while (second == victim || second == learner) ++second;
  s.kill({second});
  ASSERT_TRUE(s.until([&] { return s.leader() < 4 && s.leader() != second && s.leader() != victim; })) << s.trouble();
  EXPECT_EQ(s.settle(), "");
}

TEST(Members, ACleanStopOfTheLeaderCostsNoElectionTimeout) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 2));
  const std::uint32_t old = s.leader(), gateway = (old + 1) % 3;
  s.stop({old});
  const Time begin = s.now();
  EXPECT_EQ(s.write(gateway, 0, 8), Answer::ok);
  EXPECT_LT(s.now() - begin, s.machine(gateway).options().election_timeout_min);
  EXPECT_EQ(s.settle(), "");
}

TEST(Members, AShortAbsenceMovesNoData) {
  Scenario s({.nodes = 4, .copies = 2, .objects = 24});
  ASSERT_EQ(s.order(client::GraceTime{600'000}), "");
  ASSERT_TRUE(s.write_all(0, 24));
  std::vector<bool> held;
  for (std::uint32_t node = 0; node < 4; ++node)
    for (std::uint32_t i = 0; i < 24; ++i) held.push_back(s.holds(node, i));
  s.kill({3});
  ASSERT_TRUE(s.write_all(0, 24)) << "their other members go on";
  s.run(seconds(30));
  s.start({3});
  ASSERT_TRUE(s.until([&] { return s.redundant(); })) << s.trouble();
  std::size_t at = 0;
  for (std::uint32_t node = 0; node < 4; ++node)
    for (std::uint32_t i = 0; i < 24; ++i)
      EXPECT_EQ(s.holds(node, i), held[at++]) << "node " << node << ", object " << i;
  EXPECT_EQ(s.settle(), "");
}

TEST(Members, ADrainedNodeCanBeTakenAwayWithoutLoss) {
  Scenario s({.nodes = 4, .copies = 2, .objects = 16});
  ASSERT_TRUE(s.write_all(0, 16));
  const NodeId id = s.status(3).id;
  ASSERT_EQ(s.order(client::NodeDrain{id, true}), "");
  ASSERT_TRUE(s.until([&] { return s.leader() < 4 && s.state(s.leader()).is_drained(id) && !s.status(3).voter; }))
      << s.trouble();
  EXPECT_TRUE(s.serves(3)) << "it serves on";
  s.cut_power({3});
  s.wipe(3);
  EXPECT_TRUE(s.until([&] { return s.leader() < 3 && !s.state(s.leader()).member(id); }))
      << "it leaves the list" << s.trouble();
  s.cut_power({2});  // as many as two copies allow for, besides
  EXPECT_TRUE(s.read_all(0)) << s.trouble();
}

// The last one to go went on alone for a moment, so the others wait for it: by name, and not for ever.
TEST(Members, WhoeverMayHoldWhatNobodyElseHasIsWaitedForUntilItIsGivenUp) {
  Scenario s({.nodes = 3, .copies = 3, .op_timeout = seconds(100)});
  ASSERT_TRUE(s.write_all(0, 2));
  ASSERT_TRUE(s.until([&] { return s.redundant(); }));
  s.stop({0});
  ASSERT_TRUE(s.until([&] { return s.state(1).epochs.size() == 1; }));
  s.stop({1});
  s.kill({2});
  s.start({0, 1});
  ASSERT_TRUE(s.until([&] { return s.serves(0) && s.serves(1) && !s.state(0).missing().empty(); })) << s.trouble();
  const NodeId last = [&] {
    for (const auto& [id, member] : s.state(0).members)
      if (member.address == s.machine(2).options().address) return id;
    return NodeId{0};
  }();
  EXPECT_EQ(s.state(0).missing(), std::vector<NodeId>{last});
  EXPECT_EQ(s.read(0, 0, 8), Answer::error) << "after a while somebody should know";
  ASSERT_EQ(s.order(client::RecoverForce{false}, 0u), "");
  ASSERT_TRUE(s.until([&] { return s.state(0).missing().empty(); }));
  EXPECT_EQ(s.read(0, 0, 8), Answer::ok) << "all that was written was written before the last one was alone";
  EXPECT_EQ(s.settle(), "");
}

}  // namespace
}  // namespace sd::sim
