// Performs a node's disk operations (the contract is core/disk/disk.hpp) on the files of its data directory.
//
// Used by one thread. `start` only notes the operation; `poll` makes the system calls and hands out results, so a
// result never arrives inside the call that asked for it. What the page cache can take or give at once is done in
// place, which saves two switches of thread for each small operation; everything else goes to an engine (io_uring, or
// threads).
//
// With `direct`, object and journal files bypass the page cache, and so do writes marked `uncached` always; operations
// that are not aligned to 4096 bytes use it all the same, on the same file.
#pragma once
#include <chrono>
#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/disk/disk.hpp"
#include "runtime/disk_engine.hpp"
#include "runtime/file_cache.hpp"
#include "runtime/log.hpp"

namespace sd::runtime {

enum class DiskEngineKind : std::uint8_t { automatic, uring, threads };

struct DiskDriverOptions {
  std::string directory;
  std::string journal_directory;  // empty: `journal` inside `directory`
  bool direct = false;
  DiskEngineKind engine = DiskEngineKind::automatic;
  std::size_t max_open_files = 512;
  bool in_place = true;  // off: everything goes to the engine (for tests)
};

class DiskDriver {
 public:
  // Chooses the engine. The pool must outlive the driver. The error is a sentence for the user.
  static std::expected<std::unique_ptr<DiskDriver>, std::string> create(DiskDriverOptions options, BufferPool& pool,
                                                                        Log log);
  DiskDriver(DiskDriverOptions options, BufferPool& pool, Log log, std::unique_ptr<DiskEngine> engine);
  ~DiskDriver();  // waits for what is in flight and drops the results
  DiskDriver(const DiskDriver&) = delete;
  DiskDriver& operator=(const DiskDriver&) = delete;

  void start(DiskOp&& op);
  // Starts noted operations until they sum up to `budget` bytes, then appends every result there is. Never blocks for
  // long.
  void poll(std::vector<DiskDone>& done, std::size_t budget);
  // There are operations that `poll` has not started.
  bool pending() const { return !noted_.empty(); }
  // There are operations that wait until this process can open files again; no failure of the disk. `poll` tries again
  // after `starved_retry`.
  bool starved() const { return !starved_.empty(); }
  static constexpr auto starved_retry = std::chrono::milliseconds(100);
  // Operations the engine has not returned.
  std::size_t in_flight() const { return in_flight_.size(); }
  // How long the oldest of them has been there; 0: there is none.
  std::chrono::nanoseconds oldest() const;
  // Readable when an operation in flight has ended: call `poll`.
  int wait_fd() const { return engine_->wait_fd(); }
  const char* engine_name() const { return engine_->name(); }

 private:
  DiskTask* new_task(DiskOp&& op);
  void recycle(DiskTask* task);
  void begin(DiskOp&& op, std::vector<DiskDone>& done);
  void begin_transfer(DiskTask* task, std::vector<DiskDone>& done);
  bool transfer_in_place(DiskTask& task);
  bool advance(DiskTask& task);
  void to_engine(DiskTask* task);
  void left_engine(DiskTask* task);
  void on_ended(DiskTask* task, std::vector<DiskDone>& done);
  void finish(DiskTask* task, int error, std::vector<DiskDone>& done);
  void starve(DiskTask* task, int error);
  bool replace_by_file(const FileId& file);
  Status status_of(const DiskOp& op, int error);

  DiskDriverOptions options_;
  BufferPool& pool_;
  Log log_;
  FileCache files_;
  std::unique_ptr<DiskEngine> engine_;
  std::deque<DiskOp> noted_, starved_;
  std::vector<DiskTask*> ended_;
  std::vector<std::unique_ptr<DiskTask>> idle_;  // kept for reuse
  std::vector<DiskTask*> in_flight_;             // in the engine
  std::uint64_t starved_until_ = 0;              // nanoseconds
  std::uint64_t writes_in_engine_until_ = 0;     // nanoseconds; see transfer_in_place
};

}  // namespace sd::runtime
