// What must hold of a Raft node at any moment, and of any step it takes. Cheap; called by tests and the simulator after
// each step.
//
// Not checked here, because it needs more than one node or the past of a disk: one leader per term, equal logs, nothing
// committed lost.
#pragma once
#include <string>

#include "core/raft/raft.hpp"

namespace sd::raft {

// The part of a node's state that a step is judged by.
struct Observation {
  Role role = Role::follower;
  NodeId leader = 0;
  Term term = 0;
  NodeId vote = 0;
  Index commit = 0;
  Index applied = 0;
  Index last = 0;
  Index durable = 0;
  Index snapshot = 0;
  Term commit_term = 0;
  Term last_term = 0;
  Index config = 0;  // where the configuration in effect stands
  friend bool operator==(const Observation&, const Observation&) = default;
};

Observation observe(const Raft& node);

// Empty if all is well, else the invariant that is broken, in words.
std::string check_state(const Raft& node);
// Of two observations of one run of one process.
std::string check_change(const Observation& before, const Observation& after);
// Of the last observation before a crash and the first once the node is ready again: the disk may have lost what was
// not durable.
std::string check_restart(const Observation& before, const Observation& after);

}  // namespace sd::raft
