#include "sim/recorded_history.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace sd::sim {
namespace {

enum class Says { fine, safety, durability, malformed };

Says verdict(const std::string& text) {
  RecordedHistory history;
  std::istringstream in("v 1 1000\n" + text);
  history.read(in);
  if (history.malformed()) return Says::malformed;
  if (!history.violation()) return Says::fine;
  return history.violation()->kind == Violation::Class::durability ? Says::durability : Says::safety;
}

const std::string wrote_1_then_2 = "b 10 1 1 write 8 4 a\ne 11 1 1 ok\nb 12 1 2 write 8 4 a\ne 13 1 2 ok\n";

TEST(RecordedHistory, AcceptsWhatAnyDiskWouldDo) {
  EXPECT_EQ(verdict(""), Says::fine);
  EXPECT_EQ(verdict("# a remark\n\n" + wrote_1_then_2 + "b 14 1 3 read 6 6 b\ne 15 1 3 ok 0x2,2x4\n"), Says::fine);
  EXPECT_EQ(verdict(wrote_1_then_2 + "b 14 1 3 trim 8 2 a\nb 15 1 4 read 8 4 b\ne 16 1 4 ok 0x1,2x3\ne 17 1 3 ok\n"),
            Says::fine);
}

TEST(RecordedHistory, RejectsAStaleRead) {
  EXPECT_EQ(verdict(wrote_1_then_2 + "b 14 1 3 read 8 4 b\ne 15 1 3 ok 2x3,1x1\n"), Says::safety);
}

TEST(RecordedHistory, RejectsALostWrite) {
  EXPECT_EQ(verdict(wrote_1_then_2 + "b 14 1 3 read 8 4 b\ne 15 1 3 ok 0x4\n"), Says::safety);
}

TEST(RecordedHistory, RejectsJunk) {
  EXPECT_EQ(verdict(wrote_1_then_2 + "b 14 1 3 read 8 4 b\ne 15 1 3 ok 2x3,?x1\n"), Says::safety);
}

TEST(RecordedHistory, RejectsThePayloadOfAnOperationThatNeverBegan) {
  EXPECT_EQ(verdict("b 14 1 3 read 8 1 b\ne 15 1 3 ok 7x1\n"), Says::safety);
}

TEST(RecordedHistory, RejectsAValueReadBeforeItsWriteBegan) {
  EXPECT_EQ(verdict("b 10 1 1 read 8 1 a\ne 11 1 1 ok 2x1\nb 12 1 2 write 8 1 b\ne 13 1 2 ok\n"), Says::safety);
}

TEST(RecordedHistory, AnUnansweredWriteMayAppearLaterButNotGoAgain) {
  const std::string text =
      "b 10 1 1 write 8 1 a\ne 11 1 1 unknown\nb 12 1 2 read 8 1 b\ne 13 1 2 ok 0x1\nb 14 1 3 read 8 1 b\ne 15 1 3 ok "
      "1x1\n";
  EXPECT_EQ(verdict(text), Says::fine);
  EXPECT_EQ(verdict(text + "b 16 1 4 read 8 1 b\ne 17 1 4 ok 0x1\n"), Says::safety);
}

TEST(RecordedHistory, AnErrorPromisesNothing) {
  EXPECT_EQ(verdict("b 10 1 1 write 8 1 a\ne 11 1 1 error 5\nb 12 1 2 read 8 1 b\ne 13 1 2 ok 1x1\n"), Says::fine);
  EXPECT_EQ(verdict("b 10 1 1 write 8 1 a\ne 11 1 1 error 5\nb 12 1 2 read 8 1 b\ne 13 1 2 ok 0x1\n"), Says::fine);
}

TEST(RecordedHistory, ALossOfPowerTakesWhatWasNotFlushedAndNothingElse) {
  const std::string flushed_2 =
      wrote_1_then_2 + "b 14 1 3 flush 0 0 b\ne 15 1 3 ok\nb 16 1 4 write 8 4 a\ne 17 1 4 ok\np 18\n";
  EXPECT_EQ(verdict(flushed_2 + "b 20 1 5 read 8 4 b\ne 21 1 5 ok 2x2,4x2\n"), Says::fine);
  EXPECT_EQ(verdict(flushed_2 + "b 20 1 5 read 8 4 b\ne 21 1 5 ok 2x3,1x1\n"), Says::durability);
  EXPECT_EQ(verdict(flushed_2 + "b 20 1 5 read 8 4 b\ne 21 1 5 ok 0x1,2x3\n"), Says::durability);
}

TEST(RecordedHistory, AFlushDoesNotCoverWhatWasUnderWayWhenItBegan) {
  EXPECT_EQ(verdict("b 10 1 1 write 8 1 a\nb 11 1 2 flush 0 0 b\ne 12 1 1 ok\ne 13 1 2 ok\np 18\nb 20 1 5 read 8 1 "
                    "b\ne 21 1 5 ok 0x1\n"),
            Says::fine);
}

TEST(RecordedHistory, AWriteWithFuaSurvivesALossOfPower) {
  EXPECT_EQ(verdict("b 10 1 1 fua 8 1 a\ne 11 1 1 ok\np 18\nb 20 1 5 read 8 1 b\ne 21 1 5 ok 0x1\n"), Says::durability);
}

TEST(RecordedHistory, RefusesWhatIsNoHistory) {
  for (const char* text : {"x 1",
                           "b 10 1 1 write 8",
                           "b 10 2 1 write 8 1 a",
                           "b 10 1 1 write 999 2 a",
                           "b 10 1 1 write 8 0 a",
                           "b 10 1 1 flush 8 1 a",
                           "b 10 1 0 write 8 1 a",
                           "b 10 1 1 munch 8 1 a",
                           "e 10 1 1 ok",
                           "b 10 1 1 write 8 1 a\nb 11 1 1 write 8 1 a",
                           "b 10 1 1 write 8 1 a\nb 9 1 2 write 8 1 a",
                           "b 10 1 1 read 8 2 a\ne 11 1 1 ok 0x1",
                           "b 10 1 1 read 8 2 a\ne 11 1 1 ok 0x3",
                           "b 10 1 1 read 8 2 a\ne 11 1 1 ok 0x18446744073709551617",
                           "b 10 1 1 read 8 2 a\ne 11 1 1 ok 0y2",
                           "b 10 1 1 read 8 2 a\ne 11 1 1 ok",
                           "b 10 1 1 read 8 2 a\ne 11 1 1 perhaps",
                           "v 1 1000",
                           "v 2 99999999999999",
                           "b 10 1 1 read 18446744073709551615 2 a",
                           "p now"})
    EXPECT_EQ(verdict(text), Says::malformed) << text;
}

TEST(RecordedHistory, SaysWhichLineIsWrong) {
  RecordedHistory history;
  std::istringstream in("v 1 1000\n" + wrote_1_then_2 + "b 14 1 3 read 8 4 reader\ne 15 1 3 ok 1x4\n");
  EXPECT_FALSE(history.read(in));
  ASSERT_TRUE(history.violation());
  EXPECT_NE(history.violation()->what.find("line 7"), std::string::npos) << history.violation()->what;
  EXPECT_NE(history.violation()->what.find("by reader"), std::string::npos) << history.violation()->what;
}

}  // namespace
}  // namespace sd::sim
