// What a node tells operators, checkers and tests about itself.
#pragma once
#include <cstdint>
#include <string>

#include "core/base/ids.hpp"
#include "core/base/time.hpp"
#include "core/cluster/state.hpp"

namespace sd {

// Recovery as one node takes part in it: as owner it sweeps its disks, as member it copies, collects and scrubs. Counts
// are since its start.
struct RecoveryStatus {
  bool enabled = true;
  bool sweeping = false;                               // some disk that it owns is not known to be redundant
  std::uint64_t found = 0, open = 0, at = 0, end = 0;  // see SweepProgress
  std::uint64_t pulls = 0;                             // objects being copied to this node
  std::uint64_t pulled_objects = 0, pulled_bytes = 0, repaired_blocks = 0, lost_blocks = 0;
  // what it stores in vain in this epoch is removed
  bool collected = false;
  std::uint64_t removed = 0, leftovers = 0, orphans = 0, kept = 0;  // see CollectorStats
  std::uint64_t scrub_passes = 0, scrubbed_objects = 0, scrubbed_bytes = 0, scrub_left = 0, unreadable_objects = 0;
  cluster::RecoveryRates rates;
  bool busy = false;  // clients work, so the rate for that counts
};

// A view for operators, checkers and tests.
struct NodeStatus {
  NodeId id = 0;
  Incarnation incarnation = 0;
  bool open = false;    // its files are read and it takes part
  bool member = false;  // up in the cluster state, in this incarnation
  bool has_lease = false;
  bool serving = false;  // formatted, member, lease, not shut down
  bool leader = false;
  bool voter = false;
  NodeId leader_id = 0;
  std::uint64_t term = 0, commit_index = 0, applied_index = 0, last_index = 0;
  std::uint64_t objects = 0, journal_used = 0, dirty_bytes = 0;
  RecoveryStatus recovery;
  std::uint64_t space_free = 0, space_total = 0;
  Time disk_silent_for = 0;  // 0: the disk answers
  bool full = false;         // writes that need new space are refused
  std::uint32_t nbd_connections = 0, client_connections = 0, peer_links = 0;
  std::uint64_t reads = 0, writes = 0, flushes = 0, read_bytes = 0, write_bytes = 0;
  std::uint64_t requests = 0;  // of clients, under way
  std::uint64_t buffers = 0;   // blocks of the pool in use
  std::string trouble;         // why it does not serve, in words; empty if it does
};

}  // namespace sd
