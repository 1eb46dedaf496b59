// Chunks that a copy from another member brings, written once: straight to the object's file, and not through the
// journal, where nothing is of them yet.
//
// The object is incomplete meanwhile, so nobody reads it. end_sync syncs the file, then one record completes the object
// and carries all its metadata. Two things must be durable before the first byte is placed: that the object is
// incomplete, so that a file of unknown contents is never met without a word about it; and the end of all that replay
// might do to these files, so that it does nothing to what was placed. Placed chunks are known in memory only until
// end_sync; a copy that is cut off begins anew.
#pragma once
#include "core/store/journal_writer.hpp"
#include "core/store/object.hpp"
#include "core/store/write_back.hpp"

namespace sd::store_detail {

class Placer {
 public:
  Placer(Context& context, const JournalWriter& journal, Directories& directories)
      : context_(context), journal_(journal), directories_(directories) {}

  bool may_place(const Object& o, const Op& op) const;
  // Executes a put_chunk; called again when the object is not busy any more.
  Executed place(Object& o, Op& op);
  // True when all that was placed is durable; false if the object is busy with that.
  bool sync(Object& o);
  // The metadata slot of the object as it is once it is complete.
  Slice completed_meta(const Object& o, Version version, Version base, const RecentWrites& recent) const;
  // True if the object is not busy any more.
  bool on_place(Object& o, Status status);

 private:
  bool start_writes(Object& o, const Op& op);

  Context& context_;
  const JournalWriter& journal_;
  Directories& directories_;
};

}  // namespace sd::store_detail
