#include "sim/checker_name.hpp"

#include <gtest/gtest.h>

namespace sd::sim {
namespace {

TEST(CheckerName, LeavesOutWhichOneItWas) {
  EXPECT_EQ(checker_of("volume 1 sector 77: operation 12 (read of sectors 70+8, begun at event 9): stale"),
            checker_of("volume 3 sector 5: operation 400 (write of sectors 5+1, begun at event 77): stale"));
  EXPECT_EQ(checker_of("node2: member <7.1 (of 3)> forgot 12 objects"),
            checker_of("node0: member <1> forgot 3 objects"));
}

TEST(CheckerName, LeavesOutWhatIsTold) {
  EXPECT_EQ(checker_of("stale; it returned zeros"), checker_of("stale; it returned the data of operation 5"));
  EXPECT_EQ(checker_of("stale; it returned zeros"), "stale");
}

TEST(CheckerName, TellsCheckersApart) {
  EXPECT_NE(checker_of("node1: two owners"), checker_of("node1: two leaders"));
  EXPECT_NE(checker_of("node1 (old): two owners"), checker_of("node1 (old): two leaders"));
  EXPECT_NE(checker_of("guest1 got an answer to nothing"), checker_of("guest1 is shown a disk of another size"));
}

}  // namespace
}  // namespace sd::sim
