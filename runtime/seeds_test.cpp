#include "runtime/seeds.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

namespace sd::runtime {
namespace {

using std::chrono::milliseconds, std::chrono::seconds;

TEST(Seeds, AreResolvedInTheirOrderAndThoseThatCannotBeAreNamed) {
  const auto seeds = resolve_seeds({"10.0.0.2:7010", "nobody", "10.0.0.1"}, 7000, seconds(60),
                                   [](const HostPort& name) -> std::expected<Endpoint, std::string> {
                                     if (name.host == "nobody") return std::unexpected("there is no " + name.host);
                                     return resolve_address(name);
                                   });
  ASSERT_TRUE(seeds) << seeds.error();
  EXPECT_THAT(seeds->found, testing::ElementsAre(Endpoint::v4(10, 0, 0, 2, 7010), Endpoint::v4(10, 0, 0, 1, 7000)));
  EXPECT_THAT(seeds->failed, testing::ElementsAre("there is no nobody"));
}

TEST(Seeds, AreNotWaitedForLongerThanAllowed) {
  std::promise<void> end;
  const auto ended = end.get_future().share();
  const auto seeds = resolve_seeds({"slow:1", "10.0.0.1:1"}, 7000, milliseconds(100),
                                   [ended](const HostPort& name) -> std::expected<Endpoint, std::string> {
                                     if (name.host == "slow") ended.wait();
                                     return resolve_address({"10.0.0.1", name.port});
                                   });
  end.set_value();
  ASSERT_TRUE(seeds) << seeds.error();
  EXPECT_THAT(seeds->failed, testing::ElementsAre(testing::HasSubstr("slow")));
}

TEST(Seeds, WhatIsNoAddressIsAnError) {
  const auto seeds = resolve_seeds({"10.0.0.1:1", "10.0.0.1:x"}, 7000, seconds(60));
  ASSERT_FALSE(seeds);
  EXPECT_NE(seeds.error().find("10.0.0.1:x"), std::string::npos) << seeds.error();
}

}  // namespace
}  // namespace sd::runtime
