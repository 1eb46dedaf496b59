#include "core/background/purge.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

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
  const auto stored = [&] { return std::vector<Oid>{Oid::data(vid, 0), Oid::data(vid, 1), Oid::data(vid + 1, 0)}; };
  Purge purge;
  std::vector<peer::ObjectRequest> out;
  purge.tick(state, stored, out);
  ASSERT_EQ(out.size(), 2u);
  for (const auto& request : out) {
    EXPECT_EQ(request.op, peer::ObjectRequest::Op::remove);
    EXPECT_EQ(request.oid.vid(), vid);
    EXPECT_EQ(request.generation, state.generation(vid));
  }
  EXPECT_FALSE(purge.done(vid));
  purge.on_removed(vid);
  purge.tick(state, stored, out);
  EXPECT_FALSE(purge.done(vid));
  purge.on_removed(vid);
  purge.tick(state, stored, out);
  EXPECT_TRUE(purge.done(vid));
  EXPECT_EQ(purge.done_disks(64), std::vector<Vid>{vid});
  EXPECT_TRUE(purge.done_disks(0).empty());
  EXPECT_EQ(out.size(), 2u);
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
  purge.tick(state, stored, out);
  EXPECT_EQ(out.size(), Purge::at_once);
  purge.on_removed(vid);
  purge.tick(state, stored, out);
  EXPECT_EQ(out.size(), Purge::at_once + 1);
}

TEST(Purge, ForgetsADiskThatIsGoneOrLives) {
  const auto deleted = with_disk(true);
  const Vid vid = deleted.vdis.begin()->first;
  const auto nothing = [] { return std::vector<Oid>{}; };
  Purge purge;
  std::vector<peer::ObjectRequest> out;
  purge.tick(deleted, nothing, out);
  EXPECT_TRUE(purge.done(vid));
  purge.tick(with_disk(false), nothing, out);
  EXPECT_FALSE(purge.done(vid));
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace sd
