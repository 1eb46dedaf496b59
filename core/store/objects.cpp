// Objects in memory: loading, keeping and forgetting them, and what a record does to one. The last is shared by the
// live path and replay.
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;
using store_detail::blocks_per_chunk;

Store::Impl::Object& Store::Impl::allocate_object() {
  if (spare_objects.empty()) {
    objects.push_back(std::make_unique<Object>());
    objects.back()->id = static_cast<std::uint32_t>(objects.size() - 1);
    return *objects.back();
  }
  Object& o = *spare_objects.back();
  spare_objects.pop_back();
  return o;
}

Store::Impl::Object& Store::Impl::activate(Oid oid, Entry& entry) {
  if (entry.object) {
    lru_remove(*entry.object);
    return *entry.object;
  }
  Object& o = allocate_object();
  entry.object = &o;
  o.oid = oid;
  o.entry = &entry;
  ++counts.loaded_objects;
  if (entry.meta_file) {
    load(o);
  } else {
    o.loaded = true;
    // Data without metadata, and nothing in the journal: they were lost.
    if (entry.object_file) o.exists = o.meta.torn = o.meta.incomplete = true;
  }
  return o;
}

void Store::Impl::release_object(Object& o) {
  SD_ASSERT(o.frozen.empty() && o.current.empty() && o.queue_empty(), "only an idle object is forgotten");
  lru_remove(o);
  Entry& entry = *o.entry;
  entry.object = nullptr;
  if (!o.exists && o.load_status == Status::ok && !entry.object_file && !entry.meta_file) entries.erase(o.oid);
  o.entry = nullptr;
  o.loaded = o.exists = o.slot_valid = o.slot_maybe_volatile = o.file_dirty = false;
  o.load_status = Status::ok;
  o.meta = {};
  o.slot = {};
  o.last_sequence = o.data_sequence = 0;
  o.current_removed = o.frozen_removed = false;
  o.queue.clear();
  o.queue_head = 0;
  o.edges.clear();
  o.edge_status = Status::ok;
  --counts.loaded_objects;
  spare_objects.push_back(&o);
}

void Store::Impl::lru_remove(Object& o) {
  if (!o.in_lru) return;
  (o.lru_older ? o.lru_older->lru_newer : lru_oldest) = o.lru_newer;
  (o.lru_newer ? o.lru_newer->lru_older : lru_newest) = o.lru_older;
  o.lru_older = o.lru_newer = nullptr;
  o.in_lru = false;
  --lru_size;
}

void Store::Impl::settle(Object& o) {
  if (o.in_lru || !o.loaded || o.dirty || o.checkpoint_listed || o.in_unapplied || o.in_round || !o.queue_empty() ||
      o.busy || o.being_copied || o.reads[0] + o.reads[1] > 0)
    return;
  if (!o.exists || o.load_status != Status::ok) {
    release_object(o);
    return;
  }
  o.lru_older = lru_newest;
  (lru_newest ? lru_newest->lru_newer : lru_oldest) = &o;
  lru_newest = &o;
  o.in_lru = true;
  ++lru_size;
  while (lru_size > options.meta_cache) release_object(*lru_oldest);
}

void Store::Impl::load(Object& o) {
  ++loads_in_flight;
  disk(DiskOp::Kind::read, meta_file(o.oid), make_tag(Tag::load, o.id), 0, meta_file_bytes);
}

void Store::Impl::on_load(Object& o, DiskDone&& done) {
  --loads_in_flight;
  o.loaded = true;
  if (done.status == Status::ok || done.status == Status::not_found) {
    const auto slot = decode_meta_file(done.data.bytes(), o.oid, o.meta);
    o.exists = true;
    o.slot_valid = slot.has_value();
    if (slot) o.slot = *slot;
    // A slot torn by a crash belongs to an object that replay has already brought up to date; elsewhere it is damage.
    if (!slot || (slot->other_lost && state == State::running)) {
      // Perhaps a first checkpoint that was cut short: then the journal still has the object from its creation on.
      o.meta = {};
      o.meta.torn = o.meta.incomplete = true;
      if (state == State::running)
        notice("object " + to_string(o.oid) + " has lost its metadata; it must be re-synchronised");
    }
    o.slot_maybe_volatile = state != State::running;
  } else if (state == State::running) {
    o.load_status = Status::io_error;
    notice("object " + to_string(o.oid) + ": cannot read its metadata");
  } else {
    fail("cannot read the metadata of object " + to_string(o.oid));
    return;
  }
  if (state != State::running) return;
  run_queue(o);
  settle(o);
}

ObjectInfo Store::Impl::info_of(const Object& o) const {
  if (!o.exists) return {};
  return {true, o.meta.incomplete, o.meta.version, o.meta.base, o.meta.allocated_blocks(), o.meta.lossy};
}

Slice Store::Impl::encode_slot(const Object& o) const {
  Slice out = pool.allocate(meta_slot_bytes);
  encode_meta_slot(o.oid, {o.slot.sequence + 1, super.journal_id, round_through}, o.meta,
                   std::span<std::byte, meta_slot_bytes>(out.mutable_data(), meta_slot_bytes));
  return out;
}

void Store::Impl::note_sequence(Object& o, const journal::Record& record, std::uint64_t sequence) {
  using journal::Kind;
  o.last_sequence = sequence;
  if (record.kind != Kind::begin_sync && record.kind != Kind::end_sync) o.data_sequence = sequence;
}

// Called before each change of metadata.
void Store::Impl::before_change(Object& o) {
  if (o.in_checkpoint && o.checkpoint_exists && o.snapshot.empty()) o.snapshot = encode_slot(o);
  if (o.dirty) return;
  o.dirty = true;
  dirty.push_back(&o);
  if (checkpoint_deadline == never) checkpoint_deadline = now + options.checkpoint_delay;
}

void Store::Impl::note_unapplied(Object& o) {
  if (o.in_unapplied) return;
  o.in_unapplied = true;
  unapplied.push_back(&o);
  if (apply_deadline == never) apply_deadline = now + options.apply_delay;
}

// The object as if never written. What its files hold is of no interest any more.
void Store::Impl::reset(Object& o) {
  o.meta = {};
  forget_placed(o);
  o.being_copied = false;
  dirty_bytes -= o.current.bytes();
  current_bytes -= o.current.bytes();
  o.current.clear();
}

void Store::Impl::put_blocks(Object& o, std::uint32_t first, std::span<const std::uint32_t> crcs, const Slice& data) {
  const std::uint64_t before = o.current.bytes();
  o.current.put(first, data);
  dirty_bytes += o.current.bytes() - before;
  current_bytes += o.current.bytes() - before;
  for (std::uint32_t i = 0; i < crcs.size(); ++i) o.meta.set_block(first + i, crcs[i]);
  note_unapplied(o);
}

void Store::Impl::absorb(Object& o, const journal::Record& record, std::span<const std::uint32_t> crcs,
                         std::span<const Slice> slices) {
  using journal::Kind;
  before_change(o);
  if (record.creates) {
    reset(o);
    o.exists = true;
  }
  const auto set_version = [&] {
    if (o.meta.torn) return;
    if (record.version.generation != o.meta.version.generation) o.meta.base = record.prev;
    o.meta.version = record.version;
  };
  const auto drop_blocks = [&](std::uint32_t first, std::uint32_t count) {
    if (!o.meta.any_allocated(first, count)) return;
    const std::uint64_t before = o.current.bytes();
    o.current.punch(first, count);
    dirty_bytes -= before - o.current.bytes();
    current_bytes -= before - o.current.bytes();
    o.meta.clear_blocks(first, count);
    note_unapplied(o);
  };

  switch (record.kind) {
    case Kind::write: {
      o.exists = true;
      set_version();
      std::uint32_t at = 0;
      for (const auto& slice : slices) {
        const auto count = static_cast<std::uint32_t>(slice.size() / block_size);
        if (count > 0) put_blocks(o, record.first + at, crcs.subspan(at, count), slice);
        at += count;
      }
      o.meta.touch_chunks(record.first, record.count, record.version);
      break;
    }
    case Kind::zero:
      o.exists = true;
      set_version();
      drop_blocks(record.first, record.count);
      o.meta.touch_chunks(record.first, record.count, record.version);
      break;
    case Kind::begin_sync:
      o.exists = true;
      o.meta.incomplete = true;
      break;
    case Kind::chunk: {
      o.exists = true;
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
          drop_blocks(record.first + i, n);
        }
        i += n;
      }
      o.meta.chunk_version[record.first / blocks_per_chunk] = record.version;
      break;
    }
    case Kind::repair:
      o.exists = true;
      put_blocks(o, record.first, crcs, slices[0]);
      break;
    case Kind::lose: {
      o.exists = true;
      // A hole with a checksum: whatever is read there does not match it, or is right.
      Reader wanted(slices[0].bytes());
      for (std::uint32_t i = 0; i < blocks_per_chunk; ++i) {
        if ((record.mask >> i & 1) == 0) continue;
        drop_blocks(record.first + i, 1);
        o.current.punch(record.first + i, 1);
        note_unapplied(o);
        o.meta.set_block(record.first + i, wanted.u32());
      }
      o.meta.lossy = true;
      break;
    }
    case Kind::end_sync: {
      o.exists = true;
      ObjectMeta told;
      if (decode_meta_slot(slices[0].bytes(), o.oid, told))
        o.meta = told;
      else
        o.meta.torn = o.meta.incomplete = true;
      break;
    }
    case Kind::remove:
      reset(o);
      o.exists = false;
      o.current_removed = true;
      note_unapplied(o);
      break;
  }
}

}  // namespace sd
