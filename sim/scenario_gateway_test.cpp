// Gateways: several for one disk, and what becomes of a write when one dies in the middle of it.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

// The gateway dies after each single effect of a write in turn: the write then happened on every copy or on none, and
// reads agree.
void die_in_mid_write(std::uint32_t gateway, bool power) {
  for (std::uint32_t effects = 0; effects < 24; ++effects) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 2));
    ASSERT_EQ(s.read(1, 0, 8), Answer::ok);
    s.kill_after(gateway, effects, power);
    s.ask(OpClass::write, gateway, 0, 16);
    s.ask(OpClass::write, gateway, Scenario::object - 4, 8);  // over a boundary: two objects
    s.run(milliseconds(60));
    ASSERT_FALSE(s.machine(gateway).running());
    const std::uint32_t other = gateway == 1 ? 2 : 1;
    EXPECT_EQ(s.read(other, 0, 16), Answer::ok);
    EXPECT_EQ(s.read(3 - gateway - other, 0, 16), Answer::ok);
    EXPECT_EQ(s.settle(), "") << "after " << effects << " effects";
  }
}
TEST(GatewayDeath, OfTheOwnerInMidWriteLeavesEqualCopies) { die_in_mid_write(0, false); }
TEST(GatewayDeath, OfAnotherGatewayInMidWriteLeavesEqualCopies) { die_in_mid_write(1, false); }
TEST(GatewayDeath, WithItsPowerInMidWriteLeavesEqualCopies) { die_in_mid_write(0, true); }

// The first write of an object also names it in the index; no crash point may leave one without the other in sight.
TEST(GatewayDeath, InAFirstWriteNeverShowsHalfOfIt) {
  for (std::uint32_t effects = 0; effects < 24; ++effects) {
    Scenario s({.nodes = 3, .copies = 2});
    ASSERT_EQ(s.read(0, 0, 8), Answer::ok);
    s.kill_after(0, effects);
    const auto first = s.ask(OpClass::write, 0, 3 * Scenario::object, 8);
    s.run(milliseconds(60));
    EXPECT_EQ(s.read(1, 3 * Scenario::object, 8), Answer::ok);
    EXPECT_EQ(s.read(2, 3 * Scenario::object, 8), Answer::ok);
    s.start({0});
    (void)first;
    EXPECT_EQ(s.settle(), "") << "after " << effects << " effects";
  }
}

TEST(Gateways, TwoThatWriteOneDiskDoNotUndoEachOther) {
  Scenario s({.nodes = 3, .copies = 3});
  for (std::uint32_t round = 0; round < 40; ++round) {
    for (std::uint32_t node = 0; node < 3; ++node) {
      s.ask(OpClass::write, node, round % 5, 4);  // the same sectors, and
      // neighbours inside one block: each read, changed and written back
      s.ask(OpClass::write, node, 16 + node * 2, 2);
      s.ask(OpClass::read, node, 0, 32);
    }
    s.run(microseconds(700));
  }
  EXPECT_EQ(s.settle(), "");
}

TEST(Gateways, AnOwnersDeathUnlocksItsDiskWithoutAnOperator) {
  for (std::uint32_t victim = 0; victim < 3; ++victim) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(victim, 2));
    ASSERT_EQ(s.owner(), victim);
    s.cut_power({victim});
    EXPECT_EQ(s.write((victim + 1) % 3, 0, 8), Answer::ok);
    EXPECT_EQ(s.owner(), (victim + 1) % 3);
    EXPECT_EQ(s.settle(), "");
  }
}

// A write forwarded to an owner that dies is repeated to the next one, and takes effect once although the first may
// have carried it out.
TEST(Gateways, AForwardedWriteHappensOnceWhenItsOwnerDies) {
  for (std::uint32_t effects = 0; effects < 24; ++effects) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 1));
    ASSERT_EQ(s.read(1, 0, 8), Answer::ok);
    s.kill_after(0, effects);
    const auto forwarded = s.ask(OpClass::write, 1, 0, 8);
    s.run(milliseconds(60));
    EXPECT_EQ(s.write(2, 0, 4), Answer::ok);
    EXPECT_EQ(s.wait(forwarded), Answer::ok);
    EXPECT_EQ(s.read(2, 0, 8), Answer::ok);
    EXPECT_EQ(s.settle(), "") << "after " << effects << " effects";
  }
}

TEST(Gateways, ANodeThatStoresNothingServesDisksAndMayDie) {
  Scenario s({.nodes = 4, .copies = 2, .gateways = 1});
  ASSERT_TRUE(s.write_all(3, 8));
  for (std::uint32_t i = 0; i < 8; ++i) s.ask(OpClass::write, 3, i * Scenario::object, 16);
  s.run(microseconds(300));
  s.kill({3});
  EXPECT_TRUE(s.read_all(0)) << s.trouble();
  EXPECT_EQ(s.settle(), "");
}

// Gray failure: one machine's disk, or links, a thousand times slower than usual. Disks whose data lie elsewhere do not
// notice.
TEST(GrayFailure, OfADiskLeavesOthersTheirSpeed) {
  Scenario s({.nodes = 4, .copies = 1, .vdis = 1});
  ASSERT_TRUE(s.write_all(0, 8));
  std::vector<std::uint32_t> elsewhere;
  for (std::uint32_t i = 0; i < 8; ++i)
    if (!s.holds(3, i)) elsewhere.push_back(i);
  ASSERT_GE(elsewhere.size(), 3u);
  s.disk(3).config.slow_factor = 1000;
  s.run(milliseconds(500));
  for (int round = 0; round < 20; ++round)
    for (const std::uint32_t i : elsewhere) {
      const Time began = s.now();
      ASSERT_EQ(s.wait(s.ask(OpClass::write, 0, i * Scenario::object, 8), seconds(10)), Answer::ok) << s.trouble();
      EXPECT_LT(s.now() - began, milliseconds(20)) << "object " << i;
    }
  EXPECT_EQ(s.settle(), "");
}

TEST(GrayFailure, OfLinksLeavesOthersTheirSpeed) {
  Scenario s({.nodes = 4, .copies = 1, .vdis = 1});
  ASSERT_TRUE(s.write_all(0, 8));
  s.slow_links(3, 1000);
  s.run(milliseconds(500));
  for (std::uint32_t i = 0; i < 8; ++i) {
    if (s.holds(3, i)) continue;
    const Time began = s.now();
    ASSERT_EQ(s.wait(s.ask(OpClass::read, 0, i * Scenario::object, 8), seconds(10)), Answer::ok) << s.trouble();
    EXPECT_LT(s.now() - began, milliseconds(20)) << "object " << i;
  }
  EXPECT_EQ(s.settle(), "");
}

// Megabytes wait for the path to one node, seconds of them; its lease is a second. Whoever it is, it lives and is
// heard.
TEST(GrayFailure, OfBandwidthCostsNobodyTheLease) {
  for (std::uint32_t role = 0; role < 3; ++role) {  // the leader, the owner, neither
    Scenario s({.nodes = 3, .copies = 3});
    const std::uint32_t leader = s.leader();
    const std::uint32_t owner = (leader + 1) % 3;
    ASSERT_TRUE(s.write_all(owner, 8));
    ASSERT_EQ(s.owner(), owner);
    const std::uint32_t narrow = (leader + role) % 3;
    s.narrow_links(narrow, 1000);
    std::vector<Scenario::Asked> asked;
    for (std::uint32_t i = 0; i < 96; ++i)
      asked.push_back(s.ask(OpClass::write, i % 3, i % 8 * Scenario::object + i / 8 * 128, 128));
    const Epoch epoch = s.state(leader).epoch();
    EXPECT_FALSE(s.until([&] { return s.serving() < 3 || s.state(leader).epoch() != epoch; }, seconds(6)))
        << "role " << role << s.troubles();
    for (const auto& each : asked) ASSERT_EQ(s.wait(each), Answer::ok) << "role " << role << s.trouble();
    EXPECT_EQ(s.state(leader).epoch(), epoch) << "role " << role;
    EXPECT_EQ(s.settle(), "") << "role " << role;
  }
}

}  // namespace
}  // namespace sd::sim
