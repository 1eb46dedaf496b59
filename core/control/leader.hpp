// What a node does besides while it leads: lets nodes in, takes out those that are silent, gives the share of those
// that stay away to others, moves votes, and says when the past is over. One Leadership for each term that it leads.
#pragma once
#include <optional>

#include "core/cluster/voters.hpp"
#include "core/control/context.hpp"
#include "core/control/leadership.hpp"

namespace sd::control {

class Leader {
 public:
  explicit Leader(Context& context) : context_(context) {}

  // Whether this node leads in the log's term, and has begun to.
  bool leads() const {
    return leadership_ && context_.raft->is_leader() && leadership_->term() == context_.raft->term();
  }
  // There is a leadership, be it of an earlier term.
  bool began() const { return leadership_.has_value(); }

  // Makes the leadership follow the log's: one object for each term in which this node leads.
  void note_election(Time now);
  // Does what is due.
  void lead(Time now);
  // Another node leads; it was followed since then.
  void note_followed(Time now);
  Time followed_since() const { return followed_.since; }

  void on_join_request(Time now, const peer::JoinRequest& request);
  void on_lease_request(Time now, NodeId from, peer::LeaseRequest&& request);
  bool may_grant(Time now, NodeId to, Incarnation incarnation) const;
  // The disks that this node owns were redundant as of that index.
  void on_own_clean(std::uint64_t clean);
  // Of the last entry that was applied.
  void on_applied(std::uint64_t term) { applied_term_ = term; }

 private:
  Leadership::Elected elected() const;
  bool holds_log(NodeId node) const;
  bool hears(Time now, NodeId node) const;
  void add_learner(Time now, NodeId node);
  void erase_learner(Time now, NodeId node);
  bool hand_over(Time now);
  cluster::VoterCandidate candidate(Time now, NodeId node, bool voter) const;
  void manage_voters(Time now);
  void remove_silent(Time now);
  void expel_absent(Time now);
  void forget_gone(Time now);
  void forget_strangers(Time now);
  void mark_clean(Time now);

  Context& context_;
  std::optional<Leadership> leadership_;
  // The leader that this node followed last, since when, and in which term.
  struct {
    NodeId id = 0;
    Time since = 0;
    std::uint64_t term = 0;
  } followed_;
  std::uint64_t applied_term_ = 0;
};

}  // namespace sd::control
