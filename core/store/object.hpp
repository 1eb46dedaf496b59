// One object as the store knows it in memory. Each part of the store has a record of its own here, which is reset by
// assignment.
#pragma once
#include <boost/container/small_vector.hpp>
#include <memory>
#include <vector>

#include "core/store/object_meta.hpp"
#include "core/store/overlay.hpp"
#include "core/store/store.hpp"

namespace sd::store_detail {

using limits::blocks_per_chunk;

enum class OpKind : std::uint8_t {
  write,
  zero,
  remove,
  read,
  query,
  map,
  chunks_since,
  begin_sync,
  put_chunk,
  end_sync,
  read_chunk,
  repair
};

// A call that is executed at once, or waits in its object's queue.
struct Op {
  OpKind kind{};
  std::uint64_t ticket = 0;
  ObjectKey key;
  Version version;
  Version prev;              // end_sync: base
  std::uint32_t offset = 0;  // put_chunk, read_chunk: the chunk's number
  std::uint32_t length = 0;
  std::uint16_t mask = 0;  // remove: not 0: only at `version`
  Slice data;
  std::uint16_t lost = 0;  // put_chunk ...
  Slice lost_crcs{};       // ... one block, see journal::Kind::lose
  Origin origin{};         // write, zero
  RecentWrites recent{};   // end_sync

  bool changes() const {
    return kind == OpKind::write || kind == OpKind::zero || kind == OpKind::remove || kind == OpKind::begin_sync ||
           kind == OpKind::put_chunk || kind == OpKind::end_sync || kind == OpKind::repair;
  }
};

// parked: waits for room, see Operations::admit. waiting: the object is busy with the disk.
enum class Executed : std::uint8_t { done, parked, waiting };

struct Object;

// One for each object, always in memory.
struct Entry {
  Object* object = nullptr;  // if loaded
  bool object_file = false;  // the files exist
  bool meta_file = false;
};

// Calls in the order in which they came.
struct OpQueue {
  std::vector<Op> ops;  // live from `head` on
  std::size_t head = 0;
  bool busy = false;     // the first waits for the disk
  bool blocked = false;  // the first waits for admission

  bool empty() const { return head == ops.size(); }
  Op& first() { return ops[head]; }
  void pop();
  void clear();
};

// Old blocks that the first of the queue needs, because it changes a part of them.
struct Edges {
  struct Edge {
    std::uint32_t block;
    Slice data;
  };
  boost::container::small_vector<Edge, 2> blocks;
  Status status = Status::ok;

  // Copies the old block into `whole`.
  void fill(std::uint32_t block, Slice& whole) const;
};

// The overlay that a round carries to the object's files.
struct Frozen {
  Overlay overlay;
  bool removed = false;  // the files are to be removed first
  bool in_round = false;
  bool waits = false;     // for reads of the older generation
  bool failed = false;    // for lack of space; tried again
  std::uint32_t ops = 0;  // in flight
};

// The metadata slots of the object's file.
struct Slots {
  MetaSlot newest;
  bool valid = false;
  bool maybe_volatile = false;  // written by an earlier incarnation, perhaps not synced
};

// The object's part in the checkpoint that is under way.
struct Checkpointed {
  bool listed = false;
  bool pending = false;  // its metadata as of M are yet to be written
  bool exists = false;   // ... if it existed then
  MetaSlot slot;         // ... with this
  Slice snapshot;        // the encoded slot, if the metadata changed since

  bool wants_snapshot() const { return pending && exists && snapshot.empty(); }
};

// Chunks that a copy from another member brings and that go straight to the object's file. See placer.hpp.
struct Placing {
  // what the first of the queue is at
  enum class Step : std::uint8_t { no, writing, removing, written, syncing, synced } step = Step::no;
  std::uint32_t ops = 0;  // in flight
  Status status = Status::ok;
  std::uint64_t chunks = 0;  // bit i = what is to be said of chunk i is in `meta`
  std::unique_ptr<ObjectMeta> meta;

  void forget() {
    chunks = 0;
    meta.reset();
    step = Step::no;
  }
};

// Its place among the objects that may be forgotten.
struct LruLink {
  Object* older = nullptr;
  Object* newer = nullptr;
  bool in = false;
};

// Disk reads in flight. A round flips the generation, and its writes wait for reads of the older one.
struct ReadGenerations {
  std::uint8_t newest = 0;
  std::uint32_t in_flight[2] = {0, 0};

  std::uint32_t older() const { return in_flight[newest ^ 1]; }
  bool any() const { return in_flight[0] + in_flight[1] > 0; }
};

// An object whose metadata are in memory or on their way. Objects are reused and keep their id.
struct Object {
  std::uint32_t id = 0;
  ObjectKey key;
  Entry* entry = nullptr;
  bool loaded = false;
  bool exists = false;
  Status load_status = Status::ok;
  ObjectMeta meta;
  // replay: the slot was too old for the journal; stays until the object is made anew
  bool lost_changes = false;
  bool being_copied = false;        // between begin_sync and end_sync, both in this incarnation
  std::uint64_t last_sequence = 0;  // the batch of its last record
  std::uint64_t data_sequence = 0;  // ... of the last one that changes its files

  Overlay current;               // what no round has taken yet
  bool current_removed = false;  // its files are to be removed before `current` is applied
  bool in_unapplied = false;
  bool dirty = false;       // changed since the last checkpoint began
  bool file_dirty = false;  // its file was written since its last sync
  Frozen frozen;
  Slots slots;
  Checkpointed checkpoint;

  ReadGenerations reads;
  OpQueue queue;
  Edges edges;
  Placing placing;
  LruLink lru;

  // Nothing needs it in memory.
  bool idle() const {
    return loaded && !dirty && !checkpoint.listed && !in_unapplied && !frozen.in_round && queue.empty() &&
           !queue.busy && !being_copied && !reads.any();
  }
};

ObjectInfo info_of(const Object& o);

}  // namespace sd::store_detail
