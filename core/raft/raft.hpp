// Raft: one log of commands, the same on every member, as a machine without input or output of its own.
//
// It promises (Ongaro's thesis, 2014, and "In search of an understandable consensus algorithm")
// - election safety: at most one leader in a term; log matching; leader completeness: what is committed is never lost
//   while a majority of the voters keep their disks; state machine safety: all nodes see the same committed entries in
//   the same order;
// - durability: nothing that promises (a vote, an acknowledgement, the leader counting its own copy) leaves before a
//   sync made it durable;
// - a leader lease: from the time a voter hears from a leader it refuses every other candidate for
//   election_timeout_min. A node that starts, and a leader that steps down, count as having heard just then. So until
//   quorum_contact() + election_timeout_min (on clocks of the same speed) there is no other leader;
// - that lease ends early only by the leader's own word (hand_over) or when its process is known to be gone
//   (leader_gone);
// - a node that was cut off does not disturb (pre-vote), and a leader that was cut off steps down by itself
//   (check-quorum);
// - membership changes one node at a time, in effect as soon as appended; learners hold the log and never vote for
//   themselves.
//
// States: reading (until ready()), follower, pre_candidate, candidate, leader; and corrupt() for good, which sends
// nothing. A node starts empty (no configuration: it waits to be contacted and never campaigns), or bootstraps a group
// of one.
//
// Use: open(), feed disk completions until ready(); if empty() and this is the first node of all, bootstrap(). Feed
// messages, disk completions, and tick() at next_deadline() or later; a tick too early is harmless. After each call
// perform the Effects, in any order. Invariants are checked in raft_invariants.hpp.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/random.hpp"
#include "core/base/slice.hpp"
#include "core/base/time.hpp"
#include "core/disk/disk.hpp"
#include "core/raft/message.hpp"
#include "core/raft/raft_log.hpp"

namespace sd::raft {

struct Options {
  NodeId id = 0;
  std::uint64_t group = 0;  // 0: not known yet (see adopt_group); what is stored wins
  Time election_timeout_min = milliseconds(500);
  Time election_timeout_max = milliseconds(1000);
  Time heartbeat = milliseconds(100);
  std::size_t max_append_entries = 256;
  std::size_t max_append_bytes = 256u << 10;  // of one message; a single larger entry still goes
  std::size_t max_inflight = 8;               // appends under way to one peer
  std::size_t max_uncommitted = 4096;         // entries; more proposals are refused
  std::size_t max_uncommitted_bytes = 32u << 20;
  std::size_t snapshot_threshold = 1000;  // entries; see wants_compaction()
  std::size_t snapshot_chunk = max_snapshot_chunk;
  // Whether the state machine can apply a command, or start from a snapshot. A node neither proposes nor stores what it
  // could not apply: stored, it would end the node at every start. Without these everything counts as readable.
  std::function<bool(std::string_view)> readable_command = {};
  std::function<bool(std::string_view)> readable_snapshot = {};
};

// Messages that no node of the group can have sent; see refusal.hpp. Nothing of them was taken over.
struct Refusals {
  std::uint64_t count = 0;
  NodeId last_from = 0;
  std::string_view last_reason;
};

struct Effects {
  std::vector<std::pair<NodeId, Message>> messages;
  // Replaces the state machine, before `committed` is applied. At open this is the stored snapshot.
  std::optional<std::string> install_snapshot;
  // In order; each exactly once per run of the process, no-ops and configurations included.
  std::vector<Entry> committed;
  std::vector<DiskOp> disk;

  void clear() {
    messages.clear();
    install_snapshot.reset();
    committed.clear();
    disk.clear();
  }
};

enum class Role : std::uint8_t { follower, pre_candidate, candidate, leader };

class Raft {
 public:
  Raft(Options options, BufferPool& pool, std::uint64_t random_seed);

  // Starts reading the node's files.
  void open(Time now, Effects& out);
  bool ready() const { return loaded_ && !corrupt(); }
  // Stored bytes are damaged, or the disk failed: the node takes no further part. reason() tells the operator what
  // happened.
  bool corrupt() const { return log_.failed(); }
  const std::string& reason() const { return log_.reason(); }
  // Nothing stored: never part of a group.
  bool empty() const;
  // Only when ready and empty: a group of one, this node the voter.
  void bootstrap(Time now, Effects& out);
  // A node without a group learns which one it belongs to; ignored once it has one.
  void adopt_group(std::uint64_t group);
  std::uint64_t group() const { return options_.group; }

  // Ignores completions that are not its own.
  void on_disk(Time now, DiskDone&& done, Effects& out);
  void on_message(Time now, Message&& message, Effects& out);
  void tick(Time now, Effects& out);
  Time next_deadline() const;

  // For the caller's log: a count that grows means that a peer is damaged, hostile, or of a later version.
  const Refusals& refusals() const { return refusals_; }

  // The index that the command gets if it is committed in this term: it is if `committed` shows this index with the
  // term() of now, and never will be if it shows the index with another term. nullopt: not the leader, too large, not
  // readable, or too much under way.
  std::optional<Index> propose(Time now, std::string command, Effects& out);
  // One step from config(). False: not the leader, not one step, the change before not committed, or nothing of this
  // term committed yet.
  bool propose_config(Time now, Config config, Effects& out);
  // Leader: steps down now in favour of a voter whose log is complete, the one heard last if none is named; that one
  // campaigns at once. False: not the leader, or no such voter; nothing happened.
  bool hand_over(Time now, NodeId to, Effects& out);
  // The caller knows that the process of the leader of this term is gone: nothing has to wait for its lease. Ignored if
  // `leader` does not lead.
  void leader_gone(Time now, NodeId leader);
  // An operator's, who has lost the majority of the voters for good; never while a leader is known. First everything
  // that the log holds counts as committed, as some of it may have been ...
  void commit_all(Time now, Effects& out);
  // ... and once that is applied, this node founds another group alone, whose log begins behind this one, at `index`,
  // with `state`.
  void found_anew(Time now, std::uint64_t group, Index index, std::string state, Effects& out);
  // More than snapshot_threshold applied entries are in the log, and no live peer is being sent the snapshot that
  // compaction would replace (or it is much too long).
  bool wants_compaction(Time now) const;
  // `state` is the state machine after applying `through`, which must have been handed out as committed. Old values are
  // ignored. So is a state above max_snapshot: the log then fills, and proposals are refused until the state is
  // smaller.
  void compact(Time now, Index through, std::string state, Effects& out);

  bool is_leader() const { return role_ == Role::leader; }
  Role role() const { return role_; }
  NodeId id() const { return options_.id; }
  const Options& options() const { return options_; }
  NodeId leader() const { return leader_; }  // of this term as far as known; 0 if not
  Term term() const { return term_; }
  NodeId vote() const { return vote_; }
  Index commit_index() const { return commit_; }
  Index applied_index() const { return applied_; }  // handed out in Effects
  Index last_index() const { return snapshot_.index + entries_.size(); }
  Index durable_index() const { return durable_index_; }
  Index snapshot_index() const { return snapshot_.index; }
  std::size_t log_size() const { return entries_.size(); }
  // The term of an entry in [snapshot_index(), last_index()].
  Term term_at(Index index) const;
  // The entry at an index in (snapshot_index(), last_index()].
  const Entry& entry(Index index) const;
  const Config& config() const { return configs_.back().second; }
  // Where config() stands in the log; it is committed if commit_index() has reached it.
  Index config_index() const { return configs_.back().first; }

  // Leader: the latest T such that a majority of the voters acknowledged something this leader sent at or after T;
  // `now` if it is the only voter. 0: not the leader, or never.
  Time quorum_contact(Time now) const;
  // Leader: the latest sending time of what this peer acknowledged; 0: none. `now` for this node.
  Time contact(NodeId peer, Time now) const;
  // Leader: when it was elected.
  Time leader_since() const { return leader_since_; }
  // Leader: no leader of an earlier term heard a majority after this time (on clocks of the same speed).
  Time earlier_contact_bound() const {
    return took_over_ ? leader_since_ : leader_since_ - std::min(leader_since_, options_.election_timeout_min);
  }
  // Leader: how far a peer's log is known to match, durably. 0 if unknown.
  Index match(NodeId peer) const;

 private:
  friend struct Inspection;  // raft_invariants.cpp

  // What a leader knows of another member.
  struct Peer {
    enum class State : std::uint8_t {
      probe,      // looking for where the logs part; one append per heartbeat or answer
      replicate,  // `next` runs ahead of the acknowledgements
      snapshot,   // needs entries that are gone
    };
    State state = State::probe;
    bool probing = false;  // probe: an append is under way ...
    Time probed = 0;       // ... sent then ...
    Index probe_end = 0;   // ... whose last entry is this, or the one before it if it has none
    Index match = 0;
    Time match_sent = 0;  // when the latest append was sent that the peer accepted
    Index next = 1;
    Time contact = 0;
    std::vector<Index> inflight;        // last index of each append under way
    Index snapshot_index = 0;           // snapshot: which one is being sent ...
    std::uint64_t snapshot_offset = 0;  // ... how much has arrived ...
    Time chunk_sent = 0;                // ... and when the next part was sent last
  };
  // A snapshot that is arriving, from one leader in one term.
  struct Incoming {
    Snapshot snapshot;
    std::uint64_t size;
    NodeId from;
    Term term;
    bool unreadable = false;  // all of it has arrived, and was refused

    explicit Incoming(const Message& m)
        : snapshot{.index = m.index, .term = m.log_term, .config = m.config, .data = {}},
          size(m.snapshot_size),
          from(m.from),
          term(m.term) {}
    bool is_of(const Message& m) const {
      return snapshot.index == m.index && snapshot.term == m.log_term && size == m.snapshot_size && from == m.from &&
             term == m.term;
    }
  };
  // A message that waits for the disk. Addressed to this node itself: its own vote.
  struct Held {
    std::uint64_t ticket;
    NodeId to;
    Message message;
  };

  // raft.cpp: incarnation and elections.
  void load(Time now, Effects& out);
  void finish(Time now, Effects& out);
  void on_durable(Time now, Effects& out);
  void become_follower(Time now, Term term, NodeId leader);
  void campaign(Time now, bool pre, Effects& out, bool take_over = false);
  void on_take_over(Time now, const Message& m, Effects& out);
  void become_leader(Time now, Effects& out);
  void on_election_timeout(Time now, Effects& out);
  void on_vote(Time now, const Message& m, Effects& out);
  void on_pre_vote(Time now, const Message& m, Effects& out);
  void on_vote_reply(Time now, const Message& m, Effects& out);
  bool hears_leader(Time now) const;
  bool sole_voter() const;
  bool up_to_date(const Message& m) const;
  void reset_election_timer(Time now, bool hurry = true);
  void save_hard_state();
  Message make(Message::Type type, Term term) const;
  void hold(NodeId to, Message&& m, Effects& out);
  void emit_committed(Effects& out);
  std::uint64_t durable_ticket() const;

  // raft_replication.cpp: the log, both sides.
  void append_entry(Entry&& e);
  void truncate_from(Index from);
  void note_unsynced();
  void on_append(Time now, Message&& m, Effects& out);
  void on_append_reply(Time now, const Message& m, Effects& out);
  void on_snapshot(Time now, Message&& m, Effects& out);
  void install_snapshot(Effects& out);
  void on_snapshot_reply(Time now, const Message& m, Effects& out);
  void acknowledge(const Message& m, Index index, Effects& out);
  void refuse_append(const Message& m, Effects& out);
  void refuse_message(NodeId from, std::string_view why);
  static bool forget_lost_entries(Peer& peer, const Message& reject);
  void tell_past_leader(const Message& m, Effects& out);
  void send_append(Time now, NodeId to, Peer& peer, bool heartbeat, Effects& out);
  void send_chunk(Time now, NodeId to, Peer& peer, bool data, Effects& out);
  void send_what_is_due(Time now, NodeId to, Peer& peer, Effects& out);
  void broadcast(Time now, Effects& out);
  void broadcast_heartbeat(Time now, Effects& out);
  void broadcast_commit(Time now, Effects& out);
  void advance_commit(Time now, Effects& out);
  void refresh_peers();
  void rewrite_log();

  Options options_;
  Random random_;
  RaftLog log_;
  bool loaded_ = false;

  // Durable state, as of the last record.
  Term term_ = 0;
  NodeId vote_ = 0;
  bool group_stored_ = false;
  Snapshot snapshot_;
  std::deque<Entry> entries_;  // from snapshot_.index + 1
  // by the index where each took effect; the first as of the snapshot; never empty
  std::deque<std::pair<Index, Config>> configs_;

  Role role_ = Role::follower;
  NodeId leader_ = 0;
  Index commit_ = 0;
  Index applied_ = 0;
  Index durable_index_ = 0;                               // up to here this log is on disk
  std::deque<std::pair<std::uint64_t, Index>> unsynced_;  // what durable_index_ becomes when a ticket is durable
  std::uint64_t seen_durable_ = 0;
  std::vector<Held> held_;
  Time election_deadline_ = never;
  Time hurry_until_ = 0;  // elections come in quick succession: the leader's process is gone
  std::optional<Time> heard_leader_;

  // Candidate.
  std::map<NodeId, bool> votes_;

  // Leader.
  std::map<NodeId, Peer> peers_;
  Time leader_since_ = 0;
  bool took_over_ = false;  // the leader before stepped down in favour of this node
  Time heartbeat_deadline_ = never;
  std::size_t uncommitted_bytes_ = 0;

  std::optional<Incoming> incoming_;  // follower

  Refusals refusals_;
};

}  // namespace sd::raft
