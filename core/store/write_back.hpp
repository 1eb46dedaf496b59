// Rounds: what is durable in the journal goes to the object files; a round that ends in a checkpoint empties the
// journal.
//
// A round begins at a moment M when no record is pending: every object's `current` overlay is frozen, and then holds,
// with earlier rounds, exactly the records up to M. New updates gather in a new `current`, so a block that is written
// all the time cannot starve. When the journal is synced through M, and only then, the frozen overlays are written to
// the object files; then they are dropped. Rounds follow one another.
//
// No operation overlaps another in flight: a round flips the object's read generation, and its writes wait for reads of
// the older one; younger reads find those blocks in the frozen overlay.
//
// A disk that is full stops the round, which goes on once there is space: nothing that was acknowledged is dropped.
#pragma once
#include <optional>
#include <vector>

#include "core/store/changes.hpp"
#include "core/store/checkpoint.hpp"
#include "core/store/object_cache.hpp"

namespace sd::store_detail {

class WriteBack {
 public:
  WriteBack(Context& context, ObjectCache& cache, JournalWriter& journal, Changes& changes)
      : context_(context), cache_(cache), journal_(journal), changes_(changes) {}

  void want_round() { wants_.round = true; }
  void want_checkpoint() { wants_.checkpoint = true; }
  bool idle() const { return !round_; }
  bool round_asked_for() const { return wants_.round; }
  bool round_wanted() const;
  // Only when idle, and nothing of the journal is pending. `replaying`: only rounds, no checkpoints.
  void begin(bool replaying);
  // Does whatever can be done now.
  void advance();
  void tick();
  Time next_deadline() const;

  // Writes that need space are refused: the disk had none for the round.
  bool disk_full() const { return disk_full_; }
  Directories& directories() { return directories_; }
  std::size_t checkpointed_objects() const { return checkpoint_ ? checkpoint_->objects().size() : 0; }

  // A read of the object has ended.
  void on_read_end(Object& o);
  void on_apply(Object& o, const DiskDone& done);
  void on_remove_files(Object& o, Status status);
  void on_job(std::uint32_t index, const DiskDone& done);
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  struct Wants {
    bool round = false;
    bool checkpoint = false;
  };
  struct Round {
    JournalPoint point;  // M
    bool with_checkpoint = false;
    bool applying = false;  // all through M is durable
    std::vector<Object*> objects = {};
    std::size_t cursor = 0;
    std::size_t left = 0;             // objects not yet applied
    std::uint32_t ops = 0;            // in flight
    std::vector<Object*> retry = {};  // for lack of space
  };

  bool checkpoint_wanted() const;
  void start_applies();
  void start_apply(Object& o);
  void write_frozen(Object& o);
  DiskOp take_extents(Object& o, std::size_t& next) const;
  void apply_finished(Object& o);
  void note_disk_full();
  void note_space();
  void retry();
  void end_round();

  Context& context_;
  ObjectCache& cache_;
  JournalWriter& journal_;
  Changes& changes_;
  Directories directories_;
  Wants wants_;
  bool disk_full_ = false;
  Time retry_deadline_ = never;
  std::optional<Round> round_;
  std::optional<Checkpoint> checkpoint_;
};

}  // namespace sd::store_detail
