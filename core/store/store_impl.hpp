// The inside of the store. The order of the steps is what makes it safe; this is why each order was chosen.
//
// The way of an update: it is checked (version, space), waits for room (admission), changes the object's state in
// memory (metadata and the `current` overlay) and becomes a record of the pending batch, all at once; nothing can fail
// after admission but the disk. Batches go to disk in order, and are acknowledged in order even where the disk finishes
// them out of order: a sync that covers an acknowledged batch covers all before it.
//
// Rounds carry memory to object files. A round begins at a moment when no record is pending: every object's `current`
// overlay is frozen, and then holds, with earlier rounds, exactly the records up to batch M. New updates gather in a
// new `current`, so a block that is written all the time cannot starve. When the journal is synced through M, and only
// then, the frozen overlays are written to the object files; then they are dropped. Rounds follow one another.
//
// A checkpoint is a round with more steps: sync the object files; write each changed object's metadata as they were at
// M; sync those; write a superblock with the tail behind M; sync it; only then may the journal's space before M be used
// again. Metadata that change while that goes on are first copied as they were at M. A slot says that it includes the
// records through M, so replay leaves out what it has. Each step happens after the syncs of the one before, so at every
// moment the newest durable superblock and slots fit together: what is missing in a file is in the journal behind the
// tail. Doing any of it twice gives the same result.
//
// Room in the journal is promised at admission, for the pending batch at the place where it will go. So the pending
// batch can always be written, a round can always begin, and a full journal cannot block the checkpoint that empties
// it.
//
// Placing: what a copy from another member brings for chunks of which nothing is here goes straight to the object file,
// and not through the journal. The object is incomplete meanwhile, so nobody reads it. end_sync syncs the file, then
// one record completes the object and carries all its metadata. Two things must be durable before the first byte is
// placed: that the object is incomplete, so that a file of unknown contents is never met without a word about it; and
// the end of all that replay might do to these files, so that it does nothing to what was placed. Placed chunks are
// known in memory only until end_sync; a copy that is cut off begins anew.
//
// No operation overlaps another in flight: a round flips the object's read generation, and its writes wait for reads of
// the older one; younger reads find those blocks in the frozen overlay.
//
// Opening syncs the journal first: all that is then read from it is durable. What an earlier incarnation wrote and did
// not sync (metadata slots, object data) is written and synced again, because its records lie behind the tail; a slot
// that may not be durable is synced before the other one is overwritten.
#pragma once
#include <deque>
#include <map>
#include <memory>

#include "core/base/random.hpp"
#include "core/store/journal.hpp"
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

struct Op {
  OpKind kind{};
  std::uint64_t ticket = 0;
  Oid oid;
  Version version;
  Version prev;              // end_sync: base
  std::uint32_t offset = 0;  // put_chunk, read_chunk: the chunk's number
  std::uint32_t length = 0;
  std::uint16_t mask = 0;  // remove: not 0: only at `version`
  Slice data;
  std::uint16_t lost = 0;  // put_chunk ...
  Slice lost_crcs{};       // ... one block, see journal::Kind::lose

  bool changes() const {
    return kind == OpKind::write || kind == OpKind::zero || kind == OpKind::remove || kind == OpKind::begin_sync ||
           kind == OpKind::put_chunk || kind == OpKind::end_sync || kind == OpKind::repair;
  }
};

struct Object;

// One for each object, always in memory.
struct Entry {
  Object* object = nullptr;  // if loaded
  bool object_file = false;  // the files exist
  bool meta_file = false;
};

// An object whose metadata are in memory or on their way. Objects are reused and keep their id.
struct Object {
  std::uint32_t id = 0;
  Oid oid;
  Entry* entry = nullptr;
  bool loaded = false;
  bool exists = false;
  Status load_status = Status::ok;
  ObjectMeta meta;
  MetaSlot slot;  // the newest one in the file
  bool slot_valid = false;
  // replay: the slot was too old for the journal; stays until the object is made anew
  bool lost_changes = false;
  bool slot_maybe_volatile = false;  // written by an earlier incarnation, perhaps not synced
  std::uint64_t last_sequence = 0;   // the batch of its last record
  std::uint64_t data_sequence = 0;   // ... of the last one that changes its files

  Overlay current;
  Overlay frozen;
  bool current_removed = false;  // its files are to be removed before `current` is applied
  bool frozen_removed = false;
  bool in_unapplied = false;
  bool in_round = false;
  bool apply_waits = false;  // for reads of the older generation
  bool apply_failed = false;
  std::uint32_t apply_ops = 0;  // in flight
  bool file_dirty = false;      // its file was written since its last sync

  bool dirty = false;          // changed since the last checkpoint began
  bool in_checkpoint = false;  // its metadata as of M are yet to be written
  bool checkpoint_exists = false;
  bool checkpoint_listed = false;
  Slice snapshot;  // the encoded slot, if the metadata changed since

  std::uint8_t read_generation = 0;
  std::uint32_t reads[2] = {0, 0};  // disk reads in flight

  std::vector<Op> queue;  // live from queue_head on
  std::size_t queue_head = 0;
  bool busy = false;     // the first of the queue waits for the disk
  bool blocked = false;  // the first of the queue waits for admission
  struct Edge {
    std::uint32_t block;
    Slice data;
  };
  boost::container::small_vector<Edge, 2> edges;  // old blocks read for the first of the queue
  Status edge_status = Status::ok;

  bool being_copied = false;  // between begin_sync and end_sync, both in this incarnation
  // what the first of the queue is at
  enum class Placing : std::uint8_t { no, writing, removing, written, syncing, synced } placing = Placing::no;
  std::uint32_t place_ops = 0;  // in flight
  Status place_status = Status::ok;
  std::uint64_t placed_chunks = 0;  // bit i = what is to be said of chunk i is in `placed`
  std::unique_ptr<ObjectMeta> placed;

  Object* lru_older = nullptr;
  Object* lru_newer = nullptr;
  bool in_lru = false;

  bool queue_empty() const { return queue_head == queue.size(); }
};

struct Ack {
  std::uint64_t ticket;
  ObjectInfo info;
  bool update;  // not a query
};

struct FlightBatch {
  std::uint64_t sequence = 0;
  bool complete = false;
  std::vector<Ack> acks;
};

// A read of blocks, by a client or for the edges of an update.
struct PendingRead {
  enum class Purpose : std::uint8_t { read, read_chunk, edges };
  struct Piece {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    Slice data;  // empty: zeros, or not yet read
    bool from_disk = false;
    std::uint32_t crc_at = 0;  // the expected checksums in `crcs`
  };
  std::uint32_t id = 0;
  Purpose purpose{};
  Object* object = nullptr;
  std::uint64_t ticket = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::uint32_t chunk = 0;
  std::uint16_t mask = 0;
  std::uint16_t damaged = 0;  // read_chunk: blocks of the chunk
  Version chunk_version;
  ObjectInfo info;
  std::uint8_t generation = 0;
  std::uint32_t outstanding = 0;
  Status status = Status::ok;
  bool split = false;  // pieces are out of order
  std::vector<Piece> pieces;
  std::vector<std::uint32_t> crcs;
};

enum class Executed : std::uint8_t { done, parked, waiting };

}  // namespace sd::store_detail

namespace sd {

struct Store::Impl {
  using Op = store_detail::Op;
  using OpKind = store_detail::OpKind;
  using Object = store_detail::Object;
  using Entry = store_detail::Entry;
  using PendingRead = store_detail::PendingRead;
  using Executed = store_detail::Executed;

  // What a completion belongs to: bits 48-55 of the tag. Bits 32-47 and 0-31 are its own.
  enum class Tag : std::uint8_t {
    batch,
    sync,
    read,
    load,
    apply,
    remove_files,
    place,
    job,
    list_objects,
    list_metas,
    read_super,
    open_sync,
    format,
    window,
    erase
  };
  enum class State : std::uint8_t {
    fresh,
    listing,
    formatting,
    syncing,
    scanning,
    erasing,
    probing,
    running,
    restarting,
    failed
  };
  enum class Phase : std::uint8_t {
    idle,
    wait_durable,
    applying,
    sync_files,
    write_slots,
    sync_slots,
    write_super,
    sync_super
  };

  Impl(StoreOptions options, BufferPool& buffers, std::uint64_t seed);

  // --- store.cpp: operations, admission, batches, flushes
  void submit(Op&& op);
  Executed execute(Object& o, Op& op);
  Executed execute_update(Object& o, Op& op);
  Executed execute_write(Object& o, Op& op);
  Executed execute_zero(Object& o, Op& op);
  Executed execute_put_chunk(Object& o, Op& op);
  Executed execute_end_sync(Object& o, Op& op);
  Executed execute_repair(Object& o, Op& op);
  bool admit(Object& o, std::size_t records, std::size_t blocks);
  bool refuse_for_space(const Object& o, std::uint32_t first, std::uint32_t count) const;
  Slice aligned_for_disk(Slice data) const;
  // A record with up to three payload slices: into memory and into the pending batch.
  void emit(Object& o, journal::Record record, std::span<const Slice> slices);
  void acknowledge(Object& o, std::uint64_t ticket, bool update = true);
  void finish(std::uint64_t ticket, Status status);
  void finish(std::uint64_t ticket, Status status, const Object& o);
  void run_queue(Object& o);
  void run_blocked();
  void submit_batch();
  void on_batch(std::uint64_t sequence, Status status);
  void flush(std::uint64_t ticket);
  void start_sync();
  void on_sync(Status status);
  void fail(const std::string& why);
  void acknowledge_batches();
  void drop_requests(Status status);
  void drop_flight(Status status);
  void restart();
  // Does whatever the last input made possible. Every entry ends with it.
  void pump();

  // --- objects.cpp: objects in memory, how a record changes them
  Object& activate(Oid oid, Entry& entry);
  Object& allocate_object();
  void release_object(Object& o);
  void settle(Object& o);  // may release it: the last thing done with an object
  void lru_remove(Object& o);
  void load(Object& o);
  void on_load(Object& o, DiskDone&& done);
  void note_sequence(Object& o, const journal::Record& record, std::uint64_t sequence);
  void before_change(Object& o);
  void absorb(Object& o, const journal::Record& record, std::span<const std::uint32_t> crcs,
              std::span<const Slice> slices);
  void put_blocks(Object& o, std::uint32_t first, std::span<const std::uint32_t> crcs, const Slice& data);
  void note_unapplied(Object& o);
  void reset(Object& o);
  ObjectInfo info_of(const Object& o) const;
  Slice encode_slot(const Object& o) const;

  // --- reads.cpp
  Executed execute_read(Object& o, Op& op);
  Executed execute_read_chunk(Object& o, Op& op);
  // The old contents of these blocks into o.edges; false if they must be read first (then the object is busy).
  bool fetch_edges(Object& o, std::span<const std::uint32_t> blocks);
  PendingRead& new_read(Object& o, PendingRead::Purpose purpose);
  void add_pieces(PendingRead& r, std::uint32_t first, std::uint32_t count);
  void start_read(PendingRead& r);
  void read_one_by_one(PendingRead& r, std::uint32_t index);
  void on_read(std::uint32_t id, std::uint32_t piece, DiskDone&& done);
  void complete_read(PendingRead& r);
  static void take_good_blocks(const PendingRead& r, StoreDone& d);

  // --- placing.cpp
  bool may_place(const Object& o, const Op& op) const;
  Executed place_chunk(Object& o, Op& op);
  // True when all that was placed is durable; false if the object is busy with that.
  bool sync_placed(Object& o);
  Slice completed_meta(const Object& o, Version version, Version base) const;
  void on_place(Object& o, Status status);
  void forget_placed(Object& o);

  // --- rounds.cpp: applying and checkpoints
  bool round_wanted() const;
  void begin_round();
  void advance_round();
  void start_applies();
  void start_apply(Object& o);
  void write_frozen(Object& o);
  void on_apply(Object& o, const DiskDone& done);
  void on_remove_files(Object& o, Status status);
  void apply_finished(Object& o);
  void begin_phase(Phase phase);
  bool issue_jobs();
  void issue_job(std::size_t index);
  void on_job(std::uint32_t index, const DiskDone& done);
  void end_round();
  void retry_after_full();

  // --- opening.cpp
  void begin_open();
  void on_listing(DiskDone&& done, bool metas);
  void on_super(DiskDone&& done);
  void listing_step();
  void begin_format();
  void format_step();
  void on_format(Status status);
  void on_open_sync(Status status);
  void begin_scan();
  void scan();
  bool need_window(std::uint64_t position, std::uint64_t bytes);
  void on_window(DiskDone&& done);
  bool take_batch(const journal::Header& header, std::span<const std::byte> bytes);
  bool replay_batch();
  void end_scan();
  void on_erase(Status status);
  void begin_probe();
  void probe();
  void become_ready();

  // --- helpers
  std::uint64_t make_tag(Tag tag, std::uint64_t low, std::uint64_t middle = 0) const {
    return store_disk_tag | std::uint64_t(tag) << 48 | (middle & 0xffff) << 32 | (low & 0xffffffff);
  }
  void disk(DiskOp&& op) {
    ++disk_in_flight;
    fx->disk.push_back(std::move(op));
  }
  void disk(DiskOp::Kind kind, FileId file, std::uint64_t tag, std::uint64_t offset = 0, std::uint32_t length = 0) {
    disk({kind, file, tag, offset, length, {}});
  }
  void notice(std::string text) { fx->notices.push_back(std::move(text)); }
  static FileId object_file(Oid oid) { return {FileKind::object, 0, oid.value}; }
  static FileId meta_file(Oid oid) { return {FileKind::object_meta, 0, oid.value}; }
  static FileId journal_file() { return {FileKind::journal, 0, 0}; }
  std::uint64_t physical(std::uint64_t position) const { return journal::area_offset + position % super.capacity; }
  // Where a batch of this size would go if it followed `position`.
  std::uint64_t place(std::uint64_t position, std::uint64_t bytes) const {
    const std::uint64_t left = super.capacity - position % super.capacity;
    return bytes <= left ? position : position + left;
  }
  std::uint64_t space_left() const { return free_bytes - std::min(free_bytes, space_spent); }
  bool fits(std::uint64_t bytes) const { return place(head, bytes) + bytes - tail <= super.capacity; }
  std::uint64_t max_batch_payload() const {
    return std::min<std::uint64_t>(options.max_batch_bytes, super.capacity / 4);
  }

  StoreOptions options;
  BufferPool& pool;
  Random random;
  Slice zeros;                 // 64 KB, shared
  Time now = 0;                // of the input being handled
  StoreEffects* fx = nullptr;  // of the input being handled
  State state = State::fresh;
  std::uint32_t disk_in_flight = 0;
  std::uint64_t free_bytes = UINT64_MAX;
  std::uint64_t space_spent = 0;  // of free_bytes, by updates since it was told
  StoreStats counts;

  // Objects.
  std::map<Oid, Entry> entries;
  std::vector<std::unique_ptr<Object>> objects;  // by id
  std::vector<Object*> spare_objects;
  Object* lru_oldest = nullptr;
  Object* lru_newest = nullptr;
  std::uint32_t lru_size = 0;
  std::uint32_t queued_ops = 0;
  std::deque<Object*> blocked;
  bool running_blocked = false;
  std::vector<std::unique_ptr<PendingRead>> reads;  // by id
  std::vector<PendingRead*> spare_reads;

  // Journal.
  journal::Super super;
  std::uint64_t head = 0;           // position behind the last batch
  std::uint64_t tail = 0;           // space before it may be used again
  std::uint64_t tail_sequence = 1;  // of the batch there: replay begins with it
  std::uint64_t next_sequence = 1;  // of the pending batch
  std::uint64_t last_link = 0;
  std::uint64_t completed = 0;  // batches up to this one are written
  std::uint64_t durable = 0;    // ... and synced
  journal::Batch pending;
  std::vector<store_detail::Ack> pending_acks;
  std::deque<store_detail::FlightBatch> flight;  // oldest first
  std::vector<std::vector<store_detail::Ack>> spare_acks;
  bool sync_in_flight = false;
  std::uint64_t sync_covers = 0;
  struct FlushWaiter {
    std::uint64_t ticket;
    std::uint64_t target;
  };
  std::vector<FlushWaiter> flush_waiters;

  // Rounds.
  Phase phase = Phase::idle;
  bool checkpoint_round = false;
  bool want_round = false;
  bool want_checkpoint = false;
  bool disk_full = false;
  std::uint64_t dirty_bytes = 0;    // in all overlays
  std::uint64_t current_bytes = 0;  // in the current ones
  Time apply_deadline = never;
  Time checkpoint_deadline = never;
  Time retry_deadline = never;
  std::vector<Object*> unapplied;  // with a current overlay
  std::vector<Object*> dirty;
  std::uint64_t round_through = 0;  // M
  std::uint64_t round_position = 0;
  std::uint64_t round_link = 0;
  std::vector<Object*> round;
  std::size_t round_cursor = 0;
  std::size_t round_left = 0;   // objects not yet applied
  std::uint32_t round_ops = 0;  // in flight
  std::vector<Object*> apply_retry;
  std::vector<Object*> checkpoint_list;
  std::size_t job_cursor = 0;
  std::uint32_t jobs_in_flight = 0;
  std::vector<std::uint32_t> job_retry;
  bool object_directory_dirty = true;
  bool meta_directory_dirty = true;

  // Opening.
  std::uint32_t open_answers = 0;
  std::vector<FileId> listed_objects;
  std::vector<FileId> listed_metas;
  Slice super_blocks;
  bool journal_missing = false;
  std::uint64_t format_offset = 0;
  int format_stage = 0;
  std::uint64_t scan_position = 0;
  std::uint64_t scan_sequence = 0;
  std::uint64_t scan_link = 0;
  std::uint64_t scan_limit = UINT64_MAX;  // batches from this one on were answered as failed
  static constexpr std::uint64_t no_leftover = UINT64_MAX;
  // headers that claim to be the next batch and are not, by scan_place
  std::uint64_t leftovers[2] = {no_leftover, no_leftover};
  std::uint32_t erase_left = 0;
  bool erased = false;
  int scan_place = 0;  // 0: looking right behind the last batch, 1: at the next lap's beginning
  Slice window;
  std::uint64_t window_position = 0;
  std::uint64_t window_wanted = 0;
  bool window_in_flight = false;
  bool have_batch = false;
  journal::Header batch_header;
  journal::Batch batch;
  std::uint64_t batch_link = 0;
  std::uint64_t batch_end = 0;
  Slice batch_payload;
  std::uint32_t loads_in_flight = 0;
  std::uint64_t replayed_bytes = 0;  // since the last round
  std::uint64_t probe_position = 0;
  std::uint64_t probe_end = 0;
};

}  // namespace sd
