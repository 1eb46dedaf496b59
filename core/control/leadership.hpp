// What a node does as leader about the members: who gets a lease, who is taken out, whose absence lasts too long, and
// what they report. One leadership is one object: born when the node is elected, dead when it stands down. Nothing of
// it survives into the next one, not even the next of the same node.
//
// The problem: a member serves disks as long as it holds a lease, also when it is cut off. Taking it out of the cluster
// lets others serve its disks. So it may only be taken out when its lease has surely ended, whoever gave it:
// - this leader, which knows when; or
// - an earlier leader, which is not there to be asked. But a leader gives leases only while a majority hears it, and
//   whoever was elected later knows until when that can have been (`Elected`).
// And no lease may be given to a member whose removal is on its way: neither one that this leader proposed, nor one
// that it inherited and has not applied.
//
// Promises (on clocks that differ by no more than `lease_margin` over a lease):
// - `silent` names a member only after every lease that anybody can have given to it has ended, or when its process is
//   known to be gone.
// - `may_grant` is false from the time a removal of that incarnation is proposed.
//
// Nothing here sends or proposes: the caller does, and repeats what it proposes until the cluster state shows it.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/time.hpp"
#include "core/cluster/state.hpp"

namespace sd::control {

class Leadership {
 public:
  struct Timing {
    Time lease = 0;             // how long a member may serve after its last word with the leader
    Time lease_margin = 0;      // allowed drift of clocks over one lease
    Time election_timeout = 0;  // the shortest: so long a voter that hears a leader refuses all others
  };

  struct Elected {
    std::uint64_t term = 0;
    Time since = 0;  // by this node's clock
    // The leader of the term before, if this node followed it, and until when it can have heard a majority. Its own
    // lease counts from there; those that it gave to others may be as young as the election.
    NodeId earlier_leader = 0;
    Time earlier_bound = 0;
  };

  Leadership(const Timing& timing, const Elected& elected) : timing_(timing), elected_(elected) {}

  std::uint64_t term() const { return elected_.term; }

  // --- Leases

  // `quorum_contact`: a majority has acknowledged something that was sent at that time. `applied_term`: of the last
  // entry that the state includes.
  bool may_grant(Time now, const cluster::State& state, NodeId to, Incarnation incarnation, Time quorum_contact,
                 std::uint64_t applied_term) const;
  // A lease was given, and the member said: the disks that it owned as of log index `clean` are redundant, and it holds
  // no object any more of the deleted disks `purged`.
  void on_granted(Time now, NodeId to, std::uint64_t clean, std::vector<Vid>&& purged);
  void on_clean(NodeId member, std::uint64_t clean) { watches_[member].clean = clean; }

  // --- Removal

  struct Silent {
    NodeId id = 0;
    Incarnation incarnation = 0;
    bool gone = false;  // its process is known to be gone; else it is silent
  };
  // The members whose removal is to be proposed now, in one entry; counts as proposed. Those whose silence began
  // together, as with the power of a rack, are taken out together: if they were removed one by one, there would be an
  // epoch with only the last of them up, which the cluster would then wait for. `is_gone`: nobody listens at this
  // client address any more.
  std::vector<Silent> silent(Time now, const cluster::State& state, NodeId self,
                             const std::function<bool(const Endpoint&)>& is_gone);

  // --- Absence: counted from when this leader first saw it, since no clock is shared. A new leader begins anew, which
  // makes an absence longer, never shorter.

  // Nodes that are neither members, voters nor learners any more are forgotten.
  void watch_absent(Time now, const cluster::State& state, const std::vector<NodeId>& voters,
                    const std::vector<NodeId>& learners);
  Time absent_for(Time now, NodeId member) const;
  // How long a node has been given the log without having become a member; 0: it is one, or gets none.
  Time stranger_for(Time now, NodeId learner) const;
  // Members that are away for longer than the grace time and keep their place; counts as proposed.
  std::vector<NodeId> to_expel(Time now, const cluster::State& state);
  // True if the member's leaving of the list is to be proposed now; counts as proposed.
  bool may_forget(Time now, NodeId member);

  // --- Joining

  // A member asks to be let in: what was proposed about its earlier incarnation is over.
  void on_join_request(NodeId member);
  // True if its joining is to be proposed now; counts as proposed. All that this leader proposed of it stands before
  // that entry, and a member that was removed for its silence starts anew.
  bool may_let_in(Time now, NodeId member);

  // --- What members report

  // Every disk that has an owner is redundant in its current generation.
  bool all_clean(const cluster::State& state) const;
  // Every other member that stores data has said that it holds nothing any more of this deleted disk.
  bool purged_by_others(const cluster::State& state, NodeId self, Vid vid) const;

  std::size_t watched() const { return watches_.size(); }

 private:
  struct MemberWatch {
    std::optional<Time> granted;  // a lease, last
    // Its removal; this incarnation gets no lease any more.
    std::optional<Time> remove_proposed;
    std::optional<Incarnation> removing;
    std::optional<Time> join_proposed, expel_proposed, forget_proposed;
    std::optional<Time> absent_since;
    std::optional<Time> stranger_since;  // a learner that is no member
    std::uint64_t clean = 0;
    std::vector<Vid> purged;
  };

  const MemberWatch* watch_of(NodeId member) const;
  // Until when, by this node's clock, somebody can have given a lease to the member.
  Time last_lease(NodeId member) const;

  Timing timing_;
  Elected elected_;
  std::map<NodeId, MemberWatch> watches_;  // of members, voters and learners
};

}  // namespace sd::control
