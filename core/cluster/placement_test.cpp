// A placement that follows the state, change by change, says what one made anew would say.
#include "core/cluster/placement.hpp"

#include <gtest/gtest.h>

namespace sd::cluster {
namespace {

class FollowedPlacement : public testing::Test {
 protected:
  State state;
  Placement followed;
  std::uint64_t index = 0;

  void run(CommandBody body) {
    ASSERT_EQ(state.apply(++index, {0, 1, 0, std::move(body)}).status, Status::ok);
    check();
  }
  void join(NodeId id, Incarnation incarnation = 1) {
    Member m;
    m.id = id;
    m.incarnation = incarnation;
    m.address.port = static_cast<std::uint16_t>(id);
    m.zone = static_cast<std::uint32_t>(id);
    m.vnodes = 16;
    run(Join{m, incarnation - 1});
  }
  void check() {
    followed.follow(state);
    const Placement anew(state);
    ASSERT_EQ(followed.periods().size(), state.epochs.size());
    for (std::size_t i = 0; i < anew.periods().size(); ++i) {
      const auto& a = anew.periods()[i];
      const auto& b = followed.periods()[i];
      EXPECT_EQ(b.record, state.epochs[i]);
      for (std::uint32_t object = 0; object < 50; ++object)
        ASSERT_EQ(b.acting(Oid::data(7, object), 2), a.acting(Oid::data(7, object), 2)) << "epoch " << a.record.epoch;
      for (NodeId id = 1; id <= 5; ++id) {
        EXPECT_EQ(b.incarnation(id), a.incarnation(id));
        EXPECT_EQ(b.given_up(id), a.given_up(id));
      }
    }
  }
};

TEST_F(FollowedPlacement, IsThatOfTheState) {
  for (NodeId id = 1; id <= 4; ++id) join(id);
  run(Format{1, 2, false});
  run(Remove{3, 1, false});  // keeps its share
  join(3, 2);
  join(5);  // takes a share of its own
  run(MarkClean{state.epoch()});
  run(Drain{2, true});
  run(Remove{4, 1, false});
  run(Expel{4, 1});
  run(Remove{5, 1, false});
  run(GiveUp{});  // changes what past epochs say
  run(MarkClean{state.epoch()});
}

TEST_F(FollowedPlacement, IsThatOfASnapshotWithOtherEpochsUnderTheSameNumbers) {
  for (NodeId id = 1; id <= 4; ++id) join(id);
  run(Format{1, 2, false});
  run(Remove{3, 1, false});
  State other;
  index = 0;
  std::swap(state, other);
  for (NodeId id = 1; id <= 5; ++id) join(id);
  run(Format{1, 2, false});
  run(Remove{2, 1, false});
  EXPECT_EQ(state.epoch(), other.epoch() + 1);
  std::swap(state, other);
  check();
}

}  // namespace
}  // namespace sd::cluster
