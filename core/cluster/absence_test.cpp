// Members that are away: their place is kept, then given to others, or not at all.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/cluster/placement.hpp"

namespace sd::cluster {
namespace {

class Absence : public testing::Test {
 protected:
  State state;
  std::uint64_t index = 0;

  Result run(CommandBody body) { return state.apply(++index, {0, 1, 0, std::move(body)}); }
  void join(NodeId id, Incarnation incarnation = 1, NodeId at = 0) {
    Member m;
    m.id = id;
    m.incarnation = incarnation;
    m.address.port = static_cast<std::uint16_t>(at == 0 ? id : at);
    m.zone = static_cast<std::uint32_t>(id);
    m.vnodes = 64;
    EXPECT_EQ(run(Join{m, incarnation - 1}).status, Status::ok);
  }
  void cluster(NodeId nodes, std::uint8_t copies) {
    for (NodeId id = 1; id <= nodes; ++id) join(id);
    ASSERT_EQ(run(Format{1, copies, false}).status, Status::ok);
    ASSERT_EQ(run(MarkClean{state.epoch()}).status, Status::ok);
  }
  std::vector<NodeId> acting(std::uint32_t object, std::size_t copies) const {
    const ActingSet members = Placement(state).acting(Oid::data(7, object), copies);
    return {members.begin(), members.end()};
  }
};

TEST_F(Absence, MovesNothingDuringTheGraceTime) {
  cluster(5, 2);
  std::vector<std::vector<NodeId>> before;
  for (std::uint32_t i = 0; i < 200; ++i) before.push_back(acting(i, 2));
  run(Remove{3, 1, false});
  for (std::uint32_t i = 0; i < 200; ++i) {
    std::vector<NodeId> rest = before[i];
    std::erase(rest, NodeId{3});
    EXPECT_EQ(acting(i, 2), rest) << "the others go on, and nobody takes its place";
  }
  join(3, 2);
  for (std::uint32_t i = 0; i < 200; ++i) EXPECT_EQ(acting(i, 2), before[i]);
}

TEST_F(Absence, GivesItsShareToOthersWhenTheGraceIsOver) {
  cluster(5, 2);
  run(Remove{3, 1, false});
  EXPECT_EQ(run(Expel{3, 2}).status, Status::stale) << "of another incarnation";
  const Epoch before = state.epoch();
  EXPECT_EQ(run(Expel{3, 1}).status, Status::ok);
  EXPECT_EQ(state.epoch(), before + 1);
  EXPECT_EQ(run(Expel{3, 1}).status, Status::stale) << "once";
  for (std::uint32_t i = 0; i < 200; ++i) EXPECT_EQ(acting(i, 2).size(), 2u);
  join(3, 2);
  EXPECT_EQ(run(Expel{3, 2}).status, Status::stale) << "it is back";
}

TEST_F(Absence, ANewMemberAtItsAddressTakesItsShareAtOnceAndItsPlaceWhenAllIsCopied) {
  cluster(3, 3);
  run(Remove{3, 1, false});
  join(4, 1, 3);
  for (std::uint32_t i = 0; i < 200; ++i)
    EXPECT_EQ(acting(i, 3).size(), 3u) << "no slot is kept for a disk that is gone";
  EXPECT_EQ(run(Forget{3, 1}).status, Status::stale) << "it may hold what is not copied yet";
  EXPECT_EQ(run(MarkClean{state.epoch()}).status, Status::ok);
  EXPECT_EQ(run(Forget{3, 2}).status, Status::stale) << "of another incarnation";
  EXPECT_EQ(run(Forget{3, 1}).status, Status::ok);
  EXPECT_EQ(state.member(3), nullptr);
  EXPECT_EQ(run(Forget{4, 1}).status, Status::stale) << "it is up";
}

TEST_F(Absence, AKnownMemberThatMovedToTheAddressOfAnotherTakesNothingFromIt) {
  cluster(4, 3);
  run(Remove{3, 1, false});
  run(Remove{4, 1, false});
  join(4, 2, 3);
  EXPECT_TRUE(state.member(3)->placed);
  run(MarkClean{state.epoch()});
  EXPECT_EQ(run(Forget{3, 1}).status, Status::stale);
}

TEST_F(Absence, ADrainedMemberThatIsDownLeavesTheList) {
  cluster(4, 3);
  run(Drain{2, true});
  EXPECT_EQ(run(Forget{2, 1}).status, Status::stale) << "it is up";
  run(Remove{2, 1, true});
  EXPECT_EQ(run(Forget{2, 1}).status, Status::stale) << "others have yet to copy its share";
  run(MarkClean{state.epoch()});
  EXPECT_EQ(run(Forget{2, 1}).status, Status::ok);
  join(2, 2);
  EXPECT_FALSE(state.member(2)->draining) << "who comes back is new";
}

TEST_F(Absence, AMemberThatHasNoShareAnyMoreCanBeTakenAwayHoweverFewAreLeft) {
  cluster(3, 3);
  run(Remove{3, 1, false});
  EXPECT_EQ(run(Drain{3, true}).status, Status::not_enough_nodes)
      << "its share is kept for it, and has nowhere else to go";
  run(Expel{3, 1});
  EXPECT_EQ(run(Drain{3, true}).status, Status::ok);
  run(MarkClean{state.epoch()});
  EXPECT_EQ(run(Forget{3, 1}).status, Status::ok);
}

TEST_F(Absence, WithoutGraceDataMovesAtOnce) {
  cluster(5, 2);
  EXPECT_EQ(state.grace_ms, 600'000u);
  run(SetGrace{0});
  run(Remove{3, 1, false});
  for (std::uint32_t i = 0; i < 200; ++i) EXPECT_EQ(acting(i, 2).size(), 2u);
}

TEST_F(Absence, ADrainedMemberServesOnWithoutAShare) {
  cluster(4, 3);
  EXPECT_EQ(run(Drain{9, true}).status, Status::not_found);
  EXPECT_EQ(run(Drain{2, true}).status, Status::ok);
  EXPECT_TRUE(state.is_up(2, 1));
  EXPECT_FALSE(state.is_drained(2)) << "others have yet to copy its share";
  for (std::uint32_t i = 0; i < 200; ++i) {
    const std::vector<NodeId> members = acting(i, 3);
    EXPECT_EQ(members.size(), 3u);
    EXPECT_EQ(std::find(members.begin(), members.end(), NodeId{2}), members.end());
  }
  run(MarkClean{state.epoch()});
  EXPECT_TRUE(state.is_drained(2));
  join(2, 2);
  run(MarkClean{state.epoch()});
  EXPECT_TRUE(state.is_drained(2)) << "a restart changes nothing about that";
  EXPECT_EQ(run(Drain{1, true}).status, Status::not_enough_nodes) << "three copies need three others";
  EXPECT_EQ(run(Drain{2, false}).status, Status::ok);
  EXPECT_FALSE(state.is_drained(2));
}

TEST_F(Absence, AMemberIsMissedIfItMayHoldWhatNobodyElseHas) {
  cluster(3, 3);
  run(Remove{1, 1, true});
  run(Remove{2, 1, true});
  run(MarkClean{state.epoch()});  // 3 went on alone
  join(1, 2);
  EXPECT_TRUE(state.missing().empty()) << "as far as the log knows, 3 is there";
  run(Remove{3, 1, false});
  EXPECT_EQ(state.missing(), std::vector<NodeId>{3});
  join(3, 2);
  EXPECT_TRUE(state.missing().empty());
}

TEST_F(Absence, OneOfManyIsNotMissed) {
  cluster(3, 3);
  run(Remove{3, 1, false});
  EXPECT_TRUE(state.missing().empty()) << "1 and 2 hold all that was acknowledged";
}

TEST_F(Absence, WhatIsGivenUpIsNotMissed) {
  cluster(3, 3);
  run(Remove{1, 1, true});
  run(Remove{2, 1, true});
  join(1, 2);
  run(Remove{3, 1, false});
  ASSERT_FALSE(state.missing().empty());
  run(GiveUp{});
  EXPECT_TRUE(state.missing().empty());
  EXPECT_FALSE(state.member(3)->placed);
  const Placement placement(state);
  bool marked = false;
  for (const auto& period : placement.periods()) marked = marked || period.given_up(3);
  EXPECT_TRUE(marked) << "the history still says who held what, so that it is not mistaken for nothing";
  EXPECT_FALSE(placement.current().given_up(1));
}

}  // namespace
}  // namespace sd::cluster
