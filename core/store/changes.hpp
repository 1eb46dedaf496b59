// What records do to objects in memory, and which objects have changed since they were last carried to the disk. Shared
// by the live path and replay.
//
// An update changes the object's metadata and its `current` overlay at once. Rounds take the overlays from here, and
// checkpoints the list of objects whose metadata changed (write_back.hpp).
#pragma once
#include <span>
#include <utility>
#include <vector>

#include "core/store/context.hpp"
#include "core/store/journal.hpp"
#include "core/store/object.hpp"

namespace sd::store_detail {

class Changes {
 public:
  explicit Changes(Context& context) : context_(context) {}

  // `crcs` and `slices` are the record's payload, in whole blocks. The record is part of batch `sequence`.
  void absorb(Object& o, const journal::Record& record, std::uint64_t sequence, std::span<const std::uint32_t> crcs,
              std::span<const Slice> slices);
  // The record is in the object's slot already. The slot may not be durable: it is to be written again.
  void touch(Object& o, const journal::Record& record, std::uint64_t sequence);

  // Payload in memory that is not in object files yet: in all overlays, and in those that no round has taken.
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t current_bytes() const { return current_bytes_; }
  std::size_t dirty_objects() const { return dirty_.size(); }
  bool nothing_unapplied() const { return unapplied_.empty(); }
  bool nothing_dirty() const { return dirty_.empty(); }
  // When the oldest change wants a round, or a checkpoint.
  Time apply_deadline() const { return apply_deadline_; }
  Time checkpoint_deadline() const { return checkpoint_deadline_; }
  void forget_apply_deadline() { apply_deadline_ = never; }
  void forget_checkpoint_deadline() { checkpoint_deadline_ = never; }

  // A round begins: the objects with an overlay, which is frozen now.
  void freeze(std::vector<Object*>& round);
  // A checkpoint begins, of all up to `through`: the objects whose metadata changed.
  void list(std::vector<Object*>& checkpoint, std::uint64_t journal_id, std::uint64_t through);
  // The frozen overlay is in the object's file.
  void applied(Object& o);
  // Names an invariant that does not hold; empty if all do. `most`: bytes that may be in memory.
  std::string check_state(std::uint64_t most) const;

 private:
  void note(Object& o, const journal::Record& record, std::uint64_t sequence);
  void before_change(Object& o);
  void note_unapplied(Object& o);
  void reset(Object& o);
  void set_version(Object& o, const journal::Record& record) const;
  void put_blocks(Object& o, std::uint32_t first, std::span<const std::uint32_t> crcs, const Slice& data);
  void drop_blocks(Object& o, std::uint32_t first, std::uint32_t count);
  void absorb_write(Object& o, const journal::Record& record, std::span<const std::uint32_t> crcs,
                    std::span<const Slice> slices);
  void absorb_chunk(Object& o, const journal::Record& record, std::span<const std::uint32_t> crcs,
                    std::span<const Slice> slices);
  void absorb_lost(Object& o, const journal::Record& record, const Slice& wanted);
  void absorb_end_of_copy(Object& o, const Slice& slot) const;

  Context& context_;
  std::uint64_t bytes_ = 0;
  std::uint64_t current_bytes_ = 0;
  std::vector<Object*> unapplied_;
  std::vector<Object*> dirty_;
  Time apply_deadline_ = never;
  Time checkpoint_deadline_ = never;
};

// The slot that `o` has at the checkpoint it is listed for, as of now.
Slice encode_checkpointed(const Object& o, BufferPool& pool);

}  // namespace sd::store_detail
