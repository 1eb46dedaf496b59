#include "core/raft/raft_invariants.hpp"

#include <algorithm>
#include <string_view>

namespace sd::raft {

// What the public side of Raft does not show.
struct Inspection {
  const Raft& node;

  std::string_view configurations() const {
    const auto& configs = node.configs_;
    if (configs.front().first > node.snapshot_.index) return "the first configuration is that of the snapshot";
    for (std::size_t i = 1; i < configs.size(); ++i) {
      if (configs[i].first <= configs[i - 1].first) return "configurations stand in the order of the log";
      if (configs[i].first <= node.snapshot_.index || configs[i].first > node.last_index() ||
          node.entry(configs[i].first).kind != Entry::Kind::config)
        return "a configuration counts for as long as it is in the log";
    }
    return {};
  }
  std::string_view votes() const {
    if (node.role_ != Role::candidate && node.role_ != Role::pre_candidate)
      return node.votes_.empty() ? "" : "only a candidate counts votes";
    const bool all_voters =
        std::ranges::all_of(node.votes_, [&](const auto& v) { return node.config().is_voter(v.first); });
    return all_voters ? "" : "votes are counted of voters only";
  }
  std::string_view durability() const {
    if ((node.unsynced_.empty() ? node.durable_index_ : node.unsynced_.back().second) != node.last_index())
      return "each entry is durable or waits for the disk";
    if (!node.unsynced_.empty() && node.unsynced_.front().first <= node.seen_durable_)
      return "what became durable no longer waits";
    for (const auto& h : node.held_) {
      if (h.message.term > node.term_) return "no message that waits is of a term to come";
      if (h.ticket <= node.seen_durable_) return "a message waits only for what is not durable";
    }
    return {};
  }
  std::string_view peers() const {
    if (node.role_ != Role::leader) return node.peers_.empty() ? "" : "only a leader follows its peers";
    const Config& c = node.config();
    if (node.peers_.size() + (c.contains(node.id()) ? 1 : 0) != c.voters.size() + c.learners.size())
      return "a leader follows each other member";
    for (const auto& [id, p] : node.peers_) {
      if (p.match >= p.next || p.next > node.last_index() + 1) return "match < next <= last + 1";
      if (p.inflight.size() > node.options_.max_inflight) return "no more than max_inflight appends are under way";
      if (!std::ranges::is_sorted(p.inflight) || (!p.inflight.empty() && p.inflight.back() >= p.next))
        return "appends under way are in order and before next";
    }
    return {};
  }
};

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
          .last_term = node.term_at(node.last_index()),
          .config = node.config_index()};
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
  if (!node.ready()) return {};
  const Inspection inside{node};
  for (const auto look :
       {&Inspection::configurations, &Inspection::votes, &Inspection::durability, &Inspection::peers}) {
    if (const std::string_view broken = (inside.*look)(); !broken.empty()) return std::string(broken);
  }
  return {};
}

std::string check_change(const Observation& before, const Observation& after) {
  if (after.term < before.term) return "the term only grows";
  if (after.commit < before.commit) return "the commit index only grows";
  if (after.applied < before.applied) return "the applied index only grows";
  if (after.snapshot < before.snapshot) return "the snapshot only moves forward";
  if (after.commit == before.commit ? after.commit_term != before.commit_term : after.commit_term < before.commit_term)
    return "what is committed keeps its term";
  if (before.config <= before.commit && after.config < before.config)
    return "a configuration that is committed is never undone";
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
