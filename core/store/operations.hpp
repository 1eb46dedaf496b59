// Calls: their order, their checks, and the records that they become.
//
// The way of an update: it is checked (version, space), waits for room (admission), changes the object's state in
// memory and becomes a record of the pending batch, all at once; nothing can fail after admission but the disk. The
// calls of one object are executed in the order in which they came; one that waits for the disk, or for room, holds up
// those behind it. Those that wait for room are served in order over all objects.
#pragma once
#include <deque>

#include "core/store/changes.hpp"
#include "core/store/journal_writer.hpp"
#include "core/store/object_cache.hpp"
#include "core/store/placer.hpp"
#include "core/store/reads.hpp"
#include "core/store/write_back.hpp"

namespace sd::store_detail {

class Operations {
 public:
  Operations(Context& context, ObjectCache& cache, JournalWriter& journal, Changes& changes, WriteBack& write_back,
             Reads& reads, Placer& placer)
      : context_(context),
        cache_(cache),
        journal_(journal),
        changes_(changes),
        write_back_(write_back),
        reads_(reads),
        placer_(placer) {}

  void submit(Op&& op);
  // Executes what the object's queue allows now.
  void run_queue(Object& o);
  // Executes what has room now.
  void run_blocked();
  std::uint32_t queued() const { return queued_; }
  // Answers everything that waits: updates with `update`, the rest with `other`.
  void drop(Status update, Status other);
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  Executed execute(Object& o, Op& op);
  void answer_absent(const Op& op);
  void answer_chunks_since(const Object& o, const Op& op);
  Executed execute_read(Object& o, const Op& op);
  Executed execute_update(Object& o, Op& op);
  Executed execute_change(Object& o, Op& op);  // write, zero
  Executed execute_write(Object& o, Op& op);
  Executed execute_zero(Object& o, Op& op);
  Executed execute_remove(Object& o, const Op& op);
  Executed execute_begin_sync(Object& o, const Op& op);
  Executed execute_put_chunk(Object& o, Op& op);
  Executed execute_end_sync(Object& o, Op& op);
  Executed execute_repair(Object& o, Op& op);
  Executed refuse(const Object& o, const Op& op, Status status);
  Executed refuse_for_edges(Object& o, const Op& op);
  Executed acknowledge(const Object& o, const Op& op);
  bool admit(const Object& o, std::size_t records, std::size_t blocks);
  bool refuse_for_space(const Object& o, std::uint32_t first, std::uint32_t count) const;
  void park(Object& o);
  Slice merged(const Object& o, const Op& op, std::uint32_t block) const;
  // A record with up to three payload slices: into memory and into the pending batch.
  void emit(Object& o, journal::Record record, std::span<const Slice> slices);

  Context& context_;
  ObjectCache& cache_;
  JournalWriter& journal_;
  Changes& changes_;
  WriteBack& write_back_;
  Reads& reads_;
  Placer& placer_;
  std::uint32_t queued_ = 0;
  std::deque<Object*> blocked_;
  bool running_blocked_ = false;
};

}  // namespace sd::store_detail
