#include "core/background/purge.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

const auto idle = [](Vid) { return false; };

cluster::State with_disk(bool deleted) {
  cluster::State state;
  cluster::Member m;
  m.id = 1;
  m.incarnation = 1;
  m.address = Endpoint::v4(10, 0, 0, 1, 7000);
  m.vnodes = 128;
  state.apply(1, {0, 1, 0, cluster::Join{m}});
  state.apply(2, {0, 1, 0, cluster::Format{9, 1, false}});
  state.apply(3, {0, 1, 0, cluster::CreateVdi{"a", 1u << 30, 1}});
  if (deleted) state.apply(4, {0, 1, 0, cluster::DeleteVdi{state.vdis.begin()->second.disk()}});
  return state;
}

TEST(Purge, RemovesTheObjectsOfDeletedDisksAndOfNoOthers) {
  const auto state = with_disk(true);
  const Vid vid = state.vdis.begin()->first;
  std::vector<Oid> objects{Oid::data(vid, 0), Oid::data(vid, 1), Oid::data(vid + 1, 0)};
  const auto stored = [&] { return objects; };
  Purge purge;
  std::vector<peer::ObjectRequest> out;
  purge.tick(state, stored, idle, out);
  ASSERT_EQ(out.size(), 2u);
  for (const auto& request : out) {
    EXPECT_EQ(request.op, peer::ObjectRequest::Op::remove);
    EXPECT_EQ(request.oid.vid(), vid);
    EXPECT_EQ(request.generation, state.generation(vid));
  }
  EXPECT_FALSE(purge.done(vid));
  purge.on_removed(vid);
  purge.tick(state, stored, idle, out);
  EXPECT_FALSE(purge.done(vid));
  purge.on_removed(vid);
  objects = {Oid::data(vid + 1, 0)};
  purge.tick(state, stored, idle, out);
  EXPECT_TRUE(purge.done(vid));
  EXPECT_EQ(purge.done_disks(64), std::vector<Vid>{vid});
  EXPECT_TRUE(purge.done_disks(0).empty());
  EXPECT_EQ(out.size(), 2u);
}

// What was asked of the disk before it was deleted may store an object when those that were there are gone.
TEST(Purge, LooksAgainUntilNothingIsThereAndNothingIsOnItsWay) {
  const auto state = with_disk(true);
  const Vid vid = state.vdis.begin()->first;
  std::vector<Oid> objects;
  bool busy = true;
  const auto stored = [&] { return objects; };
  const auto works = [&](Vid) { return busy; };
  Purge purge;
  std::vector<peer::ObjectRequest> out;
  purge.tick(state, stored, works, out);
  EXPECT_FALSE(purge.done(vid));
  busy = false;
  objects = {Oid::data(vid, 0)};
  purge.tick(state, stored, works, out);
  ASSERT_EQ(out.size(), 1u);
  purge.on_removed(vid);
  purge.tick(state, stored, works, out);
  ASSERT_EQ(out.size(), 2u) << "it is still there";
  objects.clear();
  purge.on_removed(vid);
  purge.tick(state, stored, works, out);
  EXPECT_TRUE(purge.done(vid));
}

TEST(Purge, HasOnlySoManyUnderWay) {
  const auto state = with_disk(true);
  const Vid vid = state.vdis.begin()->first;
  const auto stored = [&] {
    std::vector<Oid> oids;
    for (std::uint32_t i = 0; i < 100; ++i) oids.push_back(Oid::data(vid, i));
    return oids;
  };
  Purge purge;
  std::vector<peer::ObjectRequest> out;
  purge.tick(state, stored, idle, out);
  EXPECT_EQ(out.size(), Purge::at_once);
  purge.on_removed(vid);
  purge.tick(state, stored, idle, out);
  EXPECT_EQ(out.size(), Purge::at_once + 1);
}

TEST(Purge, ForgetsADiskThatIsGoneOrLives) {
  const auto deleted = with_disk(true);
  const Vid vid = deleted.vdis.begin()->first;
  const auto nothing = [] { return std::vector<Oid>{}; };
  Purge purge;
  std::vector<peer::ObjectRequest> out;
  purge.tick(deleted, nothing, idle, out);
  EXPECT_TRUE(purge.done(vid));
  purge.tick(with_disk(false), nothing, idle, out);
  EXPECT_FALSE(purge.done(vid));
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace sd
