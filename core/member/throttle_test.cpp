#include "core/member/throttle.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

constexpr std::uint64_t piece = 64u << 10;

std::uint64_t copied_in(Throttle& throttle, cluster::RecoveryRates rates, Time from, Time to, bool clients) {
  std::uint64_t bytes = 0;
  for (Time now = from; now < to; now += milliseconds(1)) {
    if (clients) throttle.on_foreground(now);
    while (bytes < 1u << 30 && throttle.take(now, piece, rates)) bytes += piece;
  }
  return bytes;
}

TEST(Throttle, CopiesAtItsRateWhileClientsWorkAndWithoutLimitElse) {
  Throttle t;
  const cluster::RecoveryRates rates{8u << 20, 0};
  for (Time now = seconds(1); now < seconds(2); now += milliseconds(1)) t.on_foreground(now);
  const std::uint64_t busy = copied_in(t, rates, seconds(2), seconds(4), true);
  EXPECT_NEAR(static_cast<double>(busy), 2.0 * (8u << 20), 0.1 * (8u << 20));
  EXPECT_EQ(copied_in(t, rates, seconds(10), seconds(11), false), 1u << 30);
}

TEST(Throttle, TheTimeInWhichNothingWasCopiedIsNotSavedUp) {
  Throttle t;
  const cluster::RecoveryRates rates{0, 4u << 20};
  EXPECT_TRUE(t.take(seconds(1), piece, rates));
  EXPECT_LE(copied_in(t, rates, seconds(100), seconds(100) + milliseconds(100), false), (4u << 20) * 130 / 1000);
}

TEST(Throttle, AnotherRateIsInForceAtOnce) {
  Throttle t;
  EXPECT_TRUE(t.take(seconds(1), piece, {1, 1}));
  EXPECT_FALSE(t.take(seconds(60), piece, {1, 1})) << "64 KB at one byte a second take hours";
  EXPECT_TRUE(t.take(seconds(60), piece, {1, 8u << 20}));
}

TEST(Throttle, AFewRequestsDoNotCountAsWork) {
  Throttle t;
  t.on_foreground(seconds(1));
  t.on_foreground(seconds(1));
  EXPECT_FALSE(t.busy(seconds(1) + milliseconds(600)));
}

}  // namespace
}  // namespace sd
