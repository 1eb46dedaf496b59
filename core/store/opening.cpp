#include "core/store/opening.hpp"

#include <cstring>
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::store_detail {

using limits::block_size;

namespace {

constexpr std::uint64_t window_bytes = 1u << 20;
constexpr std::uint64_t probe_bytes = 16u << 20;

}  // namespace

void Opening::start() {
  SD_ASSERT(context_.disk_in_flight == 0, "nothing is under way when a store opens");
  listing_.answers = 3;
  context_.disk(DiskOp::Kind::list, {FileKind::object, 0, 0}, make_tag(Tag::list_objects, 0));
  context_.disk(DiskOp::Kind::list, {FileKind::object_meta, 0, 0}, make_tag(Tag::list_metas, 0));
  context_.disk(DiskOp::Kind::read, journal_file(), make_tag(Tag::read_super, 0), 0, journal::area_offset);
}

void Opening::on_disk(Tag tag, DiskDone&& done) {
  switch (tag) {
    case Tag::list_objects:
    case Tag::list_metas:
    case Tag::read_super: on_listing(std::move(done), tag); break;
    case Tag::open_sync: on_open_sync(done.status); break;
    case Tag::format: on_format(done.status); break;
    case Tag::erase: on_erase(done.status); break;
    case Tag::window: on_window(std::move(done)); break;
    default: SD_ASSERT(false, "an opening gets its own results only");
  }
}

void Opening::advance() {
  if (!scanning()) return;
  write_back_.advance();
  if (write_back_.idle() && write_back_.round_asked_for()) {
    write_back_.begin(true);
    write_back_.advance();
  }
  if (write_back_.idle() && scanning()) scan();
}

void Opening::on_listing(DiskDone&& done, Tag tag) {
  if (done.status != Status::ok && done.status != Status::not_found) {
    context_.fail(tag == Tag::read_super ? "cannot read the journal" : "cannot list the objects");
    return;
  }
  if (tag == Tag::read_super)
    listing_.super_blocks = std::move(done.data);
  else
    (tag == Tag::list_metas ? listing_.metas : listing_.objects) = std::move(done.files);
  if (--listing_.answers == 0) listed();
}

void Opening::listed() {
  for (const auto& file : listing_.objects) cache_.entry({Oid{file.id}, file.strip}).object_file = true;
  for (const auto& file : listing_.metas) cache_.entry({Oid{file.id}, file.strip}).meta_file = true;
  const auto found = journal::decode_super(listing_.super_blocks.bytes());
  if (!found && journal::has_other_version(listing_.super_blocks.bytes())) {
    context_.fail(
        "its journal was written by another version of sheep, which this one cannot read; start that version, "
        "or empty the data directory to let the node join as a new one");
    return;
  }
  listing_ = {};
  if (found) super_ = *found;
  if (!found || SD_BUG(journal_skip_replay)) {
    if (!cache_.entries().empty())
      context_.notice("there is no readable journal; updates that were not yet in object files are lost");
    begin_format();
    return;
  }
  stage_ = Stage::syncing;
  context_.disk(DiskOp::Kind::sync, journal_file(), make_tag(Tag::open_sync, 0));
}

// --- a new journal

void Opening::begin_format() {
  stage_ = Stage::formatting;
  super_.sequence += 1;  // newer than any that is there
  super_.journal_id = context_.random.next();
  super_.capacity = context_.options.journal_bytes - journal::area_offset;
  super_.tail_position = 0;
  super_.tail_sequence = 1;
  super_.tail_link = context_.random.next();
  format_ = {journal::area_offset, 0};
  format_step();
}

void Opening::format_next(DiskOp&& op) {
  op.tag = make_tag(Tag::format, 0);
  context_.disk(std::move(op));
}

// False if there is nothing to fill.
bool Opening::fill_journal() {
  const StoreOptions& options = context_.options;
  if (!options.preallocate_journal || format_.offset >= options.journal_bytes) return false;
  DiskOp op{DiskOp::Kind::write, journal_file(), 0, format_.offset, 0, {}};
  while (op.length < window_bytes && format_.offset < options.journal_bytes) {
    const auto n = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(context_.zeros.size(), options.journal_bytes - format_.offset));
    op.slices.push_back(context_.zeros.part(0, n));
    op.length += n;
    format_.offset += n;
  }
  format_next(std::move(op));
  return true;
}

void Opening::format_step() {
  if (format_.step == 0 && fill_journal()) return;
  switch (++format_.step) {
    case 1: {
      // The area must be empty for good before the superblock says so.
      if (context_.options.preallocate_journal)
        format_next({DiskOp::Kind::sync, journal_file(), 0, 0, 0, {}});
      else
        format_step();
      return;
    }
    case 2: {
      Slice blocks = context_.pool.zeros(journal::area_offset);
      journal::encode_super(
          super_, std::span<std::byte, journal::super_bytes>(
                      blocks.mutable_data() + super_.sequence % 2 * journal::super_bytes, journal::super_bytes));
      format_next({DiskOp::Kind::write, journal_file(), 0, 0, journal::area_offset, {std::move(blocks)}});
      return;
    }
    case 3: format_next({DiskOp::Kind::sync, journal_file(), 0, 0, 0, {}}); return;
    case 4: format_next({DiskOp::Kind::sync_directory, journal_file(), 0, 0, 0, {}}); return;
    default: break;
  }
  begin_scan();
  finish();
}

void Opening::on_format(Status status) {
  if (status != Status::ok)
    context_.fail("cannot make the journal: " + std::string(to_string(status)));
  else
    format_step();
}

// --- replay

void Opening::on_open_sync(Status status) {
  if (status != Status::ok) {
    context_.fail("cannot sync the journal");
    return;
  }
  begin_scan();
}

void Opening::begin_scan() {
  stage_ = Stage::scanning;  // advance() goes on from here
  journal_.adopt(super_);
  scan_ = {};
  scan_.position = super_.tail_position;
  scan_.sequence = super_.tail_sequence;
  scan_.link = super_.tail_link;
}

// Whether the window holds these bytes of the area; if not it is being read.
bool Opening::need_window(std::uint64_t position, std::uint64_t bytes) {
  if (window_.in_flight) return false;
  if (!window_.data.empty() && position >= window_.position &&
      position + bytes <= window_.position + window_.data.size())
    return true;
  const std::uint64_t left = super_.capacity - position % super_.capacity;
  window_ = {{}, position, std::min(left, std::max(bytes, window_bytes)), true};
  context_.disk(DiskOp::Kind::read, journal_file(), make_tag(Tag::window, 0), journal_.physical(position),
                static_cast<std::uint32_t>(window_.wanted));
  return false;
}

void Opening::on_window(DiskDone&& done) {
  window_.in_flight = false;
  if (done.status != Status::ok && done.status != Status::not_found) {
    context_.fail("cannot read the journal");
    return;
  }
  window_.data = std::move(done.data);
  if (window_.data.size() < window_.wanted) {  // the file is short: nothing was ever written there
    Slice whole = context_.pool.zeros(window_.wanted);
    if (!window_.data.empty()) std::memcpy(whole.mutable_data(), window_.data.data(), window_.data.size());
    window_.data = std::move(whole);
  }
  if (stage_ == Stage::probing) probe();
}

void Opening::scan() {
  while (scanning()) {
    if (found_.any) {
      if (!replay_batch()) return;
      found_.any = false;
      if (replayed_enough()) return;
    }
    if (!look_for_batch()) return;
    scan_.place = 0;
    if (found_.any)
      scan_.leftovers[0] = scan_.leftovers[1] = nowhere;
    else
      end_scan();
  }
}

// Memory is bounded: now and then a round carries what was replayed to the files. True while one is under way.
bool Opening::replayed_enough() {
  if (scan_.bytes <= context_.options.max_dirty_bytes) return false;
  scan_.bytes = 0;
  write_back_.begin(true);
  write_back_.advance();
  return !write_back_.idle();
}

bool Opening::follows(const journal::Header& header, std::uint64_t at, std::uint64_t room) const {
  return header.journal_id == super_.journal_id && header.sequence == scan_.sequence && scan_.sequence < limit_ &&
         header.position == at && header.previous_link == scan_.link && header.total_bytes() <= room &&
         at + header.total_bytes() - journal_.tail() <= super_.capacity;
}

// The next batch follows at once or begins the next lap. False while the journal is being read.
bool Opening::look_for_batch() {
  const std::uint64_t left = super_.capacity - scan_.position % super_.capacity;
  for (; scan_.place < 2 && !found_.any; ++scan_.place) {
    const std::uint64_t at = scan_.place == 0 ? scan_.position : scan_.position + left;
    const std::uint64_t room = super_.capacity - at % super_.capacity;
    if (scan_.place == 1 && left == super_.capacity) continue;
    if (at + block_size - journal_.tail() > super_.capacity || room < block_size) continue;
    if (!need_window(at, block_size)) return false;
    const auto header = journal::peek_header(window_.data.bytes().subspan(at - window_.position));
    if (!header) continue;
    if (header->journal_id == super_.journal_id && header->sequence == scan_.sequence && header->position == at)
      scan_.leftovers[scan_.place] = at;
    if (!follows(*header, at, room)) continue;
    if (!need_window(at, header->total_bytes())) return false;
    found_.any = take_batch(*header, window_.data.bytes().subspan(at - window_.position, header->total_bytes()));
  }
  return true;
}

bool Opening::take_batch(const journal::Header& header, std::span<const std::byte> bytes) {
  if (!journal::decode_header(bytes.first(header.header_bytes), header, found_.batch, found_.link)) return false;
  if (!journal::payload_matches(bytes.subspan(header.header_bytes), found_.batch)) return false;
  found_.header = header;
  found_.end = header.position + header.total_bytes();
  found_.payload = window_.data.part(header.position - window_.position + header.header_bytes, header.payload_bytes);
  return true;
}

// False while metadata that the batch needs are being read.
bool Opening::replay_batch() {
  bool loaded = true;
  for (const auto& record : found_.batch.records)
    loaded = cache_.activate(record.key, cache_.entry(record.key)).loaded && loaded;
  if (!loaded || !scanning()) return false;

  std::size_t payload_at = 0;
  for (const auto& record : found_.batch.records) {
    const Slice data = found_.payload.part(payload_at, std::size_t{record.crc_count} * block_size);
    payload_at += data.size();
    replay_record(record, data);
  }
  const journal::Header& header = found_.header;
  scan_.bytes += header.total_bytes();
  found_.payload = {};
  journal_.replayed(header.sequence, found_.link, found_.end);
  scan_.sequence = header.sequence + 1;
  scan_.link = found_.link;
  scan_.position = found_.end;
  return true;
}

void Opening::replay_record(const journal::Record& record, const Slice& data) {
  Object& o = *cache_.entry(record.key).object;
  const std::uint64_t sequence = found_.header.sequence;
  // An object that was there when the tail was last moved, and now has no files.
  if (!o.exists && !record.creates && record.kind != journal::Kind::remove)
    o.exists = o.meta.torn = o.meta.incomplete = true;
  const MetaSlot& slot = o.slots.newest;
  if (o.slots.valid && slot.journal_id == super_.journal_id && slot.through >= sequence) {
    changes_.touch(o, record, sequence);  // the slot has it already, but may not be durable: write it again
    return;
  }
  note_lost_changes(o, record);
  changes_.absorb(o, record, sequence, std::span(found_.batch.crcs).subspan(record.crc_at, record.crc_count),
                  {&data, data.empty() ? 0u : 1u});
  if (o.lost_changes) o.meta.torn = o.meta.incomplete = true;
  if (SD_BUG(forget_origins)) o.meta.recent = {};
}

// Each change names the version that it was made to, and chunks are put into incomplete objects only. Anything else
// means that the newest metadata slot is damaged and this one, the older, misses changes that the journal no longer
// has.
void Opening::note_lost_changes(Object& o, const journal::Record& record) {
  const bool follows = record.is_part_of_copy() ? o.meta.incomplete
                                                : !record.names_predecessor() || record.prev == o.meta.version ||
                                                      // one change may be several records
                                                      record.version == o.meta.version;
  if (record.creates || record.kind == journal::Kind::remove || record.kind == journal::Kind::end_sync)
    o.lost_changes = false;
  else if (o.exists && o.meta.torn && !o.slots.valid)
    o.lost_changes = true;  // no slot at all, and the journal does not begin with its creation
  else if (!o.meta.torn && !follows && !SD_BUG(accept_version_gap)) {
    o.lost_changes = true;
    SD_SOMETIMES(true, metadata_lost);
    context_.notice("object " + to_string(o.key) +
                    " has lost changes together with its newest metadata; it must be re-synchronised");
  }
}

// The valid prefix ends here. What stands where the next batch may go claims to be that batch, and was not taken. It
// must not become whole later: this incarnation may write the same bytes there once more, and lose with the power the
// header that they were meant for.
void Opening::end_scan() {
  stage_ = Stage::erasing;
  erase_ = {};
  for (auto& at : scan_.leftovers) {
    const std::uint64_t position = std::exchange(at, nowhere);
    if (position == nowhere) continue;
    ++erase_.left;
    context_.disk({DiskOp::Kind::write,
                   journal_file(),
                   make_tag(Tag::erase, 0),
                   journal_.physical(position),
                   block_size,
                   {context_.zeros.part(0, block_size)}});
  }
  SD_SOMETIMES(erase_.left > 0, journal_tail_erased);
  if (erase_.left == 0) begin_probe();
}

void Opening::on_erase(Status status) {
  if (status != Status::ok) {
    context_.fail("cannot write the journal");
    return;
  }
  if (--erase_.left > 0) return;
  if (erase_.synced) {
    begin_probe();
    return;
  }
  erase_ = {1, true};
  context_.disk(DiskOp::Kind::sync, journal_file(), make_tag(Tag::erase, 0));
}

// If a later batch says that the one which ended the scan had been synced, it was damaged afterwards.
void Opening::begin_probe() {
  stage_ = Stage::probing;
  probe_ = {scan_.position, std::min(scan_.position + probe_bytes, journal_.tail() + super_.capacity)};
  probe();
}

bool Opening::is_later_batch(const journal::Header& header, std::span<const std::byte> bytes) const {
  if (header.journal_id != super_.journal_id || header.position != probe_.position ||
      header.sequence <= scan_.sequence || header.durable_sequence < scan_.sequence)
    return false;
  journal::Batch later;
  std::uint64_t link = 0;
  return header.header_bytes > bytes.size() ||
         journal::decode_header(bytes.first(header.header_bytes), header, later, link);
}

void Opening::probe() {
  for (; probe_.position + block_size <= probe_.end; probe_.position += block_size) {
    if (!need_window(probe_.position, block_size)) return;
    const auto bytes = window_.data.bytes().subspan(probe_.position - window_.position);
    const auto header = journal::peek_header(bytes);
    if (!header || !is_later_batch(*header, bytes)) continue;
    SD_SOMETIMES(true, journal_damaged);
    context_.notice("the journal is damaged: batch " + std::to_string(scan_.sequence) +
                    " was durable and cannot be read; it and later updates are lost here");
    break;
  }
  finish();
}

void Opening::finish() {
  stage_ = Stage::done;
  for (const auto& [key, entry] : cache_.entries())
    if (entry.object_file && !entry.meta_file && (!entry.object || (entry.object->exists && entry.object->meta.torn)))
      context_.notice("object " + to_string(key) + " has lost its metadata; it must be re-synchronised");
}

}  // namespace sd::store_detail
