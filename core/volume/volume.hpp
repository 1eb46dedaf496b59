// One virtual disk at its owner: turns the requests of clients into versioned operations on the members of each object.
//
// The problem: copies on several nodes, any of which may die, stall or lose what it had not flushed, must look like one
// disk. Writing to all and reading from any is not enough: a gateway that dies between two sends leaves copies
// different, and then two reads can give two answers. The sketch of the answer:
// - All writes of a disk go through one owner at a time, which numbers each object's writes. Members take them in that
//   order only.
// - A write is acknowledged when all acting members hold it. A read comes from one member and waits behind overlapping
//   writes under way, so nothing is shown that could still vanish.
// - Each change of the owner or of the members begins a new generation. The first time an object is touched in a
//   generation the owner asks the members of every epoch that may still matter for their version ("peering"), which
//   also fences older generations; the newest complete copy wins, the others are made equal to it, and only then is the
//   object ready.
// - An object whose index entry was never set was never written: no peering, reads are zeros.
//
// - The decision is then written down, as a version of the new generation, unless every member that could ever object
//   has agreed: one that was away may hold a history of its own with a version above the winner's, which must not win
//   later over what was seen.
//
// - A member that has no room to be made equal keeps nobody from reading: once it has marked what it has as no copy,
//   the others are as good as all, until the next attempt succeeds. Only reads: what is acknowledged is held by all
//   acting members.
//
// States of an object: unpeered -> peering (querying -> pulling -> establishing) -> ready, and back to unpeered with
// every generation and after a member's error.
//
// Invariants (see check_invariants):
// - ready: every acting member holds `version` minus what is in `writes`, a run of consecutive versions that ends in
//   `version`.
// - a write is in `writes` from its sending until every acting member has acknowledged it.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/slot_table.hpp"
#include "core/base/time.hpp"
#include "core/cluster/placement.hpp"
#include "core/peer/message.hpp"
#include "core/replication/verdict.hpp"
#include "core/volume/check.hpp"
#include "core/volume/io.hpp"
#include "core/volume/object_map.hpp"
#include "core/volume/sweep.hpp"

namespace sd {

struct VolumeEffects {
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;  // also to this node itself
  // Status::stale: this node does not own the disk any more; nothing is known of the request's fate, ask the new owner.
  std::vector<IoDone> done;
  std::vector<std::string> notices;
};

class Volume {
 public:
  // state and placement are the node's, kept up to date by it; the volume must be told of each change by on_state.
  Volume(Time now, NodeId self, Vid vid, BufferPool& pool, const cluster::State& state,
         const cluster::Placement& placement);

  // The request must lie inside the disk. Zero lengths are answered at once.
  void submit(Time now, std::uint64_t ticket, IoRequest&& request, VolumeEffects& out);
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply, VolumeEffects& out);
  // A member says that its copy is not whole any more, or never was.
  void on_lost_copy(Time now, Oid oid, VolumeEffects& out);
  void on_state(Time now, VolumeEffects& out);
  // False while the node holds no lease: reads wait, since another node may serve the disk by now.
  void set_serving(Time now, bool serving, VolumeEffects& out);
  void tick(Time now, VolumeEffects& out);
  Time next_deadline() const;

  // Makes every object redundant in the current generation, `budget` at a time; then it is `recovered`.
  void recover(Time now, std::size_t budget, VolumeEffects& out);
  bool recovered() const { return sweep_.done() && sweep_.generation() == generation_; }
  SweepProgress sweep() const;

  bool idle() const { return ios_.size() == 0; }
  std::size_t under_way() const { return ios_.size(); }
  std::uint64_t generation() const { return generation_; }
  void check_invariants() const;

 private:
  using Request = peer::ObjectRequest;
  using Reply = peer::ObjectReply;

  // What a client (or recovery) asked for; answered when all its parts are.
  struct Io {
    std::uint64_t ticket = 0;
    IoRequest::Kind kind{};
    bool fua = false;
    bool internal = false;  // nobody to answer
    std::uint32_t parts_left = 0;
    Status status = Status::ok;
    std::vector<Payload> parts;            // of a read over several objects, in order
    Payload payload;                       // of a read of one object
    std::uint64_t offset = 0, length = 0;  // of a map
  };

  struct Object;

  // One operation on one object; its id is that of the requests sent for it.
  struct Op {
    enum class Kind : std::uint8_t { read, write, zero, query, pull, establish, flush, check, clear };
    enum class Purpose : std::uint8_t { client, load_page, set_entry };
    Kind kind{};
    Purpose purpose = Purpose::client;
    std::uint64_t io = 0;
    std::uint32_t part = 0;
    Object* object = nullptr;
    std::uint32_t offset = 0, length = 0;
    Payload payload;
    Origin origin;
    Version version, previous;  // read, check: `version` is the least that its answer must be of
    Time sent = 0;
    unsigned repeats = 0;
    ActingSet waiting_for;  // members that have not answered
    ActingSet tried;        // read: members that failed
    bool bad_copy = false;  // read: a member's copy turned out damaged
    // read, write: damage stood in its way once, and everybody was asked for good blocks
    bool repaired = false;
    std::uint32_t entry = 0;  // load_page: the page; set_entry: the data object's index
  };

  struct Answer {
    NodeId from = 0;
    Reply reply;
  };

  // One attempt to find out which copy of an object counts, and to make the others equal to it: born when the members
  // are asked, dead when the object is ready or when the attempt is given up. The next one is a new object.
  struct Peering {
    enum class Stage : std::uint8_t { querying, pulling, establishing } stage = Stage::querying;
    std::uint64_t op = 0;         // of the question under way
    std::vector<Answer> answers;  // to the query
    // From the verdict:
    Version winner;      // what the members are made equal to, or the version that this was given
    Version adopted;     // the version that it had: tells which writes it includes
    bool final = false;  // the decision need not be written down
    // Of pulling:
    NodeId source = 0;
    ActingSet without_room;   // they cannot pull, and have marked what they hold as no copy
    bool background = false;  // nobody waits for the object
  };

  // Before an object's first entry in the index, while history is open: members may hold an object of that name which
  // no index names, because the power failed before its entry was durable. It must be gone for good before the entry
  // may be: a later loss of power could keep the entry and lose the first write, and what guests have seen as zeros
  // would come back.
  struct Clearing {
    enum class Stage : std::uint8_t { asking, removing, flushing } stage = Stage::asking;
    std::vector<std::pair<NodeId, Version>> holders;
  };

  // What an object that is not ready remembers from one attempt to the next; over when it is ready.
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
    bool pulling() const { return peering && peering->stage == Peering::Stage::pulling; }
  };

  // An object whose copies are being read.
  struct Checked {
    Oid oid;
    std::uint64_t op = 0;   // of the question to its members, if one is under way
    Time since = 0;         // the last sign of progress
    unsigned rounds = 0;    // of peering for members that were found without a whole copy
    bool old_copy = false;  // such a member answered
    ActingSet read;         // members whose copy was read to the end
    CheckCounts counts;
  };
  // The check that a client asked for.
  struct Check {
    std::uint64_t io = 0;
    std::uint64_t first = 0, next = 0, end = 0;  // data objects
    std::uint64_t begun = 0;                     // objects
    Time since = never, load_at = 0;             // begun; when to ask for a page of the index again
    std::uint64_t index_begun = ~0ull;           // the last data object before which an object of the index was checked
    std::vector<Checked> open;
    CheckCounts counts;
  };

  // volume.cpp: requests in, answers out.
  void finish_part(Time now, std::uint64_t io, std::uint32_t part, Status status, Payload&& payload,
                   VolumeEffects& out);
  void finish_io(Time now, std::uint64_t id, VolumeEffects& out);
  void admit(Time now, std::uint64_t id, VolumeEffects& out);
  void enqueue(Time now, Object& object, std::uint64_t id, VolumeEffects& out);
  void pump(Time now, Object& object, VolumeEffects& out);
  bool overlaps_write(const Object& object, const Op& op) const;
  static const ActingSet& readers(const Object& object) {
    return object.ready ? object.acting : object.doubts.readable;
  }
  void start_write(Time now, Object& object, std::uint64_t id, VolumeEffects& out);
  void send_write(Time now, Object& object, std::uint64_t id, Op& op, NodeId only, VolumeEffects& out);
  void start_read(Time now, Object& object, std::uint64_t id, VolumeEffects& out);
  void finish_op(Time now, std::uint64_t id, Status status, Payload&& payload, VolumeEffects& out);
  void start_flush(Time now, std::uint64_t io, VolumeEffects& out);
  void send_flush(Time now, std::uint64_t id, Op& op, VolumeEffects& out);
  Object& object_for(Oid oid);
  void requeue_read(Time now, std::uint64_t id, Op& op, VolumeEffects& out);
  void note_full(NodeId member, bool full);
  bool has_work(const Object& object) const;
  void give_up(VolumeEffects& out);
  bool can_forget(const Object& object) const;
  Payload zeros(std::uint32_t length);
  Request make(Request::Op op, std::uint64_t id, Oid oid) const;
  void on_write_reply(Time now, std::uint64_t id, Op& op, NodeId from, Reply&& reply, VolumeEffects& out);
  void on_read_reply(Time now, std::uint64_t id, Op& op, NodeId from, Reply&& reply, VolumeEffects& out);

  // volume_peering.cpp: which copy counts.
  void demote(Time now, Object& object, VolumeEffects& out);
  void peer(Time now, Object& object, VolumeEffects& out);
  void fail_waiting(Time now, Object& object, Status status, VolumeEffects& out);
  void on_query_reply(Time now, std::uint64_t id, Op& op, NodeId from, Reply&& reply, VolumeEffects& out);
  void decide(Time now, Object& object, VolumeEffects& out);
  Request query_of(const Object& object) const;
  replication::Question question(Time now, const Object& object) const;
  static std::vector<replication::Answer> heard(const Object& object);
  void wait_for_members(Time now, Object& object, const char* why, VolumeEffects& out);
  void pull(Time now, Object& object, NodeId source, const ActingSet& laggards, VolumeEffects& out);
  Request pull_request(const Object& object, NodeId member) const;
  void hurry(Object& object, VolumeEffects& out);
  static std::vector<NodeId> helpers_for(const Peering& peering, NodeId member);
  void ask_to_repair(const Object& object, NodeId member, const Op& op, VolumeEffects& out);
  void on_pull_reply(Time now, std::uint64_t id, Op& op, NodeId from, Reply&& reply, VolumeEffects& out);
  void serve_reads_only(Time now, Object& object, VolumeEffects& out);
  void pump_reads(Time now, Object& object, VolumeEffects& out);
  void establish(Time now, Object& object, VolumeEffects& out);
  Request establishing_write(const Object& object) const;
  void on_establish_reply(Time now, Op& op, NodeId from, Reply&& reply, VolumeEffects& out);
  void ready(Time now, Object& object, VolumeEffects& out);
  void postpone(Time now, Object& object);
  void end_peering(Object& object);

  // volume_index.cpp: which objects exist.
  bool load_page(Time now, std::uint32_t page, VolumeEffects& out);
  void on_page(Time now, std::uint32_t page, Status status, const Payload& payload, VolumeEffects& out);
  void write_entry(Time now, std::uint32_t index, std::uint64_t first_op, VolumeEffects& out);
  void set_entry(Time now, std::uint32_t index, VolumeEffects& out);
  ActingSet members_to_ask(Oid oid) const;
  void clear_object(Time now, std::uint32_t index, VolumeEffects& out);
  void on_clear_reply(Time now, std::uint64_t id, Op& op, NodeId from, const Reply& reply, VolumeEffects& out);
  void send_clear(Time now, std::uint64_t id, Op& op, VolumeEffects& out);
  void restart_clearings(Time now, VolumeEffects& out);
  void begin_object(std::uint32_t index);
  void on_entry_written(Time now, std::uint32_t index, Status status, VolumeEffects& out);
  void try_map(Time now, std::uint64_t io, VolumeEffects& out);

  // volume_check.cpp
  void submit_check(Time now, std::uint64_t io, VolumeEffects& out);
  void run_checks(Time now, VolumeEffects& out);
  void begin_checks(Time now, Check& check, VolumeEffects& out);
  static bool begins_more(Time now, const Check& check);
  bool go_on(Time now, Checked& checked, VolumeEffects& out);
  bool read_copies(Time now, const Object& object, Checked& checked, VolumeEffects& out);
  Request check_request(const Checked& checked, NodeId member) const;
  Checked* checked_by(std::uint64_t op);
  void on_check_reply(Time now, std::uint64_t id, Op& op, NodeId from, const Reply& reply, VolumeEffects& out);
  void repeat_check(Time now, std::uint64_t id, Op& op, VolumeEffects& out);
  void count_restored(Time now, Oid oid);
  void restart_checks(Time now);

  NodeId self_;
  Vid vid_;
  BufferPool& pool_;
  const cluster::State& state_;
  const cluster::Placement& placement_;
  std::uint64_t generation_ = 0;
  Time generation_since_ = 0;
  bool owner_ = true;
  bool serving_ = true;
  std::uint8_t copies_ = 0;
  SlotTable<Io> ios_;
  SlotTable<Op> ops_;
  std::map<Oid, std::unique_ptr<Object>> objects_;
  ObjectMap map_;
  std::map<std::uint32_t, Clearing> clearings_;  // by data object
  std::vector<NodeId> dirty_;              // members that hold acknowledged writes which no flush covers yet, ordered
  std::vector<NodeId> full_;               // members short of space, ordered
  std::vector<NodeId> told_without_room_;  // in this generation, ordered
  std::vector<std::uint64_t> flushes_;     // ops
  Slice zero_block_;
  Time next_tick_ = never;
  Sweep sweep_;
  std::deque<Check> checks_;  // in order of arrival; the first is under way
};

}  // namespace sd
