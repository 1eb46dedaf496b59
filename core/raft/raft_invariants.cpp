#include "core/raft/raft_invariants.hpp"

namespace sd::raft {

Observation observe(const Raft& node) {
  return {.role = node.role(),
          .leader = node.leader(),
          .term = node.term(),
          .vote = node.vote(),
          .commit = node.commit_index(),
          .applied = node.applied_index(),
          .last = node.last_index(),
          .durable = node.durable_index(),
          .snapshot = node.snapshot_index(),
          .commit_term = node.term_at(node.commit_index()),
          .last_term = node.term_at(node.last_index())};
}

std::string check_state(const Raft& node) {
  const Observation o = observe(node);
  if (o.snapshot > o.applied || o.applied > o.commit || o.commit > o.last)
    return "snapshot <= applied <= commit <= last";
  if (o.durable > o.last) return "no more is durable than the log holds";
  if (o.last_term > o.term) return "no entry is of a later term than the node";
  if (o.commit_term > o.last_term) return "terms in the log never fall";
  if (o.role == Role::leader && o.leader != node.id()) return "a leader knows that it leads";
  if (o.role != Role::leader && o.leader == node.id()) return "only the leader names itself leader";
  if (o.role == Role::leader && o.vote != node.id()) return "a leader voted for itself";
  if (o.role == Role::candidate && o.vote != node.id()) return "a candidate voted for itself";
  if (o.role == Role::leader && o.last_term != o.term) return "a leader's log ends in its own term";
  if (o.vote != 0 && o.term == 0) return "a vote belongs to a term";
  if (node.config_index() > o.last) return "the configuration in effect is in the log";
  if (o.last > 0 && !well_formed(node.config())) return "a log has a well-formed configuration";
  return {};
}

std::string check_change(const Observation& before, const Observation& after) {
  if (after.term < before.term) return "the term only grows";
  if (after.commit < before.commit) return "the commit index only grows";
  if (after.applied < before.applied) return "the applied index only grows";
  if (after.snapshot < before.snapshot) return "the snapshot only moves forward";
  if (after.term == before.term) {
    if (before.vote != 0 && after.vote != before.vote) return "a vote is fixed within its term";
    // A node may take several steps at once, so a leader that stood down may ask for votes again; not in its own term.
    if (before.role == Role::leader && after.role == Role::candidate)
      return "a leader is no candidate of the term that it led";
    if (before.role == Role::leader && after.last < before.last) return "a leader never drops entries";
    if (before.leader != 0 && after.leader != 0 && after.leader != before.leader) return "one leader in a term";
  }
  return {};
}

std::string check_restart(const Observation& before, const Observation& after) {
  if (before.durable > 0 && after.last < before.durable && after.snapshot < before.durable)
    return "durable entries survive a restart";
  if (after.snapshot > before.snapshot && after.snapshot > before.commit)
    return "a snapshot holds committed entries only";
  return {};
}

}  // namespace sd::raft
