#include "sim/reconfiguration.hpp"

#include <gtest/gtest.h>

#include "core/base/sim_bug.hpp"

namespace sd::sim {
namespace {

TEST(Reconfiguration, ALeaderWaitsForSomethingOfItsOwnTerm) { EXPECT_EQ(early_reconfiguration(), ""); }

#ifdef SD_SIM_BUGS
TEST(Reconfiguration, ALeaderThatDoesNotIsCaught) {
  planted_bug = SimBug::raft_config_early;
  const std::string said = early_reconfiguration();
  planted_bug = SimBug::count;
  EXPECT_NE(said.find("a leader holds everything committed"), std::string::npos) << said;
}
#endif

}  // namespace
}  // namespace sd::sim
