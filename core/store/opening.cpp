// Opening: find the objects, make a journal or replay the one that is there.
#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;

namespace {

constexpr std::uint64_t window_bytes = 1u << 20;
constexpr std::uint64_t probe_bytes = 16u << 20;

}  // namespace

void Store::Impl::begin_open() {
  SD_ASSERT(disk_in_flight == 0, "nothing is under way when a store opens");
  state = State::listing;
  // All of it again, for a store that starts over.
  entries.clear();
  objects.clear();
  spare_objects.clear();
  lru_oldest = lru_newest = nullptr;
  lru_size = queued_ops = 0;
  blocked.clear();
  reads.clear();
  spare_reads.clear();
  pending.clear();
  pending_acks.clear();
  flight.clear();
  sync_in_flight = false;
  flush_waiters.clear();
  phase = Phase::idle;
  want_round = want_checkpoint = disk_full = false;
  dirty_bytes = current_bytes = 0;
  apply_deadline = checkpoint_deadline = retry_deadline = never;
  unapplied.clear();
  dirty.clear();
  round.clear();
  round_ops = 0;
  apply_retry.clear();
  checkpoint_list.clear();
  jobs_in_flight = 0;
  job_retry.clear();
  object_directory_dirty = meta_directory_dirty = true;  // an earlier incarnation may have made files and not synced
  window = {};
  window_in_flight = have_batch = journal_missing = false;
  loads_in_flight = 0;
  counts.loaded_objects = 0;

  open_answers = 3;
  disk(DiskOp::Kind::list, {FileKind::object, 0, 0}, make_tag(Tag::list_objects, 0));
  disk(DiskOp::Kind::list, {FileKind::object_meta, 0, 0}, make_tag(Tag::list_metas, 0));
  disk(DiskOp::Kind::read, journal_file(), make_tag(Tag::read_super, 0), 0, journal::area_offset);
}

void Store::Impl::on_listing(DiskDone&& done, bool metas) {
  if (done.status != Status::ok && done.status != Status::not_found) {
    fail("cannot list the objects");
    return;
  }
  (metas ? listed_metas : listed_objects) = std::move(done.files);
  if (--open_answers == 0) listing_step();
}

void Store::Impl::on_super(DiskDone&& done) {
  if (done.status != Status::ok && done.status != Status::not_found) {
    fail("cannot read the journal");
    return;
  }
  super_blocks = std::move(done.data);
  if (--open_answers == 0) listing_step();
}

void Store::Impl::listing_step() {
  for (const auto& file : listed_objects)
    if (file.strip == 0) entries[Oid{file.id}].object_file = true;
  for (const auto& file : listed_metas)
    if (file.strip == 0) entries[Oid{file.id}].meta_file = true;
  listed_objects.clear();
  listed_metas.clear();

  const auto found = journal::decode_super(super_blocks.bytes());
  super_blocks = {};
  if (found) super = *found;
  if (!found || SD_BUG(journal_skip_replay)) {
    if (!entries.empty()) notice("there is no readable journal; updates that were not yet in object files are lost");
    begin_format();
    return;
  }
  state = State::syncing;
  disk(DiskOp::Kind::sync, journal_file(), make_tag(Tag::open_sync, 0));
}

// --- a new journal

void Store::Impl::begin_format() {
  state = State::formatting;
  super.sequence += 1;  // newer than any that is there
  super.journal_id = random.next();
  super.capacity = options.journal_bytes - journal::area_offset;
  super.tail_position = 0;
  super.tail_sequence = 1;
  super.tail_link = random.next();
  format_offset = journal::area_offset;
  format_stage = 0;
  format_step();
}

void Store::Impl::format_step() {
  const auto next = [&](DiskOp op) {
    op.tag = make_tag(Tag::format, 0);
    disk(std::move(op));
  };
  if (format_stage == 0 && options.preallocate_journal && format_offset < options.journal_bytes) {
    DiskOp op{DiskOp::Kind::write, journal_file(), 0, format_offset, 0, {}};
    while (op.length < window_bytes && format_offset < options.journal_bytes) {
      const auto n =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(zeros.size(), options.journal_bytes - format_offset));
      op.slices.push_back(zeros.part(0, n));
      op.length += n;
      format_offset += n;
    }
    next(std::move(op));
    return;
  }
  switch (++format_stage) {
    case 1: {
      // The area must be empty for good before the superblock says so.
      if (options.preallocate_journal)
        next({DiskOp::Kind::sync, journal_file(), 0, 0, 0, {}});
      else
        format_step();
      return;
    }
    case 2: {
      Slice blocks = pool.zeros(journal::area_offset);
      journal::encode_super(
          super, std::span<std::byte, journal::super_bytes>(
                     blocks.mutable_data() + super.sequence % 2 * journal::super_bytes, journal::super_bytes));
      next({DiskOp::Kind::write, journal_file(), 0, 0, journal::area_offset, {std::move(blocks)}});
      return;
    }
    case 3: next({DiskOp::Kind::sync, journal_file(), 0, 0, 0, {}}); return;
    case 4: next({DiskOp::Kind::sync_directory, journal_file(), 0, 0, 0, {}}); return;
    default: break;
  }
  begin_scan();
  become_ready();
}

void Store::Impl::on_format(Status status) {
  if (status != Status::ok)
    fail("cannot make the journal: " + std::string(to_string(status)));
  else
    format_step();
}

// --- replay

void Store::Impl::on_open_sync(Status status) {
  if (status != Status::ok) {
    fail("cannot sync the journal");
    return;
  }
  begin_scan();
}

void Store::Impl::begin_scan() {
  state = State::scanning;  // pump() goes on from here
  head = tail = scan_position = super.tail_position;
  tail_sequence = super.tail_sequence;
  scan_sequence = next_sequence = super.tail_sequence;
  scan_link = last_link = super.tail_link;
  completed = durable = scan_sequence - 1;
  replayed_bytes = 0;
  scan_place = 0;
  leftovers[0] = leftovers[1] = no_leftover;
}

// Whether the window holds these bytes of the area; if not it is being read.
bool Store::Impl::need_window(std::uint64_t position, std::uint64_t bytes) {
  if (window_in_flight) return false;
  if (!window.empty() && position >= window_position && position + bytes <= window_position + window.size())
    return true;
  const std::uint64_t left = super.capacity - position % super.capacity;
  window = {};
  window_position = position;
  window_wanted = std::min(left, std::max(bytes, window_bytes));
  window_in_flight = true;
  disk(DiskOp::Kind::read, journal_file(), make_tag(Tag::window, 0), physical(position),
       static_cast<std::uint32_t>(window_wanted));
  return false;
}

void Store::Impl::on_window(DiskDone&& done) {
  window_in_flight = false;
  if (done.status != Status::ok && done.status != Status::not_found) {
    fail("cannot read the journal");
    return;
  }
  window = std::move(done.data);
  if (window.size() < window_wanted) {  // the file is short: nothing was ever written there
    Slice whole = pool.zeros(window_wanted);
    if (!window.empty()) std::memcpy(whole.mutable_data(), window.data(), window.size());
    window = std::move(whole);
  }
  if (state == State::probing) probe();
}

void Store::Impl::scan() {
  while (state == State::scanning) {
    if (have_batch) {
      if (!replay_batch()) return;
      have_batch = false;
      if (replayed_bytes > options.max_dirty_bytes) {
        replayed_bytes = 0;
        want_round = true;
        begin_round();
        advance_round();
        if (phase != Phase::idle) return;
      }
    }
    // The next batch follows at once or begins the next lap.
    const std::uint64_t left = super.capacity - scan_position % super.capacity;
    for (; scan_place < 2 && !have_batch; ++scan_place) {
      const std::uint64_t at = scan_place == 0 ? scan_position : scan_position + left;
      const std::uint64_t room = super.capacity - at % super.capacity;
      if (scan_place == 1 && left == super.capacity) continue;
      if (at + block_size - tail > super.capacity || room < block_size) continue;
      if (!need_window(at, block_size)) return;
      const auto header = journal::peek_header(window.bytes().subspan(at - window_position));
      if (header && header->journal_id == super.journal_id && header->sequence == scan_sequence &&
          header->position == at)
        leftovers[scan_place] = at;
      if (!header || header->journal_id != super.journal_id || header->sequence != scan_sequence ||
          scan_sequence >= scan_limit || header->position != at || header->previous_link != scan_link ||
          header->total_bytes() > room || at + header->total_bytes() - tail > super.capacity)
        continue;
      if (!need_window(at, header->total_bytes())) return;
      have_batch = take_batch(*header, window.bytes().subspan(at - window_position, header->total_bytes()));
    }
    scan_place = 0;
    if (have_batch)
      leftovers[0] = leftovers[1] = no_leftover;
    else
      end_scan();
  }
}

bool Store::Impl::take_batch(const journal::Header& header, std::span<const std::byte> bytes) {
  if (!journal::decode_header(bytes.first(header.header_bytes), header, batch, batch_link)) return false;
  if (!journal::payload_matches(bytes.subspan(header.header_bytes), batch)) return false;
  batch_header = header;
  batch_end = header.position + header.total_bytes();
  batch_payload = window.part(header.position - window_position + header.header_bytes, header.payload_bytes);
  return true;
}

// False while metadata that the batch needs are being read.
bool Store::Impl::replay_batch() {
  bool loaded = true;
  for (const auto& record : batch.records) loaded = activate(record.oid, entries[record.oid]).loaded && loaded;
  if (!loaded || state != State::scanning) return false;

  std::size_t payload_at = 0;
  for (const auto& record : batch.records) {
    Object& o = *entries[record.oid].object;
    const Slice data = batch_payload.part(payload_at, std::size_t{record.crc_count} * block_size);
    payload_at += data.size();
    note_sequence(o, record, batch_header.sequence);
    // An object that was there when the tail was last moved, and now has no files.
    if (!o.exists && !record.creates && record.kind != journal::Kind::remove)
      o.exists = o.meta.torn = o.meta.incomplete = true;
    if (o.slot_valid && o.slot.journal_id == super.journal_id && o.slot.through >= batch_header.sequence) {
      before_change(o);  // the slot has it already, but may not be durable: write it again
      continue;
    }
    // Each change names the version that it was made to, and chunks are put into incomplete objects only. Anything else
    // here means that the newest metadata slot is damaged and this one, the older, misses changes that the journal no
    // longer has.
    const bool follows = record.is_part_of_copy() ? o.meta.incomplete
                                                  : !record.names_predecessor() || record.prev == o.meta.version ||
                                                        // one change may be several records
                                                        record.version == o.meta.version;
    if (record.creates || record.kind == journal::Kind::remove || record.kind == journal::Kind::end_sync)
      o.lost_changes = false;
    else if (o.exists && o.meta.torn && !o.slot_valid)
      o.lost_changes = true;  // no slot at all, and the journal does not begin with its creation
    else if (!o.meta.torn && !follows && !SD_BUG(accept_version_gap)) {
      o.lost_changes = true;
      SD_SOMETIMES(true, metadata_lost);
      notice("object " + to_string(o.oid) +
             " has lost changes together with its newest metadata; it must be re-synchronised");
    }
    absorb(o, record, std::span(batch.crcs).subspan(record.crc_at, record.crc_count), {&data, data.empty() ? 0u : 1u});
    if (o.lost_changes) o.meta.torn = o.meta.incomplete = true;
  }
  replayed_bytes += batch_header.total_bytes();
  batch_payload = {};
  completed = durable = batch_header.sequence;
  scan_sequence = next_sequence = batch_header.sequence + 1;
  scan_link = last_link = batch_link;
  scan_position = head = batch_end;
  return true;
}

// The valid prefix ends here. What stands where the next batch may go claims to be that batch, and was not taken. It
// must not become whole later: this incarnation may write the same bytes there once more, and lose with the power the
// header that they were meant for.
void Store::Impl::end_scan() {
  state = State::erasing;
  erased = false;
  erase_left = 0;
  for (auto& at : leftovers) {
    const std::uint64_t position = std::exchange(at, no_leftover);
    if (position == no_leftover) continue;
    ++erase_left;
    disk({DiskOp::Kind::write,
          journal_file(),
          make_tag(Tag::erase, 0),
          physical(position),
          block_size,
          {zeros.part(0, block_size)}});
  }
  SD_SOMETIMES(erase_left > 0, journal_tail_erased);
  if (erase_left == 0) begin_probe();
}

void Store::Impl::on_erase(Status status) {
  if (status != Status::ok) {
    fail("cannot write the journal");
    return;
  }
  if (--erase_left > 0) return;
  if (erased) {
    begin_probe();
    return;
  }
  erased = true;
  erase_left = 1;
  disk(DiskOp::Kind::sync, journal_file(), make_tag(Tag::erase, 0));
}

// If a later batch says that the one which ended the scan had been synced, it was damaged afterwards.
void Store::Impl::begin_probe() {
  state = State::probing;
  probe_position = scan_position;
  probe_end = std::min(scan_position + probe_bytes, tail + super.capacity);
  probe();
}

void Store::Impl::probe() {
  while (probe_position + block_size <= probe_end) {
    if (!need_window(probe_position, block_size)) return;
    const auto bytes = window.bytes().subspan(probe_position - window_position);
    const auto header = journal::peek_header(bytes);
    if (header && header->journal_id == super.journal_id && header->position == probe_position &&
        header->sequence > scan_sequence && header->durable_sequence >= scan_sequence) {
      journal::Batch later;
      std::uint64_t link = 0;
      const bool whole = header->header_bytes > bytes.size() ||
                         journal::decode_header(bytes.first(header->header_bytes), *header, later, link);
      if (whole) {
        SD_SOMETIMES(true, journal_damaged);
        notice("the journal is damaged: batch " + std::to_string(scan_sequence) +
               " was durable and cannot be read; it and later updates are lost here");
        break;
      }
    }
    probe_position += block_size;
  }
  become_ready();
}

void Store::Impl::become_ready() {
  window = {};
  batch.clear();
  scan_limit = UINT64_MAX;
  state = State::running;
  for (const auto& [oid, entry] : entries)
    if (entry.object_file && !entry.meta_file && (!entry.object || (entry.object->exists && entry.object->meta.torn)))
      notice("object " + to_string(oid) + " has lost its metadata; it must be re-synchronised");
}

}  // namespace sd
