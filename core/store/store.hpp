// The object store of one node: objects of up to 4 MB, each update atomic, every block checked, all through a
// write-ahead journal.
//
// Problem: a write must be quick (one sequential disk write, shared with its neighbours), must be whole or absent after
// a power loss, and must never be read back damaged. Writing objects in place gives none of these.
//
// Sketch: an update is a record in the journal, a circular file. Records that arrive together travel in one batch, one
// disk write made of the callers' own payload slices. When that write completes the update is acknowledged; a `flush`
// syncs the journal, and one sync serves any number of flushes. Only what is durable in the journal is written to
// object files (`apply`); until then reads are answered from memory. Now and then a checkpoint syncs the object files,
// writes each changed object's metadata (checksums, versions) and moves the journal's tail forward. After a crash the
// journal is replayed from its tail.
//
// Parts, each with its promises in its own header:
//   operations.hpp      calls: their order, checks, and the records that they become
//   journal_writer.hpp  records become batches, batches become durable
//   changes.hpp         what records do to objects in memory (object.hpp), live and in replay
//   write_back.hpp      what is durable goes to the object files
//   checkpoint.hpp      and then the journal's tail moves
//   opening.hpp         a new journal, or the replay of one
//   reads.hpp, placer.hpp, object_cache.hpp
//   journal.hpp, object_meta.hpp, overlay.hpp: formats and containers, no decisions
//
// Promises:
//  1. An acknowledged update survives the death of the process; one that was acknowledged before a successful flush was
//     called survives a loss of power. After a crash the store's state is the effect of a prefix of the records in the
//     order in which they were accepted, so an object's version always tells exactly which updates its data contain.
//  2. A read returns what the accepted updates say, or Status::damaged; never bytes that fail their checksum.
//  3. After a failed journal write or sync (io_error) the store is failed(): everything answers io_error, nothing is
//     acknowledged.
//  4. Updates and reads of one object take effect in the order in which they were called; each call gets exactly one
//     StoreDone.
//
// How to drive it: construct, open(), perform `disk` effects and hand each result to on_disk() until ready(). Then call
// operations; at the end of each step of the node call flush_batch() once, so that what the step wrote goes out as one
// batch. Call tick() when next_deadline() has come; an early tick is harmless. Any call may put results for any earlier
// ticket into `effects.done`.
//
// Calls made before ready() and after a journal that ran out of disk space (until it is ready() again) answer
// Status::unavailable.
#pragma once
#include <array>
#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/recent_writes.hpp"
#include "core/base/slice.hpp"
#include "core/base/status.hpp"
#include "core/base/time.hpp"
#include "core/disk/disk.hpp"

namespace sd {

// Every DiskOp of the store carries this in the top byte of its tag.
inline constexpr std::uint64_t store_disk_tag = 0x02ull << 56;

struct StoreOptions {
  // used when the journal is created; a multiple of 4096, at least min_journal_bytes
  std::uint64_t journal_bytes = 256u << 20;
  std::uint64_t apply_bytes = 32u << 20;      // start applying when this much waits ...
  Time apply_delay = milliseconds(200);       // ... or when the oldest has waited this long
  std::uint64_t max_dirty_bytes = 96u << 20;  // payload in memory that is not applied yet; beyond it updates wait
  std::uint64_t max_batch_bytes = 8u << 20;   // payload of one batch; never more than a quarter of the journal
  std::uint32_t max_batch_records = 256;
  std::uint32_t max_batches_in_flight = 2;
  std::uint32_t max_apply_ops = 32;            // disk operations of one apply or checkpoint in flight
  Time checkpoint_delay = seconds(5);          // after the first change since the last checkpoint
  std::uint32_t max_dirty_objects = 4096;      // changed since the last checkpoint; half of it starts one
  std::uint32_t meta_cache = 2048;             // unchanged objects whose metadata stays in memory (5.5 KB each)
  std::size_t remembered_writes = max_recent;  // to each object, by whose they were; at most max_recent
  std::uint32_t max_queued_ops = 16384;        // waiting operations; beyond it Status::busy
  std::uint64_t reserve_bytes = 0;             // writes that need new blocks are refused while less than this is free
  // write the whole journal at creation, so that it can hardly run out of space later
  bool preallocate_journal = true;
};

// Updates larger than about a quarter of the journal are Status::invalid: for whole-object writes use at least 17 MB.
inline constexpr std::uint64_t min_journal_bytes = 64u << 10;

struct ObjectInfo {
  bool exists = false;
  // between begin_sync and end_sync, or its metadata was lost; `version` is the last known one
  bool incomplete = false;
  Version version;
  // the version at which the previous generation ended: `prev` of the first write of this one
  Version base;
  std::uint32_t allocated_blocks = 0;  // of limits::block_size
  bool lossy = false;                  // blocks were lost once (see LostBlocks), and may still be

  friend bool operator==(const ObjectInfo&, const ObjectInfo&) = default;
};

using SliceList = boost::container::small_vector<Slice, 4>;

struct StoreDone {
  std::uint64_t ticket = 0;
  Status status = Status::ok;
  // query, map, chunks_since, read_chunk and every update: the object's state after it
  ObjectInfo info;
  // read: the range, in order; read_chunk: its allocated blocks that are good, in order
  SliceList data;
  // chunks_since: bit i = chunk i changed; read_chunk: bit i = block i of the chunk is allocated
  std::uint64_t chunks = 0;
  Version chunk_version;  // read_chunk: the version of the chunk's last change
  // read_chunk: bit i = block i of the chunk is allocated and damaged; it is not in `data`
  std::uint16_t damaged_blocks = 0;
  std::vector<std::uint32_t> damaged_crcs;  // ... and the checksums that those should have, in order
  std::vector<std::uint64_t> bitmap;        // map: 16 words; bit b % 64 of word b / 64 = block b is allocated
  RecentWrites recent;                      // query, chunks_since
};

// Blocks of a chunk whose contents nobody has any more. Reads of them answer damaged, until they are overwritten whole
// or repaired.
struct LostBlocks {
  std::uint16_t mask = 0;
  std::array<std::uint32_t, limits::blocks_per_chunk> crc{};  // by block of the chunk: what it should have
};

struct StoreEffects {
  std::vector<DiskOp> disk;
  std::vector<StoreDone> done;
  std::vector<std::string> notices;  // for the log: damage found, disk full; one sentence each
};

struct StoreStats {
  std::uint64_t objects = 0;
  std::uint64_t dirty_bytes = 0;  // payload in memory that is not in object files yet
  std::uint64_t journal_used = 0;
  std::uint64_t journal_capacity = 0;
  std::uint32_t dirty_objects = 0;  // changed since the last checkpoint
  std::uint32_t loaded_objects = 0;
  std::uint32_t queued_ops = 0;
  std::uint32_t disk_in_flight = 0;
  std::uint64_t batches = 0;  // since the start, as are all below
  std::uint64_t records = 0;
  std::uint64_t journal_syncs = 0;
  std::uint64_t applies = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t placed_chunks = 0;  // went straight to object files
  std::uint64_t damaged_blocks = 0;
  std::uint64_t unreadable = 0;  // reads of object files that the disk failed
};

struct StoreObservation;

class Store {
 public:
  // `random_seed` must be another one at each start: it makes this incarnation's batches different from those of
  // earlier incarnations. The pool must outlive the store and every slice handed out.
  Store(StoreOptions options, BufferPool& pool, std::uint64_t random_seed);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  void open(Time now, StoreEffects& effects);
  bool ready() const;
  bool failed() const;
  void on_disk(Time now, DiskDone&& done, StoreEffects& effects);
  void tick(Time now, StoreEffects& effects);
  Time next_deadline() const;
  // Sends the records gathered so far as a batch, unless enough batches are in flight (they go out when one of those
  // completes).
  void flush_batch(Time now, StoreEffects& effects);
  void set_space(std::uint64_t free_bytes, std::uint64_t total_bytes);
  // What was last said to be free, less what the updates taken since then will need.
  std::uint64_t space_left() const;

  // Updates by clients. `version` must follow `prev`, the object's current version ({0, 0} creates the object).
  //  ok          done, or a duplicate: `version` is not newer than the current one, and that update was acknowledged
  //  behind      `prev` is not the current version, or the object is incomplete; nothing was changed
  //  no_space    nothing was changed
  //  damaged     an edge inside a block would need the rest of that block, which is damaged; nothing was changed
  //  invalid     the range leaves the object, or is larger than the journal can take
  //  busy, io_error, unavailable
  // An empty range changes the version only. Any byte range will do; multiples of 4096 are quick: such data is never
  // copied.
  // `origin`: whose write it is; remembered with the object.
  void write(Time now, std::uint64_t ticket, ObjectKey key, Version version, Version prev, std::uint32_t offset,
             Slice data, StoreEffects& effects, Origin origin = {});
  // Makes a range read as zeros; whole blocks give their space back.
  void zero(Time now, std::uint64_t ticket, ObjectKey key, Version version, Version prev, std::uint32_t offset,
            std::uint32_t length, StoreEffects& effects, Origin origin = {});
  // Forgets the object; ok if there is none. With `only`: behind, and nothing happens, if its version is another one.
  void remove(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects, std::optional<Version> only = {});
  // ok: all that was acknowledged before this call survives a loss of power.
  void flush(Time now, std::uint64_t ticket, StoreEffects& effects);

  // Reading. read: not_found if there is no such object, behind if it is incomplete, damaged (a
  // checksum does not fit, or the disk cannot read it), invalid, io_error. Unallocated ranges
  // read as zeros.
  void read(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t offset, std::uint32_t length,
            StoreEffects& effects);
  // Always ok (with info.exists false if there is no such object), or io_error. What a query tells counts as
  // acknowledged: it is answered when all of it is in the journal.
  void query(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects);
  void map(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects);
  // Which chunks changed after `since`.
  void chunks_since(Time now, std::uint64_t ticket, ObjectKey key, Version since, StoreEffects& effects);

  // Re-synchronisation. begin_sync marks the object incomplete (creating it with version {0, 0} if there is none),
  // put_chunk replaces chunks, end_sync makes it complete at a version. A crash in between leaves the object incomplete
  // with its old version, so that the copying can begin again; of the chunks that were put any may be there. Chunks of
  // which nothing was here are written once, straight to the object's file and past the page cache, if begin_sync has
  // been flushed (see placer.hpp); all else goes through the journal like writes.
  void begin_sync(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects);
  // `allocated`: bit i = block i of the chunk is in `data`, which holds just those blocks, in order. `version` is the
  // chunk's last change at the source. unavailable unless begin_sync was called since the store was last ready; invalid
  // unless the object is incomplete and the sizes agree. This is what read_chunk at the source returned. `lost`: blocks
  // besides those.
  void put_chunk(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t chunk, Version version,
                 std::uint16_t allocated, Slice data, StoreEffects& effects, LostBlocks lost = {});
  // `recent`: whose writes the copy contains, as the source said.
  void end_sync(Time now, std::uint64_t ticket, ObjectKey key, Version version, Version base, StoreEffects& effects,
                RecentWrites recent = {});
  // The copying ends here; the object stays incomplete. Not while one of these calls is under way.
  void give_up_sync(ObjectKey key);
  // Also works on incomplete objects. not_found, invalid, io_error; damaged: some blocks are, the answer holds the
  // others.
  void read_chunk(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t chunk, StoreEffects& effects);

  // Replaces a damaged block by `data`, 4096 bytes. A block's checksum says what it should hold, so whoever has bytes
  // that match may give them, at any time and whatever the object's version. ok; behind: the block should hold
  // something else by now; no_space, io_error, unavailable, busy.
  void repair(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t block, Slice data, StoreEffects& effects);

  // Starts a checkpoint as soon as possible.
  void checkpoint(Time now, StoreEffects& effects);

  // In ascending order: what is stored, and the objects that it is of, each once.
  std::vector<ObjectKey> keys() const;
  std::vector<Oid> objects() const;
  StoreStats stats() const;

 private:
  friend StoreObservation observe(const Store& store);
  friend std::string check_state(const Store& store);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sd
