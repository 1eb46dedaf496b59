// The disk of one simulated machine: performs the operations of core/disk/disk.hpp under the worst behaviour that their
// contract allows.
//
// - An operation takes effect at one instant, its completion; until then a crash may let none, all or some of its
//   sectors happen.
// - Written sectors are volatile until a sync, begun after the write completed, has completed. `power_lost` keeps an
//   arbitrary subset of the volatile sectors (never a mix inside one), of the files created and of the removals since
//   the last sync_directory.
// - `process_died` keeps what had completed; what was in flight happens or not.
// - A sync that fails throws the volatile sectors of its file away, or not, as kernels do.
//
// - Bad disks, if asked for: reads and syncs that fail, syncs that lie, writes that do not happen or hit another file
//   of their kind.
//
// A sync lies about the object store only, and writes are lost of objects and their metadata only: one voter that
// forgets its log is more than Raft survives when the leader fails with it.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "core/base/slice.hpp"
#include "core/base/time.hpp"
#include "core/disk/disk.hpp"
#include "sim/decision_log.hpp"

namespace sd::sim {

struct DiskConfig {
  Time read_min = microseconds(40), read_max = microseconds(200);
  Time write_min = microseconds(20), write_max = microseconds(120);
  Time sync_min = microseconds(100), sync_max = milliseconds(2);
  std::uint32_t slow_factor = 1;  // multiplies every latency
  std::uint32_t read_error_per_million = 0;
  std::uint32_t write_error_per_million = 0;  // of writes and syncs
  std::uint32_t sync_error_per_thousand = 0;
  std::uint32_t lost_write_per_million = 0;  // of objects and their metadata
  bool lying_sync = false;                   // of the object store
  std::uint32_t stall_per_thousand = 0;      // of syncs that take `stall`
  Time stall = seconds(1);
  std::uint64_t capacity = 1ull << 40;  // bytes of pages that may be in use
};

struct DiskStats {
  std::uint64_t operations = 0, syncs = 0, injected_errors = 0, lost_sectors = 0, flipped_bits = 0;
};

class SimDisk {
 public:
  SimDisk(BufferPool& pool, Decisions& decisions, DiskConfig initial)
      : config(initial), pool_(pool), decisions_(decisions) {}

  struct Started {
    std::uint32_t slot = 0;
    Time done_at = 0;
  };
  // Takes the operation; the caller calls `finish` with the slot at `done_at`, unless the process dies first.
  Started start(Time now, DiskOp&& op);
  DiskDone finish(std::uint32_t slot);

  void process_died();
  void power_lost();  // the process died with it

  // Everything that was on it is gone. The machine must be off.
  void wipe();

  // Flips one stored bit of a file of this kind; the copy on the medium, so that it stays. False if there is nothing to
  // damage.
  bool flip_bit(FileKind kind);
  // A bit of the stored page at this place. False if there is none.
  bool flip_bit_at(FileId file, std::uint64_t offset);
  // The file is gone, as if somebody had removed it; the process that uses the disk is not told.
  void lose(FileId file) { perform_remove(file); }
  // Makes a stored page of a file of this kind unreadable, until all of it is written again. False if there is none.
  bool spoil_page(FileKind kind);

  // The whole disk as it is now, and a machine that finds an earlier (or another's, or an empty) one when it comes
  // back. Only while no process uses the disk, and with nothing volatile left: after `power_lost`.
  struct Image;
  std::shared_ptr<const Image> image() const;
  void restore(const Image& image);

  std::uint64_t used() const { return pages_ * page_size; }
  std::size_t in_flight() const { return in_flight_; }
  Time oldest(Time now) const;  // how long the oldest operation in flight has been; 0: there is none
  bool readable(FileId file, std::uint64_t offset, std::uint64_t length) const;
  std::vector<FileId> files() const;
  // Damages a block of an object file that `other` holds with the same contents.
  bool flip_bit_held_by(const SimDisk& other);
  // What a read would see now, for checkers; short at the end of the file.
  std::vector<std::byte> peek(FileId file, std::uint64_t offset, std::size_t length) const;
  const DiskStats& stats() const { return stats_; }

  DiskConfig config;  // may change while the world runs: faults

 private:
  static constexpr std::size_t page_size = 4096;
  static constexpr std::size_t sector = 512;
  using Bytes = std::array<std::byte, page_size>;
  // All pages that were written with zeros only share one, which is never written: a journal that was just made takes
  // no memory.
  static Bytes shared_zeros;
  struct Free {
    void operator()(Bytes* page) const {
      if (page != &shared_zeros) delete page;
    }
  };
  using Memory = std::unique_ptr<Bytes, Free>;  // null: a hole, which reads as zeros

  struct Page {
    Memory current;
    Memory base;    // on the medium, if dirty
    Memory middle;  // as the running sync saw it, if it was written since
    bool dirty = false;
    bool in_sync = false;  // covered by the running sync
    bool has_middle = false;
    bool unreadable = false;  // until it is written
  };
  struct File {
    std::map<std::uint64_t, Page> pages;
    std::vector<std::uint64_t> dirty;  // numbers of dirty pages
    std::uint64_t size = 0, durable_size = 0, sync_size = 0;
    std::uint64_t created = 0;       // stamp
    bool entry_durable = false;      // a sync_directory has covered its creation
    Time sync_free_at = 0;           // syncs of one file run one after the other
    std::uint32_t running_sync = 0;  // slot + 1
    std::vector<std::uint32_t> waiting_syncs;
  };
  struct Grave {
    File file;
    std::uint64_t removed = 0;
  };

 public:
  struct Image {
    struct Content {
      std::map<std::uint64_t, Bytes> pages;
      std::uint64_t size = 0;
    };
    std::map<FileId, Content> files;
  };

 private:
  struct Slot {
    DiskOp op;
    std::uint64_t stamp = 0;
    Time began = 0;
    bool busy = false;
    bool fails = false;
  };

  Time latency(DiskOp::Kind kind);
  Memory new_page();
  Memory zero_page();
  Memory copy_page(const Memory& page);
  void recycle(Memory&& memory);
  void unshare(Memory& memory);
  Page& page_to_write(File& file, std::uint64_t number, bool whole);
  Bytes& writable(File& file, std::uint64_t number, bool whole);
  void drop_pages_from(File& file, std::uint64_t size);
  void zero_range(File& file, std::uint64_t begin, std::uint64_t end);
  void write_range(File& file, const DiskOp& op, const std::vector<bool>* sectors);
  File& file_for_write(FileId id);
  std::pair<FileId, std::uint64_t> any_stored_page(FileKind kind);
  Status write_elsewhere(DiskOp& op);
  Status perform_write(const DiskOp& op, const std::vector<bool>* sectors);
  void perform_remove(FileId id);
  void begin_sync(File& file, std::uint32_t slot);
  void end_sync(File& file, bool ok);
  void forget_sync(File& file);
  void next_sync(File& file);
  void settle(File& file, unsigned mode);
  void settle_page(Page& page, unsigned mode);
  bool holds_zeros(const File& file, std::uint64_t offset, std::size_t length) const;
  Slice read_slice(const File& file, std::uint64_t offset, std::size_t length);
  void read_into(const File& file, std::uint64_t offset, std::byte* out, std::size_t length) const;
  void free_file(File& file);
  void kill_in_flight();

  BufferPool& pool_;
  Decisions& decisions_;
  std::map<FileId, File> files_;
  std::map<FileId, Grave> graves_;  // removed, and not yet for good
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<Memory> spare_;
  Slice zeros_;  // made when first needed
  std::uint64_t stamp_ = 0;
  std::uint64_t pages_ = 0;
  std::size_t in_flight_ = 0;
  DiskStats stats_;
};

}  // namespace sd::sim
