#include "sim/figure8.hpp"

#include <gtest/gtest.h>

#include "core/base/sim_bug.hpp"

namespace sd::sim {
namespace {

TEST(Figure8, AnOlderTermsEntryWaitsForOneOfTheLeadersOwn) { EXPECT_EQ(figure8(), ""); }

#ifdef SD_SIM_BUGS
TEST(Figure8, NoticesALeaderThatDoesNotWait) {
  planted_bug = SimBug::raft_commit_old_term;
  const std::string said = figure8();
  planted_bug = SimBug::count;
  EXPECT_NE(said.find("counts copies"), std::string::npos) << said;
}
#endif

}  // namespace
}  // namespace sd::sim
