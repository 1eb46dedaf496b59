#include "core/ring/ring.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace sd {
namespace {

std::vector<RingNode> nodes(std::uint64_t count, std::uint32_t zones) {
  std::vector<RingNode> result;
  for (std::uint64_t i = 1; i <= count; ++i)
    result.push_back({i * 0x1234567, static_cast<std::uint32_t>(i % zones), 128});
  return result;
}

TEST(Ring, PutsCopiesInDistinctZones) {
  const auto members = nodes(9, 4);
  const Ring ring(members);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const auto acting = ring.locate(Oid::data(7, i), 3);
    ASSERT_EQ(acting.size(), 3u);
    std::set<std::uint32_t> zones;
    for (NodeId id : acting) zones.insert(std::ranges::find(members, id, &RingNode::id)->zone);
    ASSERT_EQ(zones.size(), 3u);
  }
}

TEST(Ring, GivesFewerCopiesWhenZonesAreMissing) { EXPECT_EQ(Ring(nodes(6, 2)).locate(Oid::data(1, 1), 3).size(), 2u); }

TEST(Ring, IgnoresGateways) {
  auto members = nodes(3, 3);
  members[1].vnodes = 0;
  const Ring ring(members);
  for (std::uint32_t i = 0; i < 100; ++i)
    for (NodeId id : ring.locate(Oid::data(1, i), 3)) ASSERT_NE(id, members[1].id);
}

TEST(Ring, LosingOneMemberMovesOnlyItsObjects) {
  auto members = nodes(10, 10);
  const Ring before(members);
  const NodeId lost = members.back().id;
  members.pop_back();
  const Ring after(members);
  for (std::uint32_t i = 0; i < 2000; ++i) {
    const auto a = before.locate(Oid::data(3, i), 3);
    const auto b = after.locate(Oid::data(3, i), 3);
    for (NodeId id : a) ASSERT_TRUE(id == lost || std::ranges::find(b, id) != b.end());
  }
}

TEST(Ring, SpreadsObjectsEvenly) {
  const Ring ring(nodes(10, 10));
  std::map<NodeId, int> load;
  for (std::uint32_t i = 0; i < 20000; ++i) ++load[ring.locate(Oid::data(5, i), 1).front()];
  for (const auto& [id, count] : load) {
    EXPECT_GT(count, 1200) << id;
    EXPECT_LT(count, 3200) << id;
  }
}

TEST(Ring, DoesNotDependOnTheOrderOfMembers) {
  auto members = nodes(7, 7);
  const Ring a(members);
  std::ranges::reverse(members);
  const Ring b(members);
  for (std::uint32_t i = 0; i < 500; ++i) ASSERT_EQ(a.locate(Oid::data(9, i), 3), b.locate(Oid::data(9, i), 3));
}

}  // namespace
}  // namespace sd
