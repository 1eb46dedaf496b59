// A member's side of replication: answers owners about the objects it holds, and copies from another member what it
// lacks.
//
// Promises:
// - A request of a superseded generation is refused, one of a generation this node has not heard of yet waits for the
//   cluster log. Answering a generation therefore fences every lower one, without any state of its own: the number
//   comes from the replicated cluster state.
// - Writes of an object take effect in the owner's order only (the store checks each against the version before it), so
//   what a member holds is always a prefix of the owner's history.
// - A pull leaves the object either as it was, marked incomplete, or equal to its source at the named version, but for
//   blocks which are damaged at the source and at every other member that was named, and here: those are known to be
//   lost, and reads of them say so.
// - A damaged block is replaced only by bytes that match its checksum, whoever has them (repairing.cpp).
// - An object older than its VDI's creation is the leftover of a deleted VDI: it is removed when met and never shown.
#pragma once
#include <array>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "core/base/slot_table.hpp"
#include "core/base/time.hpp"
#include "core/cluster/state.hpp"
#include "core/member/blocks.hpp"
#include "core/member/throttle.hpp"
#include "core/member/write_memory.hpp"
#include "core/peer/message.hpp"
#include "core/store/store.hpp"

namespace sd {

// Since the start of the process.
struct ReplicaStats {
  std::uint64_t pulled_objects = 0, pulled_bytes = 0;    // copied from other members
  std::uint64_t repaired_blocks = 0, lost_blocks = 0;    // damaged and replaced; damaged everywhere
  std::uint64_t scanned_bytes = 0, scanned_objects = 0;  // read by repairs, the scrub's among them
};

struct ReplicaEffects {
  std::vector<std::pair<NodeId, peer::ObjectReply>> replies;
  // fetches, to the source of a pull; `lost`, to an owner, perhaps this node
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;
  StoreEffects store;
};

class Replica {
 public:
  // Set in the id of every request a replica makes, so that answers find their way back here and not to an owner.
  static constexpr std::uint64_t own_request_bit = 1ull << 63;

  // `remembered`: of how many writes to an object it is remembered whose they were, at most peer::max_recent.
  Replica(NodeId self, BufferPool& pool, Store& store, const cluster::State& state,
          std::size_t remembered = peer::max_recent);

  // `member`: this node is up in the cluster state, in this incarnation.
  void on_request(Time now, NodeId from, peer::ObjectRequest&& request, bool member, ReplicaEffects& out);
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply, ReplicaEffects& out);
  // The store's answers are in out.store.done; call after everything that drove the store.
  void on_store(Time now, ReplicaEffects& out);
  // The cluster state moved on.
  void on_state(Time now, bool member, ReplicaEffects& out);
  void tick(Time now, ReplicaEffects& out);
  Time next_deadline() const;
  void set_full(bool full) { full_ = full; }
  std::size_t under_way() const { return jobs_.size(); }
  std::size_t pulling() const { return pulls_.size(); }
  const ReplicaStats& stats() const { return stats_; }
  // Objects with blocks that no member had, as they were last read from end to end.
  std::size_t unreadable() const { return unreadable_.size(); }
  const Throttle& throttle() const { return throttle_; }

 private:
  using Request = peer::ObjectRequest;
  using Reply = peer::ObjectReply;

  // The search for good contents of a chunk's damaged blocks: here, then at each helper in turn.
  struct Gather {
    std::uint32_t chunk = 0;
    std::uint16_t wanted = 0;                           // blocks not found yet ...
    std::array<std::uint32_t, blocks_per_chunk> crc{};  // ... and what they must match
    std::array<Slice, blocks_per_chunk> found{};
    Reply reply;             // of a pull: what the source sent
    bool here = false;       // this member's own copy was looked at
    std::size_t helper = 0;  // asked now
    unsigned asked = 0;      // so many times
    Time asked_at = 0;

    void take_wanted(std::uint64_t allocated, std::uint16_t left_out, std::span<const Slice> slices);
  };

  struct Own {
    std::uint32_t chunk = 0;
    std::vector<std::uint64_t> have;
    std::array<Slice, blocks_per_chunk> blocks{};
  };

  struct Job {
    enum class Step : std::uint8_t {
      done,        // the store's answer is the answer
      then_flush,  // a write that must be durable
      look_before_write,
      look,       // query first: is what is there a leftover?
      info_look,  // fetch_info
      pull_look,
      pull_info,
      pull_begin,
      pull_announce,
      pull_chunks,
      pull_end,
      repair_scan,
      repair_gather,
      repair_store,  // looks at a chunk; looks for good blocks elsewhere; puts them in place
      delta_chunk,   // of the job `parent`: what this member has of a chunk that changed
      // of the job `parent`, which needs good blocks: what this member has itself
      own_chunk,
      ignore,  // an answer nobody waits for
    };
    Step step = Step::done;
    NodeId from = 0;
    Request request;
    // Of a pull:
    std::uint64_t chunks_left = 0;            // yet to ask for
    std::uint32_t fetching = 0, storing = 0;  // asked for; being stored
    std::uint64_t asked[8] = {};              // chunk + 1 of each fetch under way, by place
    Version base;
    peer::RecentWrites recent;
    Time last_progress = 0, last_asked = 0;
    bool throttled = false;       // waits for the throttle
    bool begun = false;           // the object is marked incomplete
    bool delta = false;           // what is held already is worth a look
    std::vector<Own> owns;        // of chunks asked for
    std::vector<Gather> gathers;  // chunks with damaged blocks; one at a time
    // Of a repair:
    std::uint32_t scanning = 0, last_chunk = 0;
    ObjectInfo seen;  // the object, as the last look found it
    peer::BlocksRead read;
    std::uint32_t unpaid = 0;     // bytes read, of which the throttle has yet to hear
    std::uint64_t parent = 0;     // own_chunk
    Status failure = Status::ok;  // the pull is to end with this
  };

  void start(Time now, NodeId from, Request&& request, ReplicaEffects& out);
  void fence(Oid oid, std::uint64_t generation);
  void write(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void on_store_done(Time now, StoreDone&& done, ReplicaEffects& out);
  void answer(Job& job, Status status, const StoreDone* done, ReplicaEffects& out);
  void finish(std::uint64_t id, Status status, const StoreDone* done, ReplicaEffects& out);
  bool leftover(const ObjectInfo& info, Vid vid) const;
  void tell_owner(std::uint64_t id, const Job& job, ReplicaEffects& out);
  void forget(Time now, Oid oid, ReplicaEffects& out);

  void pull_on_look(Time now, std::uint64_t id, Job& job, const StoreDone& done, ReplicaEffects& out);
  void put(Time now, std::uint64_t id, Job& job, std::uint32_t chunk, Reply&& reply, ReplicaEffects& out);
  void set_foreground(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void pull_more(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void go_on(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void ask_chunk(std::uint64_t id, Job& job, std::uint32_t chunk, ReplicaEffects& out);
  void ask_info(std::uint64_t id, Job& job, ReplicaEffects& out);
  void release(std::uint64_t id, Oid oid);
  void pull_failed(std::uint64_t id, Job& job, ReplicaEffects& out);
  Request ask_source(Request::Op op, std::uint64_t id, const Job& job) const;

  // delta.cpp
  void look_before_asking(Time now, std::uint64_t id, std::uint32_t chunk, const Job& job, ReplicaEffects& out);
  void on_delta_chunk(Time now, std::uint64_t parent, std::uint32_t chunk, StoreDone&& done, ReplicaEffects& out);
  static void leave_out(const Request& request, const StoreDone& done, Reply& reply);
  bool fill_in(Job& job, std::uint32_t chunk, Reply& reply);

  // repairing.cpp
  void begin_repair(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void repair_scan(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void repair_on_scan(Time now, std::uint64_t id, Job& job, StoreDone&& done, ReplicaEffects& out);
  void repair_on_stored(Time now, std::uint64_t id, Job& job, const StoreDone& done, ReplicaEffects& out);
  void repair_next(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void pull_damaged_chunk(Time now, std::uint64_t id, Job& job, Reply&& reply, ReplicaEffects& out);
  static NodeId helper_asked(const Job& job);
  void gather(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void ask_helper(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void on_own_chunk(Time now, std::uint64_t parent, StoreDone&& done, ReplicaEffects& out);
  void on_helper_reply(Time now, NodeId from, std::uint64_t id, Job& job, Reply&& reply, ReplicaEffects& out);
  void repeat_helper(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  void gathered(Time now, std::uint64_t id, Job& job, ReplicaEffects& out);
  static void fail(Job& job, Status status) {
    if (job.failure == Status::ok) job.failure = status;
  }

  NodeId self_;
  BufferPool& pool_;
  Store& store_;
  const cluster::State& state_;
  bool full_ = false;
  SlotTable<Job> jobs_;
  std::map<Oid, std::uint64_t> pulls_;  // and repairs
  // writes behind a first write that is being looked into
  std::map<Oid, std::vector<std::pair<NodeId, Request>>> looking_;
  WriteMemory writes_;
  std::map<Oid, std::uint64_t> fences_;  // the lowest generation that may still write, where it is not that of the log
  std::vector<std::pair<NodeId, Request>> parked_;
  std::size_t parked_bytes_ = 0;
  Time next_tick_ = 0;
  Throttle throttle_;
  std::uint32_t throttled_ = 0;  // pulls and repairs that wait for it
  ReplicaStats stats_;
  std::set<Oid> unreadable_;
  std::vector<StoreDone> batch_;
};

}  // namespace sd
