#include "sim/guest_errors.hpp"

namespace sd::sim {

namespace {

// A little less than that of an owner with members that may hold what others have lost.
constexpr Time patience = seconds(25);

constexpr FaultSet damage =
    damaging_faults | bit(FaultClass::wipe) | bit(FaultClass::old_image) | bit(FaultClass::lose_majority);

bool may_fail(const Config& config, OpClass kind, Status status, Time waited) {
  if (config.break_plan) return true;
  switch (status) {
    case Status::no_space: return (config.faults & bit(FaultClass::full)) != 0;
    case Status::io_error:
      return (config.faults & damage) != 0 || waited >= patience || config.remembered_writes < max_recent;
    case Status::not_supported: return kind == OpClass::fast_zeroes;  // not quick
    default: return false;
  }
}

}  // namespace

std::string judge_guest_error(const Config& config, OpClass kind, Status status, Time waited) {
  if (may_fail(config, kind, status, waited)) return {};
  return "a guest was told \"" + std::string(to_string(status)) + "\" for a " +
         std::string(op_names[static_cast<std::size_t>(kind)]) + " after " + std::to_string(waited / 1'000'000) +
         " ms, in a run that knows no reason for it";
}

}  // namespace sd::sim
