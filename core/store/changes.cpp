#include "core/store/changes.hpp"

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"

namespace sd::store_detail {

using journal::Kind;
using limits::block_size;

Slice encode_checkpointed(const Object& o, BufferPool& pool) {
  Slice out = pool.allocate(meta_slot_bytes);
  encode_meta_slot(o.key, o.checkpoint.slot, o.meta,
                   std::span<std::byte, meta_slot_bytes>(out.mutable_data(), meta_slot_bytes));
  return out;
}

void Changes::note(Object& o, const journal::Record& record, std::uint64_t sequence) {
  o.last_sequence = sequence;
  if (record.kind != Kind::begin_sync && record.kind != Kind::end_sync) o.data_sequence = sequence;
}

void Changes::touch(Object& o, const journal::Record& record, std::uint64_t sequence) {
  note(o, record, sequence);
  before_change(o);
}

void Changes::before_change(Object& o) {
  if (o.checkpoint.wants_snapshot()) o.checkpoint.snapshot = encode_checkpointed(o, context_.pool);
  if (o.dirty) return;
  o.dirty = true;
  dirty_.push_back(&o);
  if (checkpoint_deadline_ == never) checkpoint_deadline_ = context_.now + context_.options.checkpoint_delay;
}

void Changes::note_unapplied(Object& o) {
  if (o.in_unapplied) return;
  o.in_unapplied = true;
  unapplied_.push_back(&o);
  if (apply_deadline_ == never) apply_deadline_ = context_.now + context_.options.apply_delay;
}

// The object as if never written. What its files hold is of no interest any more.
void Changes::reset(Object& o) {
  o.meta = {};
  o.placing.forget();
  o.being_copied = false;
  bytes_ -= o.current.bytes();
  current_bytes_ -= o.current.bytes();
  o.current.clear();
}

void Changes::set_version(Object& o, const journal::Record& record) const {
  if (o.meta.torn) return;
  if (record.version.generation != o.meta.version.generation) o.meta.base = record.prev;
  o.meta.version = record.version;
}

void Changes::put_blocks(Object& o, std::uint32_t first, std::span<const std::uint32_t> crcs, const Slice& data) {
  const std::uint64_t before = o.current.bytes();
  o.current.put(first, data);
  bytes_ += o.current.bytes() - before;
  current_bytes_ += o.current.bytes() - before;
  for (std::uint32_t i = 0; i < crcs.size(); ++i) o.meta.set_block(first + i, crcs[i]);
  note_unapplied(o);
}

void Changes::drop_blocks(Object& o, std::uint32_t first, std::uint32_t count) {
  if (!o.meta.any_allocated(first, count)) return;
  const std::uint64_t before = o.current.bytes();
  o.current.punch(first, count);
  bytes_ -= before - o.current.bytes();
  current_bytes_ -= before - o.current.bytes();
  o.meta.clear_blocks(first, count);
  note_unapplied(o);
}

void Changes::absorb(Object& o, const journal::Record& record, std::uint64_t sequence,
                     std::span<const std::uint32_t> crcs, std::span<const Slice> slices) {
  touch(o, record, sequence);
  if (record.creates) reset(o);
  if (record.kind == Kind::remove) {
    reset(o);
    o.exists = false;
    o.current_removed = true;
    note_unapplied(o);
    return;
  }
  o.exists = true;
  switch (record.kind) {
    case Kind::write: absorb_write(o, record, crcs, slices); break;
    case Kind::zero:
      o.meta.recent.remember(record.origin, context_.options.remembered_writes);
      set_version(o, record);
      drop_blocks(o, record.first, record.count);
      o.meta.touch_chunks(record.first, record.count, record.version);
      break;
    case Kind::begin_sync: o.meta.incomplete = true; break;
    case Kind::chunk: absorb_chunk(o, record, crcs, slices); break;
    case Kind::repair: put_blocks(o, record.first, crcs, slices[0]); break;
    case Kind::lose: absorb_lost(o, record, slices[0]); break;
    case Kind::end_sync: absorb_end_of_copy(o, slices[0]); break;
    case Kind::remove: break;
  }
}

void Changes::absorb_write(Object& o, const journal::Record& record, std::span<const std::uint32_t> crcs,
                           std::span<const Slice> slices) {
  o.meta.recent.remember(record.origin, context_.options.remembered_writes);
  set_version(o, record);
  std::uint32_t at = 0;
  for (const Slice& slice : slices) {
    const auto count = static_cast<std::uint32_t>(slice.size() / block_size);
    if (count > 0) put_blocks(o, record.first + at, crcs.subspan(at, count), slice);
    at += count;
  }
  o.meta.touch_chunks(record.first, record.count, record.version);
}

void Changes::absorb_chunk(Object& o, const journal::Record& record, std::span<const std::uint32_t> crcs,
                           std::span<const Slice> slices) {
  std::uint32_t at = 0;
  for (std::uint32_t i = 0; i < blocks_per_chunk;) {
    const bool present = (record.mask >> i & 1) != 0;
    std::uint32_t n = 1;
    while (i + n < blocks_per_chunk && ((record.mask >> (i + n) & 1) != 0) == present) ++n;
    if (present) {
      put_blocks(o, record.first + i, crcs.subspan(at, n),
                 slices[0].part(std::size_t{at} * block_size, std::size_t{n} * block_size));
      at += n;
    } else {
      drop_blocks(o, record.first + i, n);
    }
    i += n;
  }
  o.meta.chunk_version[record.first / blocks_per_chunk] = record.version;
}

// A hole with a checksum: whatever is read there does not match it, or is right.
void Changes::absorb_lost(Object& o, const journal::Record& record, const Slice& wanted) {
  Reader crcs(wanted.bytes());
  for (std::uint32_t i = 0; i < blocks_per_chunk; ++i) {
    if ((record.mask >> i & 1) == 0) continue;
    drop_blocks(o, record.first + i, 1);
    o.current.punch(record.first + i, 1);
    note_unapplied(o);
    o.meta.set_block(record.first + i, crcs.u32());
  }
  o.meta.lossy = true;
}

void Changes::absorb_end_of_copy(Object& o, const Slice& slot) const {
  ObjectMeta told;
  if (decode_meta_slot(slot.bytes(), o.key, told))
    o.meta = told;
  else
    o.meta.torn = o.meta.incomplete = true;
}

void Changes::freeze(std::vector<Object*>& round) {
  round.swap(unapplied_);
  for (Object* o : round) {
    SD_ASSERT(o->frozen.overlay.empty() && !o->frozen.removed && o->reads.older() == 0, "the round before has ended");
    o->in_unapplied = false;
    o->frozen.in_round = true;
    o->frozen.overlay.swap(o->current);
    o->frozen.removed = std::exchange(o->current_removed, false);
    o->reads.newest ^= 1;
    if (o->frozen.removed) {  // a new object of this name begins with new files
      o->slots = {};
      o->file_dirty = false;
    }
  }
  current_bytes_ = 0;
}

void Changes::list(std::vector<Object*>& checkpoint, std::uint64_t journal_id, std::uint64_t through) {
  checkpoint_deadline_ = never;
  checkpoint.swap(dirty_);
  for (Object* o : checkpoint) {
    o->dirty = false;
    o->checkpoint = {true, true, o->exists, {o->slots.newest.sequence + 1, journal_id, through}, {}};
  }
}

void Changes::applied(Object& o) {
  bytes_ -= o.frozen.overlay.bytes();
  o.frozen.overlay.clear();
  o.frozen.removed = o.frozen.in_round = false;
}

std::string Changes::check_state(std::uint64_t most) const {
  if (current_bytes_ > bytes_) return "what no round has taken is part of what is in memory";
  if (bytes_ > most) return "only so much that is not in files is in memory";
  for (const auto* list : {&unapplied_, &dirty_})
    if (!list->empty() && !(list == &dirty_ ? list->back()->dirty : list->back()->in_unapplied))
      return "an object knows that it has changed";
  return {};
}

}  // namespace sd::store_detail
