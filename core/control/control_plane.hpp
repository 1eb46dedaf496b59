// The control plane of one node: the cluster's log and the state that it makes, this node's lease, its way in and out,
// what its clients ask the log for, and, while it leads, what a leader does (Leader).
//
// Promises:
// - `may_serve` is true only while this node holds a lease as a member in this incarnation. Nothing may be answered on
//   the strength of a lease that ended before `now`.
// - A lease counts from when it was asked for, so that it ends here no later than the leader believes.
// - Whatever others send is judged before it is stored or believed.
//
// Use: `open` once the identity is known, hand it the log's disk completions until `ready`, then `run`. Call `settle`
// at the end of each step, as long as it has something to carry, and perform `fx`.
#pragma once
#include "core/base/random.hpp"
#include "core/control/context.hpp"
#include "core/control/joining.hpp"
#include "core/control/leader.hpp"
#include "core/control/proposals.hpp"

namespace sd::control {

class ControlPlane {
 public:
  ControlPlane(Options options, const Identity& identity, const Purge& purge, Links& links, peer::Outbox& outbox)
      : context_{std::move(options), identity, purge, links, outbox} {}

  // --- Life

  void open(Time now, BufferPool& pool, std::uint64_t random_seed);
  bool opened() const { return context_.raft != nullptr; }
  bool ready() const { return opened() && context_.raft->ready(); }
  void run(Time now, Random& random);
  bool running() const { return context_.stage == Stage::running; }
  void leave();
  void stop() { context_.stage = Stage::stopping; }
  void on_disk(Time now, DiskDone&& done) { context_.raft->on_disk(now, std::move(done), context_.fx.raft); }

  // --- Steps

  // The log's clock.
  void tick_log(Time now) { context_.raft->tick(now, context_.fx.raft); }
  // Asks for what is to be asked for, and leads: every 100 ms or so.
  void tick(Time now);
  // Nobody leads, two leases after the start: says so, once.
  bool misses_leader(Time now);
  void log_no_leader();
  void tell_refusals(Time now);
  // Carries out what the log has decided. True if the state has changed.
  bool settle(Time now);
  // After the caller has acted on a changed state.
  void on_state_seen() { proposals_.look(context_.state, context_.self(), context_.identity.incarnation()); }
  Time next_deadline() const { return context_.raft->next_deadline(); }
  Effects& effects() { return context_.fx; }

  // --- What others say

  void on_raft(Time now, NodeId from, const peer::RaftFrame& frame);
  void on_join_request(Time now, peer::JoinRequest request);
  void on_lease_request(Time now, NodeId from, peer::LeaseRequest&& request);
  void on_lease_grant(Time now, const peer::LeaseGrant& grant);
  void on_propose(Time now, peer::Propose&& proposal);
  // A peer port says that nobody listens there.
  void on_gone(Time now, const Endpoint& peer);

  // --- What this node asks for

  // The outcome is told by `outcomes`; 0: too busy, or not running.
  std::uint64_t propose(Time now, cluster::CommandBody body);
  void forget_proposal(std::uint64_t number) { proposals_.forget(number); }
  // Of the node itself: see Context.
  void propose_untracked(Time now, cluster::CommandBody body) { context_.propose(now, std::move(body)); }
  std::vector<Proposals::Outcome>& outcomes() { return proposals_.done(); }
  // For an operator who has lost the majority of the voters for good. Empty, or why not.
  std::string force_new_configuration(Time now, Random& random);
  // All disks that this node owns are redundant, as of the state of now.
  void report_clean() { clean_ = context_.state.applied; }

  // --- What is so

  const cluster::State& state() const { return context_.state; }
  const raft::Raft& raft() const { return *context_.raft; }
  AddressBook& book() { return context_.book; }
  const AddressBook& book() const { return context_.book; }
  std::optional<Endpoint> address_of(NodeId node) const { return context_.book.address_of(context_.state, node); }
  std::string name_of(NodeId node) const { return context_.name_of(node); }
  std::uint64_t group() const { return opened() ? context_.raft->group() : 0; }
  bool is_member() const { return context_.is_member(); }
  bool has_lease(Time now) const { return now < lease_until_; }
  Time lease_until() const { return lease_until_; }
  // The state holds all that was decided before `since`.
  bool is_current(Time now, Time since) const;
  void ask_current(Time now);  // finds out
  bool may_serve(Time now) const;
  Time exit_at() const { return exit_at_; }  // a shutdown of the cluster was decided; never: none
  // This member takes the disks that nobody owns, so that recovery reaches them.
  bool adopts() const;
  std::vector<NodeId> unreachable_voters() const;  // while there is no leader
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  void apply(raft::Entry& entry, Time now);
  void note_leader(Time now);
  void ask_for_lease(Time now);
  void send_lease_request(Time now);
  void note_applied();
  void send_proposals(Time now);
  void found_anew(Time now);

  Context context_;
  Leader leader_{context_};
  Joining joining_{context_};
  Proposals proposals_;
  Time lease_until_ = 0, lease_asked_ = 0;
  Time current_as_of_ = 0;  // the state holds all that was decided before
  // When so much is applied, it does as of then.
  struct {
    Time sent = 0;
    std::uint64_t committed = 0;
  } read_index_;
  std::uint64_t clean_ = 0;  // log index as of which all own disks were redundant
  NodeId noted_leader_ = 0;
  Time missed_at_ = never;
  Time exit_at_ = never;
  std::uint64_t found_group_ = 0;  // an operator's order: to be founded as soon as the log is applied
  struct {
    std::uint64_t told = 0;  // of raft.refusals().count
    Time next = 0;
  } refusals_;
};

}  // namespace sd::control
