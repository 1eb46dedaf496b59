// Disks as the operator knows them: made, listed and deleted everywhere or nowhere, and gone for good once they are.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

Vid vid_of(const Scenario& s, std::uint32_t node, const std::string& name) {
  const cluster::Vdi* found = s.state(node).find(name);
  return found ? found->vid : 0;
}

TEST(Operator, WhatOneNodeIsToldAllKnow) {
  Scenario s({.nodes = 5, .copies = 3});
  ASSERT_EQ(s.create_disk("made", 4), "");
  s.run(seconds(1));
  for (std::uint32_t node = 0; node < 5; ++node) {
    EXPECT_NE(vid_of(s, node, "made"), 0u);
    EXPECT_EQ(vid_of(s, node, "made"), vid_of(s, 0, "made"));
    EXPECT_EQ(s.state(node).members.size(), 5u);
    EXPECT_EQ(s.state(node).copies, 3);
    EXPECT_EQ(s.state(node).epoch(), s.state(0).epoch());
  }
  EXPECT_NE(s.create_disk("made", 1), "") << "a name is given once";
  EXPECT_EQ(s.settle(), "");
}

// Its owner is the last to hear of it.
TEST(GrownDisk, IsAsItWasForOpenSessionsAndWholeForNewOnes) {
  Scenario s({.nodes = 3, .copies = 3, .objects = 2});
  const std::uint32_t leader = s.leader(), owner = (leader + 1) % 3, other = (leader + 2) % 3;
  ASSERT_TRUE(s.write_all(owner, 2));
  ASSERT_EQ(s.owner(), owner);
  EXPECT_NE(s.grow_disk(0, 1, leader), "") << "it does not shrink";
  s.one_way({leader}, {owner});
  ASSERT_EQ(s.grow_disk(0, 5, leader), "");
  ASSERT_TRUE(
      s.until([&] { return s.state(other).find(std::string_view("vol0"))->objects() == 5; }, milliseconds(300)));
  const auto asked = s.ask(OpClass::write, other, 4 * Scenario::object, 8);
  ASSERT_TRUE(s.until([&] { return s.came_by(Probe::forward_behind_end); }, milliseconds(300)));
  EXPECT_EQ(s.answer(asked), Answer::pending) << "nobody is refused what he was told of";
  s.heal_network();
  EXPECT_EQ(s.wait(asked), Answer::ok);
  EXPECT_EQ(s.write(owner, 3 * Scenario::object, 8), Answer::error) << "this session was told of a smaller disk";
  EXPECT_EQ(s.write(owner, 0, 8), Answer::ok) << "and goes on";
  s.reconnect(owner);
  EXPECT_EQ(s.read(owner, 4 * Scenario::object - 8, 16), Answer::ok);
  EXPECT_EQ(s.settle(), "");
}

TEST(DeletedDisk, LeavesNoObjectBehind) {
  Scenario s({.nodes = 3, .copies = 3, .vdis = 2});
  ASSERT_TRUE(s.write_all(0, 8, 0));
  ASSERT_TRUE(s.write_all(0, 8, 1));
  const Vid vid = vid_of(s, 0, "vol1");
  ASSERT_EQ(s.delete_disk("vol1"), "");
  ASSERT_TRUE(s.until([&] { return s.state(0).find(vid) == nullptr; }));
  for (std::uint32_t node = 0; node < 3; ++node) EXPECT_EQ(s.objects_on(node, vid), 0u);
  EXPECT_TRUE(s.read_all(1, 0)) << s.trouble();
}

TEST(DeletedDisk, AndANewOneOfTheSameNameReadsAsZeros) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 8));
  ASSERT_EQ(s.flush(0), Answer::ok);
  ASSERT_EQ(s.delete_disk("vol0", 1), "");
  ASSERT_EQ(s.create_disk("vol0", 2), "");
  s.use_disk(0, "vol0");
  for (std::uint32_t node = 0; node < 3; ++node) EXPECT_TRUE(s.read_all(node)) << s.trouble();
  ASSERT_TRUE(s.write_all(1, 4));
  EXPECT_EQ(s.settle(), "");
}

// A member that was away while a disk was deleted (and made anew under its name) brings nothing of it back.
TEST(DeletedDisk, StaysDeletedWhenAMemberThatWasAwayReturns) {
  for (std::uint32_t away = 0; away < 3; ++away)
    for (const bool again : {false, true}) {
      Scenario s({.nodes = 3, .copies = 3, .vdis = 1});
      ASSERT_TRUE(s.write_all(0, 8));
      ASSERT_EQ(s.flush(0), Answer::ok);
      s.cut_power({away});
      s.run(s.lease_end() * 2);
      const std::uint32_t here = (away + 1) % 3;
      ASSERT_EQ(s.delete_disk("vol0", here), "");
      ASSERT_TRUE(s.until([&] { return vid_of(s, here, "vol0") == 0; }));
      if (again) {
        ASSERT_EQ(s.create_disk("vol0", here), "");
        s.use_disk(0, "vol0");
        ASSERT_EQ(s.read(here, 0, 8), Answer::ok);
        ASSERT_EQ(s.write(here, 3 * Scenario::object, 4), Answer::ok);
      }
      s.run(seconds(5));
      s.start({away});
      ASSERT_TRUE(s.until([&] { return s.serves(away); })) << s.trouble();
      s.run(seconds(5));
      if (again) {
        EXPECT_TRUE(s.read_all(away)) << "node " << away << s.trouble();
        EXPECT_EQ(s.settle(), "") << "node " << away;
      } else {
        EXPECT_EQ(vid_of(s, away, "vol0"), 0u);
      }
    }
}

TEST(DeletedDisk, InUseGivesErrorsAndNoOtherDisksData) {
  Scenario s({.nodes = 3, .copies = 3, .vdis = 2, .op_timeout = seconds(5)});
  ASSERT_TRUE(s.write_all(0, 4, 0));
  ASSERT_TRUE(s.write_all(0, 4, 1));
  for (std::uint32_t i = 0; i < 4; ++i) s.ask(OpClass::write, 1, i * Scenario::object, 8, 1);
  ASSERT_EQ(s.delete_disk("vol1"), "");
  const auto after = s.ask(OpClass::read, 1, 0, 8, 1);
  s.run(seconds(10));
  EXPECT_NE(s.answer(after), Answer::ok);
  EXPECT_TRUE(s.read_all(2, 0)) << s.trouble();
}

// In the middle of a deletion nodes die, one after each number of effects: it is taken up again, and ends.
TEST(DeletedDisk, GoesAlthoughNodesDieOverIt) {
  for (std::uint32_t effects = 0; effects < 30; effects += 3) {
    Scenario s({.nodes = 3, .copies = 3, .vdis = 2});
    ASSERT_TRUE(s.write_all(0, 8, 0));
    ASSERT_TRUE(s.write_all(0, 8, 1));
    const Vid vid = vid_of(s, 0, "vol1");
    const std::uint32_t who = effects / 3 % 3;
    ASSERT_EQ(s.delete_disk("vol1", (who + 1) % 3), "");
    s.kill_after(who, effects);
    s.run(seconds(2));
    s.start({who});
    EXPECT_TRUE(s.until([&] { return s.serves(0) && s.state(0).find(vid) == nullptr; })) << s.trouble();
    for (std::uint32_t node = 0; node < 3; ++node)
      EXPECT_EQ(s.objects_on(node, vid), 0u) << "node " << node << ", after " << effects << " effects";
  }
}

}  // namespace
}  // namespace sd::sim
