// Promises that small mistakes in the machines broke without any other test noticing: each of these fails for one.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

TEST(Promises, AFlushOfANewOwnerCoversTheWritesOfTheOldOne) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Scenario s({.nodes = 3, .copies = 3, .seed = seed});
    EXPECT_TRUE(s.write_all(0, 1));
    const std::uint32_t owner = s.owner();
    const std::uint32_t other = s.leader() == owner ? (owner + 1) % 3 : s.leader();
    EXPECT_EQ(s.flush(owner), Answer::ok);
    s.run(seconds(1));
    EXPECT_EQ(s.write(owner, 0, 8), Answer::ok);
    s.kill({owner});
    EXPECT_EQ(s.flush(other), Answer::ok);
    s.power_off_all();
    s.run(milliseconds(100));
    EXPECT_EQ(s.settle(), "");
  }
}

TEST(Promises, AWriteIsKnownToAMemberThatPulledIt) {
  Scenario s({.nodes = 4, .copies = 2, .gateways = 1, .objects = 40});
  ASSERT_EQ(s.write(0, 0, 8), Answer::ok);
  const std::uint32_t a = s.owner();
  std::uint32_t object = 40, b = 0;
  for (std::uint32_t i = 0; i < 40 && object == 40; ++i)
    for (std::uint32_t n = 0; n < 3; ++n)
      if (n != a && s.holds(a, i) && s.holds(n, i) && s.leader() != a) {
        object = i;
        b = n;
      }
  if (object == 40) {
    for (std::uint32_t i = 0; i < 40 && object == 40; ++i)
      for (std::uint32_t n = 0; n < 3; ++n)
        if (n != a && s.holds(a, i) && s.holds(n, i)) {
          object = i;
          b = n;
        }
  }
  ASSERT_LT(object, 40u);
  const std::uint64_t at = object * Scenario::object;
  ASSERT_EQ(s.write(a, at, 8), Answer::ok);
  s.kill({b});
  ASSERT_EQ(s.write(a, at + 64, 8), Answer::ok);
  s.one_way({a}, {3});
  const auto w = s.ask(OpClass::write, 3, at, 8);
  s.run(milliseconds(300));
  ASSERT_EQ(s.read(a, at, 8), Answer::ok);   // W is seen
  ASSERT_EQ(s.write(a, at, 8), Answer::ok);  // and overwritten
  s.start({b});
  s.until([&] { return s.redundant(); }, seconds(30));
  ASSERT_EQ(s.answer(w), Answer::pending);
  s.kill({a});
  s.run(seconds(5));
  EXPECT_EQ(s.read(b, at, 8), Answer::ok);
  EXPECT_EQ(s.settle(), "");
}

TEST(Promises, AReadErrorOfOneMemberIsNotShown) {
  Scenario s({.nodes = 3, .copies = 3, .objects = 200});
  EXPECT_TRUE(s.write_all(0, 200));
  const std::uint32_t owner = s.owner();
  s.run(seconds(12));
  s.disk(owner).config.read_error_per_million = 1'000'000;
  EXPECT_EQ(s.read(owner, 0, 8), Answer::ok);
  EXPECT_EQ(s.read(owner, Scenario::object, 8), Answer::ok);
}

TEST(Promises, ATrimWithFuaIsDurable) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Scenario s({.nodes = 3, .copies = 3, .seed = seed});
    EXPECT_TRUE(s.write_all(0, 1));
    EXPECT_EQ(s.flush(0), Answer::ok);
    s.run(seconds(1));
    EXPECT_EQ(s.wait(s.ask(seed % 2 == 0 ? OpClass::fua_trim : OpClass::fua_zeroes, 0, 0, 8)), Answer::ok);
    s.power_off_all();
    s.run(milliseconds(100));
    EXPECT_EQ(s.settle(), "");
  }
}

TEST(Promises, NoLeaseWhileAnInheritedRemovalIsNotApplied) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Scenario s({.nodes = 5, .copies = 3, .seed = seed});
    s.run(seconds(3));
    const std::uint32_t leader = s.leader();
    const std::uint32_t owner = (leader + 1) % 5, a = (leader + 2) % 5, b = (leader + 3) % 5, c = (leader + 4) % 5;
    EXPECT_TRUE(s.write_all(owner, 2));
    if (s.owner() != owner) continue;
    s.partition({owner}, {leader, a, b, c});
    s.run(s.lease_end() - milliseconds(300));
    s.one_way({a, b, c}, {leader});
    const std::uint64_t last = s.status(leader).last_index;
    s.until([&] { return s.status(leader).last_index > last || s.leader() != leader; }, seconds(1));
    const std::uint64_t removal = s.status(leader).last_index;
    s.until(
        [&] {
          return s.status(a).last_index >= removal && s.status(b).last_index >= removal &&
                 s.status(c).last_index >= removal;
        },
        milliseconds(20));
    for (const std::uint32_t n : {a, b, c}) s.disk(n).config.sync_min = s.disk(n).config.sync_max = milliseconds(250);
    s.kill({leader});
    s.unblock({owner}, {a, b, c});
    s.unblock({a, b, c}, {owner});
    s.until([&] { return s.status(owner).has_lease; }, seconds(3));
    s.partition({owner}, {a, b, c});
    s.wait(s.ask(OpClass::write, a, 0, 8), seconds(20));
    EXPECT_EQ(s.trouble(), "") << seed;
    if (!s.trouble().empty()) break;
  }
}

TEST(Promises, ANewLeaderWaitsForTheLeasesThatTheOldOneGave) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Scenario s({.nodes = 5, .copies = 3, .lease = seconds(1), .lease_margin = milliseconds(100), .seed = seed});
    s.run(seconds(3));
    const std::uint32_t leader = s.leader();
    const std::uint32_t owner = (leader + 1) % 5, a = (leader + 2) % 5, b = (leader + 3) % 5, c = (leader + 4) % 5;
    EXPECT_TRUE(s.write_all(owner, 2));
    if (s.owner() != owner) continue;
    s.partition({leader, owner}, {a, b, c});
    const auto w = s.ask(OpClass::write, a, 0, 8);
    s.wait(w, seconds(10));
    EXPECT_EQ(s.trouble(), "") << seed;
    if (!s.trouble().empty()) break;
  }
}

TEST(Promises, AForwardedRequestThatComesLateIsNotTaken) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Scenario s({.nodes = 4, .copies = 2, .gateways = 1, .late_resume = true, .seed = seed});
    s.run(seconds(2));
    const std::uint32_t a = (s.leader() + 1) % 3;
    ASSERT_EQ(s.write(a, 0, 8), Answer::ok);
    if (s.owner() != a) continue;
    ASSERT_EQ(s.read(3, 0, 8), Answer::ok);
    s.one_way({3}, {a});
    const auto w = s.ask(OpClass::write, 3, 0, 8);
    s.ask(OpClass::write, 3, 8,
          1016);  // more than the path takes at once, so that the gateway notices that nothing moves
    s.run(milliseconds(3000) + milliseconds(100) * (seed % 10));
    s.heal_network();
    s.until([&] { return s.answer(w) != Answer::pending; }, seconds(20));
    if (s.answer(w) != Answer::ok) continue;
    ASSERT_EQ(s.read(3, 0, 8), Answer::ok);
    ASSERT_EQ(s.write(a, 0, 8), Answer::ok);
    s.run(seconds(8));
    EXPECT_EQ(s.read(a, 0, 8), Answer::ok);
    EXPECT_EQ(s.trouble(), "") << seed;
    if (!s.trouble().empty()) break;
  }
}

TEST(Promises, BlockStatusOfANewOwnerNamesTheData) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 2));
  const std::uint32_t owner = s.owner(), other = (owner + 1) % 3;
  ASSERT_EQ(s.read(other, 0, 8), Answer::ok);
  s.kill({owner});
  EXPECT_EQ(s.status_of(other, 0, 8192 * 2), "8388608 data");
}

TEST(Promises, BlockStatusOverTheEdgeOfAnObject) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_EQ(s.write(0, 8192, 8), Answer::ok);  // object 1 only
  EXPECT_EQ(s.status_of(0, 8192 - 8, 16), "4096 hole, 4096 data");
}

TEST(Promises, AConnectionToADeletedDiskNeverSeesTheNextOfItsNumber) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 2));
  const std::string name = s.state(0).vdis.begin()->second.name;
  const std::uint32_t vid = s.state(0).vdis.begin()->first;
  ASSERT_EQ(s.delete_disk(name, 0), "");
  ASSERT_TRUE(s.until([&] { return s.state(0).vdis.empty() && s.state(1).vdis.empty() && s.state(2).vdis.empty(); },
                      seconds(60)));
  ASSERT_EQ(s.create_disk(name, 0), "");
  s.run(seconds(1));
  ASSERT_EQ(s.state(0).vdis.begin()->first, vid);
  EXPECT_EQ(s.write(0, 0, 8), Answer::error);  // the guest is still connected to the disk that was deleted
}

}  // namespace
}  // namespace sd::sim
