#include "core/member/write_memory.hpp"

#include <gtest/gtest.h>

#include <set>

#include "core/base/random.hpp"

namespace sd {
namespace {

Oid object(std::uint32_t index) { return Oid::data(1, index); }

bool covered(const peer::RecentWrites& told, const Origin& write) {
  return std::ranges::find(told.last, write) != told.last.end() || peer::may_be_forgotten(told.forgotten, write);
}

TEST(WriteMemory, TheLastWritesOfAnObjectAreToldByName) {
  WriteMemory memory(2, 4);
  memory.remember(object(0), {7, 1});
  memory.remember(object(0), {7, 1});
  memory.remember(object(0), {7, 2});
  EXPECT_EQ(memory.of(object(0)), (peer::RecentWrites{{{7, 1}, {7, 2}}, {}}));
  memory.remember(object(0), {7, 3});
  EXPECT_EQ(memory.of(object(0)), (peer::RecentWrites{{{7, 2}, {7, 3}}, {{7, 1}}}));
  memory.remember(object(0), {0, 9});  // nobody's
  EXPECT_EQ(memory.of(object(0)).last.size(), 2u);
}

TEST(WriteMemory, WhatFellOutOfAnObjectStaysKnownWhenTheObjectFallsOut) {
  WriteMemory memory(1, 1);
  memory.remember(object(0), {7, 1});
  memory.remember(object(0), {8, 1});  // {7, 1} falls out of the object
  memory.remember(object(1), {9, 1});  // the object falls out of the memory
  EXPECT_EQ(memory.objects(), 1u);
  EXPECT_TRUE(covered(memory.of(object(0)), {7, 1}));
  EXPECT_TRUE(covered(memory.of(object(0)), {8, 1}));
  memory.remember(object(0), {9, 2});  // ... also when it comes back
  EXPECT_TRUE(covered(memory.of(object(0)), {7, 1}));
  EXPECT_TRUE(covered(memory.of(object(0)), {8, 1}));
}

TEST(WriteMemory, ACopyIsWorthWhatItsSourceRemembers) {
  WriteMemory memory(2, 4);
  memory.remember(object(0), {7, 1});
  memory.replace(object(0), {{{8, 5}}, {{7, 9}}});
  EXPECT_EQ(memory.of(object(0)), (peer::RecentWrites{{{8, 5}}, {{7, 9}}}));
}

// Against a model that forgets nothing: whatever was carried out on an object that was not removed since is told of, by
// name or as one that may have been; and the memory stays within its limits.
TEST(WriteMemory, NothingIsForgottenSilentlyWhateverTheOrder) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const std::size_t writes = 1 + random.below(3), objects = 1 + random.below(4);
    WriteMemory memory(writes, objects);
    std::map<Oid, std::set<Origin>> model;
    std::uint64_t number = 0;
    for (int step = 0; step < 200; ++step) {
      const Oid oid = object(static_cast<std::uint32_t>(random.below(8)));
      if (random.below(20) == 0) {
        memory.remove(oid);
        model.erase(oid);
        continue;
      }
      const Origin origin{1 + random.below(5), ++number};
      memory.remember(oid, origin);
      model[oid].insert(origin);
      ASSERT_LE(memory.objects(), objects) << "seed " << seed;
      for (const auto& [which, known] : model) {
        const auto told = memory.of(which);
        ASSERT_LE(told.last.size(), writes) << "seed " << seed;
        ASSERT_LE(told.forgotten.size(), peer::max_forgotten) << "seed " << seed;
        for (const Origin& one : known) ASSERT_TRUE(covered(told, one)) << "seed " << seed << " step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace sd
