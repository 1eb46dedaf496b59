#include "core/cluster/state.hpp"

#include <gtest/gtest.h>

#include "core/cluster/placement.hpp"

namespace sd::cluster {
namespace {

class ClusterState : public testing::Test {
 protected:
  State state;
  std::uint64_t index = 0;

  Result run(CommandBody body, NodeId proposer = 0, std::uint64_t number = 0) {
    return state.apply(++index, {proposer, 1, number, std::move(body)});
  }
  Member node(NodeId id, Incarnation incarnation = 1) {
    Member m;
    m.id = id;
    m.incarnation = incarnation;
    m.address = Endpoint::v4(127, 0, 0, 1, static_cast<std::uint16_t>(7000 + 2 * id));
    m.zone = static_cast<std::uint32_t>(id);
    m.vnodes = 128;
    return m;
  }
  void three_nodes() {
    for (NodeId id = 1; id <= 3; ++id) run(Join{node(id)});
  }
  std::string bytes(const State& s) {
    std::string out;
    s.encode(out);
    return out;
  }
};

TEST_F(ClusterState, EachChangeOfTheRingIsOneEpoch) {
  three_nodes();
  EXPECT_EQ(state.epoch(), 3u);
  run(Join{node(2)});  // nothing new
  EXPECT_EQ(state.epoch(), 3u);
  EXPECT_EQ(run(Join{node(2, 2)}).status, Status::stale);  // on a disk that knows nothing of its last incarnation
  run(Join{node(2, 2), 1});                                // restarted
  EXPECT_EQ(state.epoch(), 4u);
  EXPECT_EQ(run(Join{node(2, 1)}).status, Status::stale);     // asked for before it restarted
  EXPECT_EQ(run(Remove{2, 1, false}).status, Status::stale);  // of an incarnation that is over
  EXPECT_EQ(state.epoch(), 4u);
  run(Remove{2, 2, false});
  EXPECT_EQ(state.epoch(), 5u);
  EXPECT_EQ(state.epochs.back().members.size(), 2u);  // not formatted: it has no share that could be kept
}

// Bytes from outside may say anything; the code behind looks at the newest epoch of a cluster with members.
TEST_F(ClusterState, AStateWhoseEpochsCannotBeIsNotDecoded) {
  three_nodes();
  EXPECT_TRUE(State::decode(bytes(State{})));
  EXPECT_TRUE(State::decode(bytes(state)));
  State none = state;
  none.epochs.clear();
  EXPECT_FALSE(State::decode(bytes(none)));
  State twice = state;
  twice.epochs.push_back(twice.epochs.back());
  EXPECT_FALSE(State::decode(bytes(twice)));
  State back = twice;
  back.epochs.back().epoch += 1;
  EXPECT_TRUE(State::decode(bytes(back)));
  back.epochs.back().log_index -= 1;
  EXPECT_FALSE(State::decode(bytes(back)));
}

// What is applied has to be readable at the next start, or no node ever starts again.
TEST_F(ClusterState, WhateverIsAppliedCanBeDecodedAtTheLimitsToo) {
  three_nodes();
  run(Format{1, 1, false});
  std::size_t refused = 0;
  for (std::size_t i = 0; i < limits::max_epochs; ++i) refused += run(Drain{3, i % 2 == 0}).status == Status::busy;
  EXPECT_GT(refused, 0u);
  EXPECT_LE(state.epochs.size(), limits::max_epochs);
  // A member that flaps is let in for longer; then only losses count, until nothing does.
  Incarnation incarnation = 1;
  Status joined = Status::ok, removed = Status::ok;
  while (joined == Status::ok) {
    removed = run(Remove{2, incarnation, false}).status;
    EXPECT_EQ(removed, Status::ok);
    joined = run(Join{node(2, incarnation + 1), incarnation}).status;
    ++incarnation;
  }
  EXPECT_EQ(joined, Status::busy);
  EXPECT_EQ(run(Remove{1, 1, false}).status, Status::ok);
  EXPECT_LE(state.epochs.size(), limits::max_epochs);
  const auto copy = State::decode(bytes(state));
  ASSERT_TRUE(copy);
  EXPECT_EQ(bytes(*copy), bytes(state));
  EXPECT_EQ(run(MarkClean{state.epoch()}).status, Status::ok);
  EXPECT_EQ(run(Drain{3, !state.member(3)->draining}).status, Status::ok);
}

TEST_F(ClusterState, OnlySoManyProposersAreRemembered) {
  three_nodes();
  for (NodeId proposer = 1; proposer < 2 * limits::max_proposers; ++proposer)
    run(SetGrace{static_cast<std::uint32_t>(proposer)}, proposer, 1);
  EXPECT_EQ(state.grace_ms, limits::max_proposers);  // the others were refused
  EXPECT_TRUE(State::decode(bytes(state)));
}

TEST_F(ClusterState, FormatNeedsAZoneForEachCopy) {
  three_nodes();
  EXPECT_EQ(run(Format{99, 4, false}).status, Status::not_enough_nodes);
  EXPECT_FALSE(state.formatted);
  EXPECT_EQ(run(Format{99, 3, false}).status, Status::ok);
  EXPECT_EQ(run(Format{100, 3, false}).status, Status::exists);
  EXPECT_EQ(state.uuid, 99u);
}

TEST_F(ClusterState, AVdiTakesTheNextFreeNumberAndANameIsTakenOnce) {
  three_nodes();
  EXPECT_EQ(run(CreateVdi{"test", 1 << 20, 0}).status, Status::not_formatted);
  run(Format{1, 3, false});
  EXPECT_EQ(run(CreateVdi{"test", 1 << 20, 0}).vid, 0x7c2b25u);
  EXPECT_EQ(run(CreateVdi{"test", 1 << 20, 0}).status, Status::exists);
  const DiskId disk = state.find(Vid{0x7c2b25})->disk();
  EXPECT_EQ(run(ResizeVdi{disk, 2 << 20}).status, Status::ok);
  EXPECT_EQ(run(ResizeVdi{disk, 1 << 20}).status, Status::invalid) << "a disk only grows";
  EXPECT_EQ(state.find(Vid{0x7c2b25})->size, 2u << 20);
  run(DeleteVdi{disk});
  EXPECT_EQ(run(ResizeVdi{disk, 4 << 20}).status, Status::not_found);
  // The number stays taken until the old disk's objects are gone.
  EXPECT_EQ(run(CreateVdi{"test", 1 << 20, 0}).vid, 0x7c2b26u);
  EXPECT_EQ(run(CreateVdi{std::string(256, 'x'), 1 << 20, 0}).status, Status::invalid);
  EXPECT_EQ(run(CreateVdi{"", 1 << 20, 0}).status, Status::invalid);
  EXPECT_EQ(run(CreateVdi{"a\xe2\x80\xae", 1 << 20, 0}).status, Status::invalid) << "whoever proposes it";
  EXPECT_EQ(run(CreateVdi{"zero", 0, 0}).status, Status::invalid);
  EXPECT_EQ(run(CreateVdi{"odd", 1000, 0}).status, Status::invalid);
  EXPECT_EQ(run(CreateVdi{"huge", limits::max_vdi_size + 512, 0}).status, Status::invalid);
}

// An operator who got no answer asks another node. What the first one asked for may come a while later.
TEST_F(ClusterState, WhatWasMeantForADeletedDiskDoesNothingToTheNextOfItsNumber) {
  three_nodes();
  run(Format{1, 3, false});
  const Vid vid = run(CreateVdi{"test", 1 << 20, 0}).vid;
  const DiskId old = state.find(vid)->disk();
  run(DeleteVdi{old});
  run(PurgeVdi{old});
  ASSERT_EQ(run(CreateVdi{"test", 1 << 20, 0}).vid, vid);
  EXPECT_EQ(run(DeleteVdi{old}).status, Status::not_found);
  EXPECT_EQ(run(ResizeVdi{old, 2 << 20}).status, Status::not_found);
  EXPECT_FALSE(state.find(vid)->deleting);
  EXPECT_EQ(state.find(vid)->size, 1u << 20);
  run(DeleteVdi{state.find(vid)->disk()});
  EXPECT_EQ(run(PurgeVdi{old}).status, Status::not_found) << "its objects are still there";
  EXPECT_TRUE(state.find(vid)->deleting);
}

TEST_F(ClusterState, ACommandTakesEffectOnce) {
  three_nodes();
  run(Format{1, 3, false});
  const Result first = run(CreateVdi{"a", 512, 0}, 1, 5);
  EXPECT_EQ(first.status, Status::ok);
  const Result again = run(CreateVdi{"a", 512, 0}, 1, 5);
  EXPECT_EQ(again.status, Status::ok);
  EXPECT_EQ(again.vid, first.vid);
  EXPECT_EQ(state.outcome(1, 1, 5)->vid, first.vid);
  EXPECT_FALSE(state.outcome(1, 2, 5));
}

TEST_F(ClusterState, AnOwnerKeepsItsDiskWhileItIsUp) {
  three_nodes();
  run(Format{1, 3, false});
  const Vid vid = run(CreateVdi{"a", 512, 0}).vid;
  EXPECT_EQ(run(TakeOwnership{vid, 1, 1, 0}).status, Status::ok);
  const auto first = state.generation(vid);
  EXPECT_EQ(run(TakeOwnership{vid, 2, 1, state.find(vid)->owner_index}).status, Status::exists);
  run(Remove{1, 1, false});
  const auto second = state.generation(vid);
  EXPECT_GT(second, first);  // a new epoch fences the old one
  EXPECT_EQ(run(TakeOwnership{vid, 2, 1, 0}).status, Status::stale);
  EXPECT_EQ(run(TakeOwnership{vid, 2, 1, state.find(vid)->owner_index}).status, Status::ok);
  EXPECT_GT(state.generation(vid), second);
  EXPECT_EQ(run(TakeOwnership{vid, 1, 1, state.find(vid)->owner_index}).status, Status::stale);  // not up
}

TEST_F(ClusterState, MembersThatAreRemovedTogetherLeaveNoEpochInBetween) {
  three_nodes();
  run(Format{1, 3, false});
  const Epoch before = state.epoch();
  EXPECT_EQ(run(Remove{1, 1, false, {{2, 1}, {3, 7}}}).status, Status::ok);
  EXPECT_EQ(state.epoch(), before + 1);
  EXPECT_FALSE(state.is_up(1, 1));
  EXPECT_FALSE(state.is_up(2, 1));
  EXPECT_TRUE(state.is_up(3, 1)) << "that was another incarnation of it";
  EXPECT_EQ(run(Remove{1, 1, false, {{2, 1}}}).status, Status::stale);
  EXPECT_EQ(run(Remove{1, 1, false, {{3, 1}}}).status, Status::ok) << "one of them is up yet";
}

TEST_F(ClusterState, HistoryIsKeptUntilTheEpochIsClean) {
  three_nodes();
  run(Format{1, 3, false});
  run(Remove{3, 1, false});
  run(Join{node(3, 2), 1});
  EXPECT_EQ(state.epochs.size(), 3u);
  EXPECT_EQ(Placement(state).periods().size(), 3u);
  EXPECT_EQ(run(MarkClean{state.epoch() - 1}).status, Status::stale);
  EXPECT_EQ(run(MarkClean{state.epoch()}).status, Status::ok);
  EXPECT_EQ(state.epochs.size(), 1u);
}

TEST_F(ClusterState, TheSameLogGivesTheSameBytesAndASnapshotGivesThemBack) {
  three_nodes();
  run(Format{1, 3, false});
  run(CreateVdi{"a", 512, 2}, 2, 1);
  run(TakeOwnership{state.find("a")->vid, 3, 1, 0});
  const auto copy = State::decode(bytes(state));
  ASSERT_TRUE(copy);
  EXPECT_EQ(bytes(*copy), bytes(state));
  for (std::size_t cut = 0; cut < bytes(state).size(); ++cut)
    EXPECT_FALSE(State::decode(bytes(state).substr(0, cut))) << cut;
}

TEST_F(ClusterState, EveryCommandSurvivesItsEncoding) {
  const CommandBody bodies[] = {Format{1, 2, true},
                                Join{node(4), 3},
                                Remove{1, 2, true},
                                Remove{1, 2, false, {{3, 4}, {5, 6}}},
                                CreateVdi{"x", 512, 3},
                                DeleteVdi{{7, 1}},
                                PurgeVdi{{8, 2}},
                                ResizeVdi{{9, 3}, 1024},
                                TakeOwnership{1, 2, 3, 4},
                                MarkClean{5},
                                Shutdown{},
                                SetGrace{7},
                                Expel{8, 9},
                                Drain{10, true},
                                GiveUp{},
                                SwitchRecovery{true},
                                Forget{11, 12},
                                SetThrottle{{13, 14}}};
  for (const auto& body : bodies) {
    std::string encoded, again;
    encode({1, 2, 3, body}, encoded);
    const auto command = decode_command(encoded);
    ASSERT_TRUE(command) << body.index();
    EXPECT_EQ(command->body.index(), body.index());
    encode(*command, again);
    EXPECT_EQ(again, encoded);
    EXPECT_FALSE(decode_command(encoded.substr(0, encoded.size() - 1)));
    EXPECT_FALSE(decode_command(encoded + "x"));
  }
}

}  // namespace
}  // namespace sd::cluster
