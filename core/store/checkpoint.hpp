// One checkpoint: after a round's overlays are in the object files, the steps that let the journal's tail move.
//
//   sync the object files -> write each changed object's metadata as they were at M -> sync those
//   -> write a superblock with the tail behind M -> sync it
//
// Each step happens after the syncs of the one before, so at every moment the newest durable superblock and slots fit
// together: what is missing in a file is in the journal behind the tail. Doing any of it twice gives the same result.
//
// Promise: done() only when all of it is durable. Slots that find no space on the disk are tried again by retry().
#pragma once
#include <vector>

#include "core/store/changes.hpp"
#include "core/store/journal_writer.hpp"
#include "core/store/object.hpp"

namespace sd::store_detail {

// Directories that have had files made or removed since they were last synced.
struct Directories {
  // an earlier incarnation may have made files and not synced
  bool objects_dirty = true;
  bool metas_dirty = true;
};

class Checkpoint {
 public:
  // `objects`: those that changed, see Changes::list.
  Checkpoint(Context& context, JournalWriter& journal, Directories& directories, const JournalPoint& tail,
             std::vector<Object*> objects)
      : context_(context), journal_(journal), directories_(directories), tail_(tail), objects_(std::move(objects)) {}

  // Starts what can be started.
  void advance();
  bool done() const { return step_ == Step::done; }
  // no_space: wants retry(). Everything else that is not ok fails the store.
  Status on_job(std::uint32_t index, const DiskDone& done);
  void retry();
  bool wants_retry() const { return !retry_.empty(); }
  const std::vector<Object*>& objects() const { return objects_; }

 private:
  enum class Step : std::uint8_t { sync_files, write_slots, sync_slots, write_super, sync_super, done };

  std::size_t jobs() const;
  void issue(std::size_t index);
  void start(std::size_t index, DiskOp&& op);
  void sync(std::size_t index, FileId file, DiskOp::Kind kind = DiskOp::Kind::sync);
  void sync_file(std::size_t index);
  void write_slot(std::size_t index);
  void sync_slot(std::size_t index);

  Context& context_;
  JournalWriter& journal_;
  Directories& directories_;
  JournalPoint tail_;
  std::vector<Object*> objects_;
  Step step_ = Step::sync_files;
  std::size_t cursor_ = 0;
  std::uint32_t in_flight_ = 0;
  std::vector<std::uint32_t> retry_;
};

}  // namespace sd::store_detail
