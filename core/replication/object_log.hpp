// The objects of one disk at its owner: the numbering of each object's writes, the order of its operations, and which
// members hold what.
//
// - Members take the writes of an object in the order of their versions only. A write is acknowledged when all acting
//   members hold it.
// - A read comes from one member and waits behind overlapping writes under way, so nothing is shown that could still
//   vanish.
// - Each change of the owner or of the members begins a new generation. The first time an object is touched in a
//   generation its members are asked (peering.hpp); until it is ready its operations wait.
//
// States of an object: unpeered -> peering -> ready, and back to unpeered with every generation and after a member's
// error.
//
// Invariants (check_state):
// - ready: every acting member holds `version` minus what is in `writes`, a run of consecutive versions that ends in
//   `version`.
// - a write is in `writes` from its sending until every acting member has acknowledged it.
// - what waits, and what is sent, is an operation of this object.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/replication/context.hpp"
#include "core/replication/peering.hpp"

namespace sd::replication {

// What an object that is not ready remembers from one attempt at peering to the next; over when it is ready.
struct Doubts {
  Time retry_at = never;  // of peering that could not go on
  // not ready in this generation, but these members hold what counts, and no other can
  ActingSet readable;
  ActingSet bad_sources;  // a pull from them failed: they cannot read their copy
  bool waits = false;     // said so in the log
  // Versions that were given to winners and not by all members taken yet, each with its `adopted`: being above the
  // writes under way does not mean including them.
  std::vector<std::pair<Version, Version>> established;
};

struct Object {
  Oid oid;
  bool ready = false;  // in the current generation
  ActingSet acting;
  std::unique_ptr<Peering> peering;
  Doubts doubts;
  ActingSet damaged;  // members whose damaged blocks are to be replaced by the next peering

  // The versions that were given out.
  Version version;          // the newest
  std::uint32_t round = 0;  // of peering in this generation ...
  // ... in which writes were sent: the next peering needs a new one, or a late write could slip in
  bool round_used = false;
  std::deque<std::uint64_t> writes;   // sent, not yet acknowledged by all; in version order
  std::deque<std::uint64_t> waiting;  // not yet sent, in order of arrival
  std::uint32_t reads = 0;            // sent
  Time resent_at = 0;                 // writes, to a member that lacked some
  // writes that the winner of peering held already, ordered: asked for again, they are done
  std::vector<Origin> known;
  std::vector<Origin> forgotten;  // others that it may have held: nobody remembers

  bool unpeered() const { return !ready && !peering; }
  // Nothing keeps it from being peered now.
  bool may_be_peered(Time now) const { return unpeered() && (doubts.retry_at == never || now >= doubts.retry_at); }
  bool has_work() const { return !writes.empty() || !waiting.empty() || reads > 0 || peering; }
  // Forgetting it loses nothing but time: it is peered again when touched.
  bool forgettable() const {
    return !has_work() && doubts.retry_at == never && damaged.empty() && known.empty() && forgotten.empty();
  }
  // Who may be asked for data.
  const ActingSet& readers() const { return ready ? acting : doubts.readable; }
};

class ObjectLog {
 public:
  explicit ObjectLog(Context& context) : context_(context) {}

  Object* find(Oid oid);
  // Makes one that is unpeered, if there is none. It stays until trim() or the next generation.
  Object& get(Oid oid);
  // Forgets some that are idle, if there are too many; they are peered again when touched. Between inputs only: whoever
  // handles one holds references.
  void trim();
  // An object whose entry was set just now: it never was, so nobody has to be asked for it.
  void begin(Oid oid);
  // An operation of kind read, write or zero; it is finished through the context's owner.
  void enqueue(Object& object, std::uint64_t id);
  // Answers to operations of an object. The operation waits for an answer of `from`.
  void on_reply(std::uint64_t id, Op& op, NodeId from, peer::ObjectReply&& reply);
  // A member says that its copy is not whole any more, or never was.
  void on_lost_copy(Oid oid);
  // Makes the object redundant in this generation, if it is not and nothing stands against it.
  void touch(Object& object);
  // Whatever is known of it is in doubt: its members are asked anew.
  void demote(Object& object);
  // A new generation has begun.
  void on_generation();
  // The newest version that every acting member of a ready object holds.
  Version settled_version(const Object& object) const;
  // The node may serve again.
  void on_serving();
  // A read that has waited for long enough: another member may be quicker.
  void retry_read(std::uint64_t id);
  // Sends again what has not been answered, and begins what had to wait.
  void tick();
  void clear() { objects_.clear(); }
  // When an attempt at peering that could not go on wants another tick().
  Time take_next_retry() { return std::exchange(next_retry_, never); }
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  using Request = peer::ObjectRequest;
  using Reply = peer::ObjectReply;

  void pump(Object& object);
  void pump_ready(Object& object);
  void pump_reads(Object& object);
  bool overlaps_write(const Object& object, const Op& op) const;
  bool answered_without_members(Object& object, std::uint64_t id, const Op& op);
  bool refused_for_space(const Object& object, std::uint64_t id, const Op& op);
  void start_read(Object& object, std::uint64_t id);
  NodeId reader_for(const Object& object, const Op& op) const;
  void read_failed(Object& object, std::uint64_t id, Op& op);
  void requeue_read(std::uint64_t id, Op& op);
  void put_back(std::uint64_t id, Op& op);
  void on_read_reply(std::uint64_t id, Op& op, NodeId from, Reply&& reply);
  void on_read_data(std::uint64_t id, Op& op, Payload&& payload);
  void ask_to_repair(const Object& object, NodeId member, const Op& op);
  void start_write(Object& object, std::uint64_t id);
  void send_write(const Object& object, std::uint64_t id, const Op& op, NodeId member);
  void on_write_reply(std::uint64_t id, Op& op, NodeId from, const Reply& reply);
  void on_acknowledged(Object& object, std::uint64_t id, NodeId from);
  void on_gap(Object& object, std::uint64_t id, NodeId from);
  void on_refused_write(Object& object, std::uint64_t id, Op& op, NodeId from, Status status);
  void repeat_writes(const Object& object);
  void peer(Object& object);
  void act(Object& object, Peering::Next next);
  void end_peering(Object& object);
  void postpone(Object& object);
  void fail_waiting(Object& object, Status status);
  void ready(Object& object);

  Context& context_;
  std::map<Oid, std::unique_ptr<Object>> objects_;
  Oid trimmed_to_;  // the last one that trim() looked at
  // The newest round of an object that was forgotten in this generation: members refuse writes of earlier rounds, so
  // one that is met again begins there.
  std::uint32_t forgotten_round_ = 0;
  Time next_retry_ = never;
};

}  // namespace sd::replication
