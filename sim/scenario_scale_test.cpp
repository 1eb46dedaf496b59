// Many nodes that come and go.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

void churn(std::uint32_t nodes, std::uint32_t rounds) {
  Scenario s({.nodes = nodes,
              .copies = 3,
              .zones = 10,
              .objects = 64,
              .lease = seconds(3),
              .lease_margin = milliseconds(500)});
  ASSERT_EQ(s.trouble(), "");
  ASSERT_TRUE(s.write_all(0, 64)) << s.trouble();
  for (std::uint32_t round = 0; round < rounds; ++round) {
    const std::uint32_t victim = 7 + round * 31 % (nodes - 8);
    s.cut_power({victim});
    for (std::uint32_t i = 0; i < 64; ++i) s.ask(OpClass::write, (victim + 1) % nodes, i * Scenario::object, 8);
    s.run(seconds(1) + 2 * s.lease_end());
    s.start({victim});
    ASSERT_TRUE(s.until([&] { return s.redundant(); }, seconds(120))) << "round " << round << s.trouble();
  }
  EXPECT_TRUE(s.read_all(1)) << s.trouble();
  std::printf("%u nodes, %u rounds: %.1f s simulated, %llu steps\n", nodes, rounds, static_cast<double>(s.now()) / 1e9,
              static_cast<unsigned long long>(s.steps()));
}

TEST(Scale, TenNodesWithChurn) { churn(10, 5); }
// Twenty seconds of processor time, ten times that under a sanitizer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
TEST(Scale, FiftyNodesWithChurn) { churn(50, 3); }
#else
TEST(Scale, TwoHundredNodesWithChurn) { churn(200, 5); }
#endif

}  // namespace
}  // namespace sd::sim
