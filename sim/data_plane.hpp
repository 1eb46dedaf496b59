// The data plane of a few nodes and nothing else: gateways with their volumes, replicas and stores. Messages and disk
// operations end in any order; the cluster log is written by a script.
//
// Why beside the whole simulator: without Raft, leases, links and bytes of NBD a run takes milliseconds, and nearly all
// of its steps are about what may go wrong with data. What the rest of a node promises is kept by the script:
// - A node serves only while it holds a lease, and is taken out of the cluster only without one.
// - A message reaches the incarnation that it was sent to, or nobody. It may be late, lost, repeated, and overtaken.
// - A node applies the log in order, as late as it likes, and has never seen less of it than in the incarnation before.
//
// What is checked:
// - Guests' reads, writes, zeros, flushes, FUA and block status, by sim/device_model.hpp: what was acknowledged stays,
//   what was flushed survives the loss of all power, no write happens twice, a hole reads as zeros.
// - A guest sees no error but for a reason: no room, damage while members are away, a write that is older than what
//   members remember, a member that everybody waited for in vain.
// - Nothing waits for ever: when all is healed, each request is answered, and history ends.
// - At rest all copies of an object are equal.
//
// A run is a function of its seed.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace sd::sim {

struct DataPlaneOptions {
  std::uint64_t seed = 1;
  unsigned steps = 1000;                           // before everything is healed
  std::function<void(const std::string&)> follow;  // told of every step, if set
};

struct DataPlaneOutcome {
  std::string error;  // empty: all is well
  std::uint64_t steps = 0;
  std::uint64_t answers = 0, refusals = 0;  // of guests' requests: ok; errors that may be
  std::uint64_t epochs = 0;
  std::uint64_t sectors = 0, undecided = 0;  // checked; and accepted since no order of the writes was found in time
};

DataPlaneOutcome run_data_plane(const DataPlaneOptions& options);

}  // namespace sd::sim
