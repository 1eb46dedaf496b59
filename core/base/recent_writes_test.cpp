#include "core/base/recent_writes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/base/random.hpp"

namespace sd {
namespace {

TEST(RecentWrites, TheLastWritesAreToldByName) {
  RecentWrites recent;
  recent.remember({7, 1}, 2);
  recent.remember({7, 1}, 2);
  recent.remember({7, 2}, 2);
  EXPECT_EQ(recent, (RecentWrites{{{7, 1}, {7, 2}}, {}}));
  recent.remember({7, 3}, 2);
  EXPECT_EQ(recent, (RecentWrites{{{7, 2}, {7, 3}}, {{7, 1}}}));
  recent.remember({0, 9}, 2);  // nobody's
  EXPECT_EQ(recent.last.size(), 2u);
}

TEST(RecentWrites, TooManyGatewaysMeanAnyMayHaveBeenForgotten) {
  RecentWrites recent;
  for (NodeId gateway = 1; gateway <= max_forgotten + 2; ++gateway) recent.remember({gateway, 5}, 1);
  EXPECT_EQ(recent.forgotten, (std::vector<Origin>{{}}));
  EXPECT_TRUE(may_be_forgotten(recent.forgotten, {999, 1}));
  EXPECT_FALSE(may_be_forgotten(recent.forgotten, {}));
}

// Against a model that forgets nothing.
TEST(RecentWrites, NothingIsForgottenSilentlyWhateverTheOrder) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const std::size_t most = 1 + random.below(4);
    RecentWrites recent;
    std::set<Origin> model;
    for (std::uint64_t number = 1; number < 200; ++number) {
      const Origin origin{1 + random.below(80), 1 + random.below(number)};
      recent.remember(origin, most);
      model.insert(origin);
      ASSERT_LE(recent.last.size(), most) << "seed " << seed;
      ASSERT_LE(recent.forgotten.size(), max_forgotten) << "seed " << seed;
      for (const Origin& one : model)
        ASSERT_TRUE(std::ranges::find(recent.last, one) != recent.last.end() || may_be_forgotten(recent.forgotten, one))
            << "seed " << seed << " write " << number;
    }
  }
}

}  // namespace
}  // namespace sd
