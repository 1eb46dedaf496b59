#include "sim/guest_errors.hpp"

#include <gtest/gtest.h>

namespace sd::sim {
namespace {

TEST(GuestErrors, AnErrorNeedsAReasonAmongTheFaultsOfTheRun) {
  Config config;
  config.faults = bit(FaultClass::kill) | bit(FaultClass::power_all) | bit(FaultClass::partition);
  const auto allowed = [&](Status status, Time waited = 0, OpClass kind = OpClass::write) {
    return judge_guest_error(config, kind, status, waited).empty();
  };
  for (const Status status : {Status::io_error, Status::no_space, Status::shutting_down, Status::invalid,
                              Status::not_supported, Status::read_only, Status::busy})
    EXPECT_FALSE(allowed(status)) << to_string(status);
  EXPECT_TRUE(allowed(Status::io_error, seconds(30)));  // waited for members in vain
  EXPECT_TRUE(allowed(Status::not_supported, 0, OpClass::fast_zeroes));
  config.faults |= bit(FaultClass::full);
  EXPECT_TRUE(allowed(Status::no_space));
  EXPECT_FALSE(allowed(Status::io_error));
  config.faults |= bit(FaultClass::rot);
  EXPECT_TRUE(allowed(Status::io_error));
  EXPECT_FALSE(allowed(Status::shutting_down));
  config.faults |= bit(FaultClass::stop);
  EXPECT_FALSE(allowed(Status::shutting_down));
  config.faults = bit(FaultClass::kill);
  config.remembered_writes = 2;
  EXPECT_TRUE(allowed(Status::io_error));
  EXPECT_FALSE(allowed(Status::invalid));
}

}  // namespace
}  // namespace sd::sim
