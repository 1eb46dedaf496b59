#include "runtime/log_limit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sd::runtime {
namespace {

using std::chrono::seconds, std::chrono::milliseconds;
using Level = LogLine::Level;

class Limit : public testing::Test {
 protected:
  bool admit(Level level, const std::string& text) { return limit_.admit(now_, level, text); }
  std::vector<std::string> left_out(bool all = false) {
    std::vector<std::string> lines;
    for (const LogLine& line : limit_.left_out(now_, all)) lines.push_back(line.text);
    return lines;
  }

  LogLimit limit_;
  LogLimit::Clock::time_point now_{};
};

TEST_F(Limit, LetsOneOfManyEqualWarningsThroughAndCountsTheRest) {
  unsigned admitted = 0;
  for (int i = 0; i < 54'000; ++i) admitted += admit(Level::warning, "a client sent rubbish");
  EXPECT_EQ(admitted, 1u);
  now_ += milliseconds(9'999);
  EXPECT_TRUE(left_out().empty());
  now_ += milliseconds(1);
  EXPECT_THAT(left_out(), testing::ElementsAre("53999 more like this were left out in 10 s: a client sent rubbish"));
  EXPECT_TRUE(left_out().empty());
  EXPECT_TRUE(admit(Level::warning, "a client sent rubbish")) << "the next 10 s";
}

TEST_F(Limit, TellsTheCountBeforeTheNextLineToo) {
  admit(Level::warning, "bad");
  admit(Level::warning, "bad");
  now_ += seconds(11);
  EXPECT_TRUE(admit(Level::warning, "bad"));
  EXPECT_THAT(left_out(), testing::ElementsAre("1 more like this were left out in 10 s: bad"));
}

TEST_F(Limit, LinesThatDifferInNumbersHaveOneCauseAndGetAFewLines) {
  unsigned admitted = 0;
  for (int i = 0; i < 1000; ++i)
    admitted += admit(Level::error, "reading /data/obj/00ab" + std::to_string(i) + "cd (offset " + std::to_string(i) +
                                        "): Input/output error");
  EXPECT_EQ(admitted, LogLimit::lines_per_period);
  EXPECT_EQ(limit_.causes(), 1u);
  std::string members = "epoch 7: 10.0.0.1:7000";
  for (int i = 0; i < 20; ++i) admit(Level::info, members += ", [fe80::1]:7000");
  EXPECT_EQ(limit_.causes(), 2u) << "a list of addresses is one";
  EXPECT_TRUE(admit(Level::error, "reading /data/obj/00ab1cd (offset 1): Permission denied")) << "another cause";
}

TEST_F(Limit, NewsMayComeTwice) {
  EXPECT_TRUE(admit(Level::info, "serving"));
  EXPECT_TRUE(admit(Level::info, "not serving"));
  EXPECT_TRUE(admit(Level::info, "serving"));
}

TEST_F(Limit, HoldsABoundedNumberOfCausesAndLetsErrorsThrough) {
  const auto name = [](int i) {
    return std::string(static_cast<std::size_t>(i % 26 + 1), static_cast<char>('a' + i / 26));
  };
  for (int i = 0; i < 600; ++i) EXPECT_EQ(admit(Level::warning, name(i)), i < 256) << i;
  EXPECT_EQ(limit_.causes(), LogLimit::max_causes);
  EXPECT_TRUE(admit(Level::error, "the disk failed"));
  EXPECT_EQ(limit_.causes(), LogLimit::max_causes);
  now_ += seconds(10);
  EXPECT_THAT(left_out(), testing::ElementsAre("344 lines of more than 256 causes were left out"));
  EXPECT_EQ(limit_.causes(), 0u);
}

TEST_F(Limit, TellsEverythingAtTheEnd) {
  admit(Level::error, "bad");
  admit(Level::error, "bad");
  EXPECT_THAT(left_out(true), testing::ElementsAre("1 more like this were left out in 10 s: bad"));
}

}  // namespace
}  // namespace sd::runtime
