// The cluster's replicated state: what every node agrees on, because each applies the same commands in the order of the
// Raft log.
//
// Promises:
// - `apply` is a pure function of state and command: every node that applied the same log holds the same bytes (see
//   `encode`).
// - Each change of the data ring (a member up, down, or restarted under a new incarnation) is one new epoch.
// - A member that goes down keeps its place on the ring until it is expelled: its objects go on with their other
//   members, and no data moves.
// - A command carries its proposer and a number; it takes effect at most once however often it is proposed.
//
// Nothing here knows of Raft, networks or time.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/status.hpp"

namespace sd::cluster {

struct Member {
  NodeId id = 0;
  Incarnation incarnation = 0;  // of its current or last incarnation
  Endpoint address;             // the client port; the peer port is one above
  std::uint32_t zone = 0;       // copies of an object go to members of different zones
  std::uint16_t vnodes = 0;     // points on the ring; 0: a gateway or a witness, which stores nothing
  bool witness = false;         // votes, and does nothing else
  bool up = false;              // it serves, in the current epoch
  bool placed = false;          // its share of the data is kept for it: up, or down for less than the grace time
  bool draining = false;        // it is to be taken away: up or not, it gets no share
  bool left = false;            // down because it said so itself
  friend bool operator==(const Member&, const Member&) = default;
  static void fields(auto& m, auto& f) {
    f(m.id, m.incarnation, m.address, m.zone, m.vnodes, m.witness, m.up, m.placed, m.draining, m.left);
  }
};

// One configuration of the data ring.
struct RingMember {
  NodeId id = 0;
  Incarnation incarnation = 0;
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 0;
  bool up = false;        // it takes part in every write of this epoch to the objects of its share
  bool given_up = false;  // an operator has said that nobody is to wait for what it alone may hold
  friend bool operator==(const RingMember&, const RingMember&) = default;
  static void fields(auto& m, auto& f) { f(m.id, m.incarnation, m.zone, m.vnodes, m.up, m.given_up); }
};
struct EpochRecord {
  Epoch epoch = 0;
  std::uint64_t log_index = 0;  // of the command that began it
  // all that have a share of the data, ordered by id; those that are not up only keep their place
  std::vector<RingMember> members;
  friend bool operator==(const EpochRecord&, const EpochRecord&) = default;
  static void fields(auto& e, auto& f) {
    f(e.epoch, e.log_index);
    f.list(e.members, limits::max_members);
  }
};

// Which disk, not which number: a number is used again once its disk is gone for good.
struct DiskId {
  Vid vid = 0;
  std::uint64_t created_index = 0;
  static void fields(auto& d, auto& f) { f(d.vid, d.created_index); }
};

struct Vdi {
  Vid vid = 0;
  std::string name;
  std::uint64_t size = 0;  // bytes
  std::uint8_t copies = 0;
  std::uint64_t created_index = 0;  // log index of its creation
  NodeId owner = 0;                 // the one gateway that serves it; 0: nobody yet
  std::uint64_t owner_index = 0;    // log index of the grant
  bool deleting = false;            // the name is free again; objects are being removed
  // data objects that it may have
  std::uint64_t objects() const { return (size + limits::object_size - 1) / limits::object_size; }
  DiskId disk() const { return {vid, created_index}; }
  friend bool operator==(const Vdi&, const Vdi&) = default;
  static void fields(auto& v, auto& f) {
    f(v.vid);
    f.text(v.name, limits::max_vdi_name);
    f(v.size, v.copies, v.created_index, v.owner, v.owner_index, v.deleting);
  }
};

// How fast each member may copy in the background: bytes per second, 0: no limit.
struct RecoveryRates {
  std::uint64_t busy = 32u << 20;  // while requests of clients pass through it
  std::uint64_t idle = 0;          // while none do
  friend bool operator==(const RecoveryRates&, const RecoveryRates&) = default;
  static void fields(auto& r, auto& f) { f(r.busy, r.idle); }
};

// --- Commands

struct Format {
  std::uint64_t uuid = 0;
  std::uint8_t copies = 0;
  bool force = false;
  static void fields(auto& c, auto& f) { f(c.uuid, c.copies, c.force); }
};
// also: a restart of a known member, whose disk has seen that incarnation of it
struct Join {
  Member member;
  Incarnation follows = 0;
  static void fields(auto& c, auto& f) { f(c.member, c.follows); }
};
// Down; `leave`: it said so itself. `with`: others that are silent too, in the same epoch: one in between, in which
// only they are up, would be one in which they alone may hold what was written.
struct Remove {
  NodeId id = 0;
  Incarnation incarnation = 0;
  bool leave = false;
  std::vector<std::pair<NodeId, Incarnation>> with = {};
  static void fields(auto& c, auto& f) {
    f(c.id, c.incarnation, c.leave);
    f.list(c.with, limits::max_members);
  }
};
struct CreateVdi {
  std::string name;
  std::uint64_t size = 0;
  std::uint8_t copies = 0;  // 0: the cluster's
  static void fields(auto& c, auto& f) {
    f.text(c.name, limits::max_command);
    f(c.size, c.copies);
  }
};
struct DeleteVdi {
  DiskId disk;
  static void fields(auto& c, auto& f) { f(c.disk); }
};
// All objects of a deleted disk are gone.
struct PurgeVdi {
  DiskId disk;
  static void fields(auto& c, auto& f) { f(c.disk); }
};
// Never smaller.
struct ResizeVdi {
  DiskId disk;
  std::uint64_t size = 0;
  static void fields(auto& c, auto& f) { f(c.disk, c.size); }
};
struct TakeOwnership {
  Vid vid = 0;
  NodeId node = 0;
  Incarnation incarnation = 0;
  std::uint64_t expected_owner_index = 0;
  static void fields(auto& c, auto& f) { f(c.vid, c.node, c.incarnation, c.expected_owner_index); }
};
// Every object is redundant in this epoch: older ones are history.
struct MarkClean {
  Epoch epoch = 0;
  static void fields(auto& c, auto& f) { f(c.epoch); }
};
// Until somebody joins.
struct Shutdown {
  static void fields(auto&, auto&) {}
};
// How long a member that is down keeps its share.
struct SetGrace {
  std::uint32_t milliseconds = 0;
  static void fields(auto& c, auto& f) { f(c.milliseconds); }
};
// Its grace is over: others take its share.
struct Expel {
  NodeId id = 0;
  Incarnation incarnation = 0;
  static void fields(auto& c, auto& f) { f(c.id, c.incarnation); }
};
// Planned: its share moves away while it serves; or back.
struct Drain {
  NodeId id = 0;
  bool on = false;
  static void fields(auto& c, auto& f) { f(c.id, c.on); }
};
// An operator's: whoever is down now is not waited for.
struct GiveUp {
  static void fields(auto&, auto&) {}
};
// Of every node.
struct SetThrottle {
  RecoveryRates rates;
  static void fields(auto& c, auto& f) { f(c.rates); }
};
// Off: objects are made redundant only when clients touch them.
struct SwitchRecovery {
  bool enabled = true;
  static void fields(auto& c, auto& f) { f(c.enabled); }
};
// It is gone for good, and nothing waits for it: see is_forgettable.
struct Forget {
  NodeId id = 0;
  Incarnation incarnation = 0;
  static void fields(auto& c, auto& f) { f(c.id, c.incarnation); }
};

// The index is the value in the log, so alternatives are only ever appended.
using CommandBody =
    std::variant<Format, Join, Remove, CreateVdi, DeleteVdi, PurgeVdi, ResizeVdi, TakeOwnership, MarkClean, Shutdown,
                 SetThrottle, SetGrace, Expel, Drain, GiveUp, SwitchRecovery, Forget>;

struct Command {
  NodeId proposer = 0;
  Incarnation proposer_incarnation = 0;
  std::uint64_t number = 0;  // the proposer's own count; 0: not tracked, may take effect twice
  CommandBody body;
};

void encode(const Command& command, std::string& out);
std::optional<Command> decode_command(std::string_view bytes);

struct Result {
  Status status = Status::ok;
  Vid vid = 0;  // of a created VDI
};

class State {
 public:
  bool formatted = false;
  bool shut_down = false;
  bool recovery_off = false;
  std::uint64_t uuid = 0;            // drawn at format
  std::uint64_t replaced_group = 0;  // the log's group before an operator replaced it; 0: never
  std::uint8_t copies = 0;           // default for new VDIs
  // long enough for a machine to restart, short against the time in which a second one fails
  std::uint32_t grace_ms = 600'000;
  RecoveryRates recovery_rates;
  std::uint64_t applied = 0;  // log index of the last entry seen (also of entries that are not commands)
  std::map<NodeId, Member> members;
  std::vector<EpochRecord> epochs;  // from the last clean one to the current one; never empty once a member joined
  std::map<Vid, Vdi> vdis;

  // Applies the command at log index `index`, which must be above `applied`.
  Result apply(std::uint64_t index, const Command& command);
  // The log goes on as another, founded by this member alone, whose first entry has this index; every other member is
  // gone for good.
  void found_anew(std::uint64_t index, NodeId survivor, std::uint64_t old_group);
  // An entry that is no command (an empty or configuration entry).
  void skip(std::uint64_t index) { applied = index; }

  // The outcome of the proposer's command, if it was applied and is still remembered (the last 64 of each proposer
  // are).
  std::optional<Result> outcome(NodeId proposer, Incarnation incarnation, std::uint64_t number) const;

  Epoch epoch() const { return epochs.empty() ? 0 : epochs.back().epoch; }
  // The fencing number of a VDI: the log index from which its current owner and acting sets are in force. 0 if nobody
  // owns it.
  std::uint64_t generation(Vid vid) const;
  const Vdi* find(Vid vid) const;
  const Vdi* find(std::string_view name) const;  // live ones only
  const Member* member(NodeId id) const;
  bool is_up(NodeId id, Incarnation incarnation) const;
  // Whether every object has all its copies without this member: it was drained, and what it held is elsewhere.
  bool is_drained(NodeId id) const;
  // Whether it is down and another member is up at its address: it has lost its disk and will not come back as who it
  // was.
  bool is_replaced(const Member& member) const;
  // Whether a member may leave the list: it is down, was drained or replaced, and every object has all its copies
  // without it.
  bool is_forgettable(const Member& member) const;
  // Those that are down and may hold what no other member has: so many of those who took part in some epoch that is not
  // yet clean are down, or have restarted since, that they may have been all the members of an object. Ordered by id.
  std::vector<NodeId> missing() const;

  void encode(std::string& out) const;  // the whole state, for snapshots and comparisons
  static std::optional<State> decode(std::string_view bytes);

 private:
  // Of one proposer, which never has more commands under way than this.
  static constexpr std::size_t remembered_outcomes = 64;
  static void fields(auto& s, auto& f) {
    f(s.formatted, s.shut_down, s.recovery_off, s.uuid, s.replaced_group, s.copies, s.grace_ms, s.recovery_rates);
    f(s.applied);
    f.values(s.members, limits::max_members, &Member::id);
    f.list(s.epochs, limits::max_epochs);
    f.values(s.vdis, limits::max_vdis, &Vdi::vid);
    f.map(s.proposers_, limits::max_proposers);
  }

  struct Outcome {
    std::uint64_t number = 0;
    Result result;
    static void fields(auto& o, auto& f) {
      f(o.number);
      f.choice(o.result.status, Status::read_only);
      f(o.result.vid);
    }
  };
  struct Proposer {
    Incarnation incarnation = 0;
    std::deque<Outcome> outcomes;
    static void fields(auto& p, auto& f) {
      f(p.incarnation);
      f.list(p.outcomes, remembered_outcomes);
    }
  };
  std::map<NodeId, Proposer> proposers_;

  // choice: an operator's, which can wait; join: somebody wants in, or a share goes to others; loss: somebody is gone.
  enum class EpochReason : std::uint8_t { choice, join, loss };
  bool has_room_for_epoch(EpochReason reason) const;
  void begin_epoch(std::uint64_t index);
  Result perform(std::uint64_t index, const Format&);
  Result perform(std::uint64_t index, const Join&);
  Result perform(std::uint64_t index, const Remove&);
  Result perform(std::uint64_t index, const CreateVdi&);
  Vdi* find(const DiskId& disk);
  Result perform(std::uint64_t index, const DeleteVdi&);
  Result perform(std::uint64_t index, const PurgeVdi&);
  Result perform(std::uint64_t index, const ResizeVdi&);
  Result perform(std::uint64_t index, const TakeOwnership&);
  Result perform(std::uint64_t index, const MarkClean&);
  Result perform(std::uint64_t index, const Shutdown&);
  Result perform(std::uint64_t index, const SetGrace&);
  Result perform(std::uint64_t index, const SetThrottle&);
  Result perform(std::uint64_t index, const Expel&);
  Result perform(std::uint64_t index, const Drain&);
  Result perform(std::uint64_t index, const Forget&);
  Result perform(std::uint64_t index, const GiveUp&);
  Result perform(std::uint64_t index, const SwitchRecovery&);
};

}  // namespace sd::cluster
