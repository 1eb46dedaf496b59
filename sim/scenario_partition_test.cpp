// Networks split: at most one side goes on, the other says so by its silence, and afterwards there is one history.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

TEST(Partition, OfTwoNodesNeitherHalfServesAlone) {
  for (const std::uint32_t copies : {1u, 2u}) {
    Scenario s({.nodes = 2, .copies = copies});
    ASSERT_TRUE(s.write_all(0, 4));
    s.partition({0}, {1});
    s.run(2 * s.lease_end());
    EXPECT_EQ(s.serving(), 0u);
    const auto left = s.ask(OpClass::write, 0, 0, 8);
    const auto right = s.ask(OpClass::write, 1, 0, 8);
    s.run(seconds(10));
    EXPECT_NE(s.answer(left), Answer::ok);
    EXPECT_NE(s.answer(right), Answer::ok);
    EXPECT_EQ(s.settle(), "") << copies << " copies";
  }
}

TEST(Partition, OfFourNodesAtMostOneHalfServes) {
  const Scenario::Nodes halves[][2] = {{{0, 1}, {2, 3}}, {{0, 2}, {1, 3}}, {{0, 3}, {1, 2}}};
  for (const auto& half : halves) {
    Scenario s({.nodes = 4, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 4));
    s.partition(half[0], half[1]);
    std::vector<Scenario::Asked> asked;
    for (int round = 0; round < 20; ++round) {
      for (std::uint32_t node = 0; node < 4; ++node) {
        asked.push_back(s.ask(OpClass::write, node, 0, 8));
        asked.push_back(s.ask(OpClass::read, node, 4, 8));
      }
      s.run(milliseconds(300));
    }
    const bool first = s.serves(half[0][0]) || s.serves(half[0][1]);
    const bool second = s.serves(half[1][0]) || s.serves(half[1][1]);
    EXPECT_FALSE(first && second);
    EXPECT_EQ(s.settle(), "");
  }
}

TEST(Partition, TheMinorityStopsAndTheMajorityGoesOn) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 4));
  ASSERT_EQ(s.owner(), 0u);
  s.partition({0}, {1, 2});
  const auto lost = s.ask(OpClass::write, 0, 0, 8);
  EXPECT_EQ(s.write(1, 0, 8), Answer::ok);
  EXPECT_FALSE(s.serves(0));
  const auto late = s.ask(OpClass::read, 0, 0, 8);
  s.run(seconds(5));
  EXPECT_NE(s.answer(lost), Answer::ok);
  EXPECT_NE(s.answer(late), Answer::ok);
  EXPECT_EQ(s.write(2, 4, 8), Answer::ok);
  EXPECT_EQ(s.settle(), "");
}

TEST(Partition, AMemberThatWasCutOffDoesNotAnswerFromItsOldCopy) {
  for (std::uint32_t away = 0; away < 3; ++away) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 4));
    const std::uint32_t other = (away + 1) % 3;
    s.partition({away}, {other, (away + 2) % 3});
    ASSERT_TRUE(s.write_all(other, 4));
    s.heal_network();
    EXPECT_EQ(s.read(away, 0, 8), Answer::ok);
    EXPECT_EQ(s.settle(), "");
  }
}

TEST(Partition, OneWayCutsOfAnyNodeLoseNothing) {
  for (std::uint32_t one = 0; one < 3; ++one)
    for (const bool deaf : {false, true}) {
      Scenario s({.nodes = 3, .copies = 3});
      ASSERT_TRUE(s.write_all(0, 4));
      const Scenario::Nodes others{(one + 1) % 3, (one + 2) % 3};
      if (deaf)
        s.one_way(others, {one});
      else
        s.one_way({one}, others);
      std::vector<Scenario::Asked> asked;
      for (std::uint32_t node = 0; node < 3; ++node) asked.push_back(s.ask(OpClass::write, node, 0, 8));
      EXPECT_EQ(s.wait(asked[others[0]]), Answer::ok)
          << "node " << one << (deaf ? " hears nobody" : " is heard by nobody") << s.trouble();
      s.run(seconds(10));
      EXPECT_EQ(s.settle(), "") << "node " << one << (deaf ? " hears nobody" : " is heard by nobody");
    }
}

TEST(Partition, TwoNodesThatCannotTalkDoNotStopTheThird) {
  for (std::uint32_t middle = 0; middle < 3; ++middle) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 4));
    const std::uint32_t left = (middle + 1) % 3;
    const std::uint32_t right = (middle + 2) % 3;
    s.partition({left}, {right});
    for (std::uint32_t node = 0; node < 3; ++node) s.ask(OpClass::write, node, 0, 8);
    s.run(seconds(20));
    s.heal_network();
    EXPECT_EQ(s.write(middle, 8, 8), Answer::ok);
    EXPECT_EQ(s.settle(), "") << "around node " << middle;
  }
}

TEST(Partition, ThatComesAndGoesLeavesOneHistory) {
  Scenario s({.nodes = 3, .copies = 2});
  ASSERT_TRUE(s.write_all(0, 6));
  for (std::uint32_t i = 0; i < 12; ++i) {
    const std::uint32_t one = i % 3;
    s.partition({one}, {(one + 1) % 3, (one + 2) % 3});
    for (std::uint32_t node = 0; node < 3; ++node) s.ask(OpClass::write, node, i % 6 * Scenario::object, 8);
    s.run(s.lease_end() * (1 + i % 3) / 2);
    s.heal_network();
    s.run(milliseconds(100 * (i % 4)));
  }
  EXPECT_EQ(s.settle(), "");
}

// Below and at the bound of the clocks' drift there is one server at any time; the checker that says so is not blind:
// far above the bound it finds two.
TEST(Clocks, TheDeclaredDriftIsWhereSafetyEnds) {
  const auto run = [](std::int64_t ppm) {
    Scenario s({.nodes = 3, .copies = 3});
    EXPECT_TRUE(s.write_all(0, 2));
    const std::uint32_t owner = s.owner();
    for (std::uint32_t node = 0; node < 3; ++node) s.drift(node, node == owner ? -ppm : ppm);
    s.partition({owner}, {(owner + 1) % 3, (owner + 2) % 3});
    const auto other = s.ask(OpClass::write, (owner + 1) % 3, 0, 8);
    s.wait(other);
    return s.trouble();
  };
  EXPECT_EQ(run(100'000), "");  // the margin is a quarter of a lease: one clock slow and one fast by an eighth
  EXPECT_NE(run(400'000), "");
}

// Two nodes cannot talk, and a write from one to the other is stuck. The first gives the connection up, and since a
// third has no room for another write it asks all members anew. When the two can talk again the question is the first
// to arrive: what comes after it is too late.
TEST(LateWrites, OfBeforeTheMembersWereAskedAnewAreRefused) {
  bool refused = false;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Scenario s({.nodes = 4, .copies = 4, .late_resume = true, .seed = seed});
    const std::uint32_t leader = s.leader();
    const std::uint32_t owner = (leader + 1) % 4;
    const std::uint32_t cut_off = (leader + 2) % 4;
    const std::uint32_t full = (leader + 3) % 4;
    ASSERT_EQ(s.write(owner, 0, 1024), Answer::ok);
    s.partition({owner}, {cut_off});
    const auto stuck = s.ask(OpClass::write, owner, 0, 8);
    // more than the path takes at once: part of it stays with the owner, which notices that nothing moves
    s.ask(OpClass::write, owner, 8, 1016);
    s.run(milliseconds(50));
    s.fill_disk_to_reserve(full);
    s.ask(OpClass::write, owner, 2048, 64);
    s.run(4 * s.lease_end());
    s.heal_network();
    s.run(seconds(8));
    refused |= s.came_by(Probe::request_fenced);
    s.empty_disk(full);
    EXPECT_EQ(s.wait(stuck), Answer::ok) << "seed " << seed << s.trouble();
    EXPECT_EQ(s.settle(), "") << "seed " << seed;
  }
  EXPECT_TRUE(refused) << "no write came after the question";
}

TEST(Clocks, AJumpOfOneThatDoesNotLeadOnlyEndsItsLease) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 2));
  for (std::uint32_t node = 0; node < 3; ++node) {
    if (s.leader() == node) continue;
    s.jump_clock(node, seconds(100));
    EXPECT_EQ(s.write(node, 0, 8), Answer::ok);
  }
  EXPECT_EQ(s.settle(), "");
}

TEST(Clocks, AProcessThatDidNotRunForLongerThanItsLeaseServesNothingOfBefore) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(who, 2));
    ASSERT_EQ(s.owner(), who);
    s.ask(OpClass::write, who, 0, 8);
    s.ask(OpClass::read, who, 0, 8);
    s.pause(who, seconds(5));
    EXPECT_EQ(s.write((who + 1) % 3, 0, 8), Answer::ok);
    s.run(seconds(5));
    EXPECT_EQ(s.settle(), "");
  }
}

}  // namespace
}  // namespace sd::sim
