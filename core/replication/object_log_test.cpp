// Each invariant of the objects at their owner is shown to bite, and their number is bounded.
#include "core/replication/object_log.hpp"

#include <gtest/gtest.h>

namespace sd::replication {
namespace {

class ObjectLogTest : public testing::Test, private OpOwner {
 protected:
  ObjectLogTest() {
    context.requests = &requests;
    context.notices = &notices;
  }
  void finish(std::uint64_t op, Status, Payload&&) override { context.ops.erase(op); }
  void restored(Oid) override {}
  std::uint64_t write_of(Object& object, Version previous, Version version) {
    Op op;
    op.kind = Op::Kind::write;
    op.object = &object;
    op.previous = previous;
    op.version = version;
    op.waiting_for.push_back(1);
    return context.ops.insert(std::move(op));
  }
  Object& ready_object(std::uint32_t index = 0) {
    Object& object = log.get(Oid::data(1, index));
    object.ready = true;
    object.acting.push_back(1);
    return object;
  }

  BufferPool pool;
  cluster::State state;
  cluster::Placement placement;
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;
  std::vector<std::string> notices;
  Context context{1, 1, pool, state, placement, Limits{2, 2}, *this};
  ObjectLog log{context};
};

TEST_F(ObjectLogTest, AReadyObjectHasMembers) {
  Object& object = ready_object();
  EXPECT_EQ(log.check_state(), "");
  object.acting.clear();
  EXPECT_EQ(log.check_state(), "a ready object has members");
}

TEST_F(ObjectLogTest, WritesUnderWayAreARunThatEndsInTheNewestVersion) {
  Object& object = ready_object();
  object.version = {1, 2};
  object.writes = {write_of(object, {1, 0}, {1, 1}), write_of(object, {1, 1}, {1, 2})};
  EXPECT_EQ(log.check_state(), "");
  object.version = {1, 3};
  EXPECT_EQ(log.check_state(), "the last write under way is the newest version");
  context.ops.find(object.writes.back())->previous = {1, 0};
  EXPECT_EQ(log.check_state(), "writes under way are a run of consecutive versions");
  object.ready = false;  // a write was refused, and the members are about to be asked
  EXPECT_EQ(log.check_state(), "");
  context.ops.erase(object.writes.front());
  EXPECT_EQ(log.check_state(), "a write under way is known");
}

TEST_F(ObjectLogTest, OnlySoManyWritesAreUnderWay) {
  Object& object = ready_object();
  for (std::uint64_t i = 0; i < 3; ++i) object.writes.push_back(write_of(object, {1, i}, {1, i + 1}));
  object.version = {1, 3};
  EXPECT_EQ(log.check_state(), "only so many writes of an object are under way");
}

TEST_F(ObjectLogTest, WhatWaitsBelongsToItsObjectAndIsSentToNobody) {
  Object& object = ready_object();
  object.version = {1, 1};
  const std::uint64_t id = write_of(object, {}, {});
  object.waiting.push_back(id);
  EXPECT_EQ(log.check_state(), "what waits has been sent to nobody");
  context.ops.find(id)->waiting_for.clear();
  EXPECT_EQ(log.check_state(), "");
  context.ops.find(id)->object = nullptr;
  EXPECT_EQ(log.check_state(), "what waits is an operation of its object");
}

TEST_F(ObjectLogTest, IdleObjectsAreForgottenWhenThereAreTooMany) {
  for (std::uint32_t i = 0; i < 5; ++i) ready_object(i);
  ready_object(0).doubts.retry_at = 7;  // this one has something to do
  log.trim();
  EXPECT_NE(log.find(Oid::data(1, 0)), nullptr);
  std::size_t left = 0;
  for (std::uint32_t i = 0; i < 5; ++i) left += log.find(Oid::data(1, i)) != nullptr;
  EXPECT_EQ(left, 2u);
}

// Members have promised to refuse writes of earlier rounds: an object that is met again may not fall back behind them.
TEST_F(ObjectLogTest, AnObjectThatIsMetAgainKeepsItsRound) {
  for (std::uint32_t i = 0; i < 5; ++i) ready_object(i).round = i == 1 ? 3 : 0;
  log.trim();
  ASSERT_EQ(log.find(Oid::data(1, 1)), nullptr);
  EXPECT_EQ(log.get(Oid::data(1, 1)).round, 3u);
}

}  // namespace
}  // namespace sd::replication
