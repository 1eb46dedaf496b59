#include "sim/disk.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/base/limits.hpp"

namespace sd::sim {

namespace {
// What a power loss does to volatile sectors: usually one of the extremes, which find the most mistakes.
enum : unsigned { lose_all, keep_all, keep_some };

bool all_zero(const std::byte* bytes, std::size_t n) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, n - 1) == 0;
}
}  // namespace

constinit SimDisk::Bytes SimDisk::shared_zeros{};

Time SimDisk::latency(DiskOp::Kind kind) {
  Time low = config.write_min;
  Time high = config.write_max;
  if (kind == DiskOp::Kind::read || kind == DiskOp::Kind::list) {
    low = config.read_min;
    high = config.read_max;
  } else if (kind == DiskOp::Kind::sync || kind == DiskOp::Kind::sync_directory) {
    low = config.sync_min;
    high = config.sync_max;
    if (decisions_.chance(Site::disk_fault, config.stall_per_thousand, 1000)) return config.stall;
  }
  return decisions_.between(Site::disk_latency, low, high) * config.slow_factor;
}

SimDisk::Memory SimDisk::new_page() {
  ++pages_;
  if (spare_.empty()) return Memory(new Bytes{});
  Memory memory = std::move(spare_.back());
  spare_.pop_back();
  memory->fill(std::byte{0});
  return memory;
}

SimDisk::Memory SimDisk::zero_page() {
  ++pages_;
  return Memory(&shared_zeros);
}

// Before its bytes are changed.
void SimDisk::unshare(Memory& memory) {
  if (memory.get() != &shared_zeros) return;
  recycle(std::move(memory));
  memory = new_page();
}

SimDisk::Memory SimDisk::copy_page(const Memory& page) {
  if (!page) return {};
  Memory memory;
  if (page.get() == &shared_zeros) return zero_page();
  if (spare_.empty()) {
    memory.reset(new Bytes(*page));
  } else {
    memory = std::move(spare_.back());
    spare_.pop_back();
    *memory = *page;
  }
  ++pages_;
  return memory;
}

void SimDisk::recycle(Memory&& memory) {
  if (!memory) return;
  --pages_;
  if (memory.get() != &shared_zeros && spare_.size() < 1024)
    spare_.push_back(std::move(memory));
  else
    memory.reset();
}

// The page, after saving what a crash could bring back. `whole`: every byte is about to be replaced.
SimDisk::Page& SimDisk::page_to_write(File& file, std::uint64_t number, bool whole) {
  Page& page = file.pages[number];
  if (!page.dirty) {
    page.dirty = true;
    file.dirty.push_back(number);
    if (whole)
      page.base = std::move(page.current);
    else
      page.base = copy_page(page.current);
  } else if (page.in_sync && !page.has_middle) {
    page.has_middle = true;
    page.middle = copy_page(page.current);
  }
  if (whole) page.unreadable = false;
  if (!page.current) page.current = zero_page();
  return page;
}

SimDisk::Bytes& SimDisk::writable(File& file, std::uint64_t number, bool whole) {
  Page& page = page_to_write(file, number, whole);
  unshare(page.current);
  return *page.current;
}

SimDisk::File& SimDisk::file_for_write(FileId id) {
  auto [at, created] = files_.try_emplace(id);
  if (created) at->second.created = ++stamp_;
  return at->second;
}

void SimDisk::zero_range(File& file, std::uint64_t begin, std::uint64_t end) {
  auto at = file.pages.lower_bound(begin / page_size);
  while (at != file.pages.end() && at->first * page_size < end) {
    const std::uint64_t number = at->first;
    ++at;
    const std::uint64_t from = std::max(begin, number * page_size) - number * page_size;
    const std::uint64_t to = std::min(end, (number + 1) * page_size) - number * page_size;
    Bytes& bytes = writable(file, number, from == 0 && to == page_size);
    std::memset(bytes.data() + from, 0, to - from);
    if (from == 0 && to == page_size) recycle(std::move(file.pages[number].current));
  }
}

void SimDisk::write_range(File& file, const DiskOp& op, const std::vector<bool>* sectors) {
  std::uint64_t at = op.offset;
  for (const Slice& slice : op.slices) {
    const std::byte* from = slice.data();
    std::size_t left = slice.size();
    while (left > 0) {
      const std::size_t inside = at % page_size;
      std::size_t n = std::min(left, page_size - inside);
      bool wanted = true;
      if (sectors) {  // one sector at a time, and only the chosen ones
        n = std::min(n, sector - at % sector);
        wanted = (*sectors)[at / sector - op.offset / sector];
      }
      if (wanted) {
        if (n == page_size && all_zero(from, n)) {
          Memory& current = page_to_write(file, at / page_size, true).current;
          if (current.get() != &shared_zeros) {
            recycle(std::move(current));
            current = zero_page();
          }
        } else {
          std::memcpy(writable(file, at / page_size, n == page_size).data() + inside, from, n);
        }
        file.size = std::max(file.size, at + n);
      }
      at += n;
      from += n;
      left -= n;
    }
  }
}

// Says ok, and the write is nowhere, or where another file's bytes should be.
Status SimDisk::write_elsewhere(DiskOp& op) {
  ++stats_.injected_errors;
  std::vector<FileId> others;
  for (const auto& [id, file] : files_)
    if (id.kind == op.file.kind && id != op.file) others.push_back(id);
  if (others.empty() || decisions_.choose(Site::disk_fault, 2) == 0) return Status::ok;
  op.file = others[decisions_.choose(Site::disk_fault, others.size())];
  return perform_write(op, nullptr);
}

Status SimDisk::perform_write(const DiskOp& op, const std::vector<bool>* sectors) {
  std::uint64_t length = 0;
  for (const Slice& slice : op.slices) length += slice.size();
  if (used() + length > config.capacity) {
    // Rewriting pages that exist needs no space.
    const auto file = files_.find(op.file);
    std::uint64_t missing = 0;
    for (std::uint64_t page = op.offset / page_size; page * page_size < op.offset + length; ++page) {
      const auto at = file == files_.end() ? std::map<std::uint64_t, Page>::iterator{} : file->second.pages.find(page);
      if (file == files_.end() || at == file->second.pages.end() || !at->second.current) ++missing;
    }
    if (missing > 0) return Status::no_space;
  }
  write_range(file_for_write(op.file), op, sectors);
  return Status::ok;
}

void SimDisk::free_file(File& file) {
  for (auto& [number, page] : file.pages) {
    recycle(std::move(page.current));
    recycle(std::move(page.base));
    recycle(std::move(page.middle));
  }
  file.pages.clear();
}

void SimDisk::perform_remove(FileId id) {
  const auto at = files_.find(id);
  if (at == files_.end()) return;
  File& file = at->second;
  if (file.entry_durable && !graves_.contains(id)) {
    settle(file, lose_all);
    graves_.emplace(id, Grave{std::move(file), ++stamp_});
  } else {
    free_file(file);
  }
  files_.erase(at);
}

void SimDisk::begin_sync(File& file, std::uint32_t slot) {
  file.running_sync = slot + 1;
  file.sync_size = file.size;
  for (const std::uint64_t number : file.dirty) file.pages[number].in_sync = true;
}

// It ends and makes nothing durable.
void SimDisk::forget_sync(File& file) {
  file.running_sync = 0;
  for (const std::uint64_t number : file.dirty) {
    const auto at = file.pages.find(number);
    if (at == file.pages.end()) continue;
    Page& page = at->second;
    page.in_sync = page.has_middle = false;
    recycle(std::move(page.middle));
  }
  next_sync(file);
}

void SimDisk::end_sync(File& file, bool ok) {
  file.running_sync = 0;
  if (ok) {
    file.durable_size = file.sync_size;
    std::size_t kept = 0;
    for (const std::uint64_t number : file.dirty) {
      const auto at = file.pages.find(number);
      if (at == file.pages.end()) continue;
      Page& page = at->second;
      if (page.in_sync) {
        page.in_sync = false;
        recycle(std::move(page.base));
        if (!page.has_middle) {
          page.dirty = false;
          if (!page.current) file.pages.erase(at);
          continue;
        }
        page.base = std::move(page.middle);
        page.has_middle = false;
      }
      file.dirty[kept++] = number;
    }
    file.dirty.resize(kept);
  } else {
    settle(file, keep_some);
  }
  next_sync(file);
}

void SimDisk::next_sync(File& file) {
  if (!file.waiting_syncs.empty()) {
    const std::uint32_t next = file.waiting_syncs.front();
    file.waiting_syncs.erase(file.waiting_syncs.begin());
    begin_sync(file, next);
  }
}

// Decides what the medium holds of a page, and makes that its only content.
void SimDisk::settle_page(Page& page, unsigned mode) {
  static const Bytes zeros{};
  if (!page.dirty) return;
  if (mode == keep_all) {
    recycle(std::move(page.base));
    recycle(std::move(page.middle));
  } else if (mode == lose_all) {
    recycle(std::move(page.current));
    recycle(std::move(page.middle));
    page.current = std::move(page.base);
  } else {
    Memory result = new_page();
    std::uint64_t choices = decisions_.bits(Site::disk_crash);
    for (std::size_t at = 0; at < page_size; at += sector, choices >>= 2) {
      const Memory& from = (choices & 2) != 0                      ? page.current
                           : (choices & 1) != 0 && page.has_middle ? page.middle
                                                                   : page.base;
      std::memcpy(result->data() + at, from ? from->data() + at : zeros.data() + at, sector);
      if (&from != &page.current) ++stats_.lost_sectors;
    }
    recycle(std::move(page.base));
    recycle(std::move(page.middle));
    recycle(std::move(page.current));
    page.current = std::move(result);
  }
  page.dirty = page.in_sync = page.has_middle = false;
}

void SimDisk::settle(File& file, unsigned mode) {
  std::uint64_t size = file.size;
  if (mode == lose_all)
    size = file.durable_size;
  else if (mode == keep_some && file.size != file.durable_size && decisions_.choose(Site::disk_crash, 2) == 0)
    size = file.durable_size;
  for (const std::uint64_t number : file.dirty) {
    const auto at = file.pages.find(number);
    if (at == file.pages.end()) continue;
    settle_page(at->second, mode);
    if (!at->second.current) file.pages.erase(at);
  }
  file.dirty.clear();
  file.size = size;
  file.durable_size = size;
  drop_pages_from(file, size);
}

// Only for content that is settled: nothing beyond the end of the file may come back when it grows again.
void SimDisk::drop_pages_from(File& file, std::uint64_t size) {
  for (auto at = file.pages.lower_bound(size / page_size); at != file.pages.end();) {
    const std::uint64_t begin = at->first * page_size;
    if (begin >= size) {
      recycle(std::move(at->second.current));
      at = file.pages.erase(at);
    } else {
      if (at->second.current && at->second.current.get() != &shared_zeros)
        std::memset(at->second.current->data() + (size - begin), 0, page_size - (size - begin));
      ++at;
    }
  }
}

bool SimDisk::holds_zeros(const File& file, std::uint64_t offset, std::size_t length) const {
  for (auto at = file.pages.lower_bound(offset / page_size);
       at != file.pages.end() && at->first * page_size < offset + length; ++at)
    if (at->second.current && at->second.current.get() != &shared_zeros) return false;
  return true;
}

void SimDisk::read_into(const File& file, std::uint64_t offset, std::byte* out, std::size_t length) const {
  auto at = file.pages.lower_bound(offset / page_size);
  while (length > 0) {
    const std::size_t inside = offset % page_size;
    const std::size_t n = std::min(length, page_size - inside);
    const Bytes* bytes = nullptr;
    if (at != file.pages.end() && at->first == offset / page_size) {
      bytes = at->second.current.get();
      ++at;
    }
    if (!bytes || bytes == &shared_zeros)
      std::memset(out, 0, n);
    else
      std::memcpy(out, bytes->data() + inside, n);
    offset += n;
    out += n;
    length -= n;
  }
}

// Most of what is read at a start is journal that was never written to; nobody writes to what a disk returned.
Slice SimDisk::read_slice(const File& file, std::uint64_t offset, std::size_t length) {
  if (length > limits::block_size && holds_zeros(file, offset, length)) {
    if (zeros_.size() < length) zeros_ = pool_.zeros(length);
    return zeros_.part(0, length);
  }
  Slice data = pool_.allocate(length);
  read_into(file, offset, data.mutable_data(), length);
  return data;
}

SimDisk::Started SimDisk::start(Time now, DiskOp&& op) {
  std::uint32_t number = 0;
  if (free_slots_.empty()) {
    number = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    number = free_slots_.back();
    free_slots_.pop_back();
  }
  ++in_flight_;
  ++stats_.operations;
  Time done_at = now + latency(op.kind);
  Slot& slot = slots_[number];
  slot.busy = true;
  slot.began = now;
  slot.stamp = ++stamp_;
  slot.fails =
      op.kind == DiskOp::Kind::read && decisions_.chance(Site::disk_fault, config.read_error_per_million, 1'000'000);
  if (op.kind == DiskOp::Kind::write || op.kind == DiskOp::Kind::sync)
    slot.fails = decisions_.chance(Site::disk_fault, config.write_error_per_million, 1'000'000);
  slot.op = std::move(op);
  if (slot.op.kind == DiskOp::Kind::sync) {
    ++stats_.syncs;
    const auto at = files_.find(slot.op.file);
    if (at != files_.end()) {
      File& file = at->second;
      done_at = std::max(done_at, file.sync_free_at + 1);
      file.sync_free_at = done_at;
      if (file.running_sync == 0)
        begin_sync(file, number);
      else
        file.waiting_syncs.push_back(number);
    }
  }
  return {number, done_at};
}

Time SimDisk::oldest(Time now) const {
  Time first = now;
  for (const Slot& slot : slots_)
    if (slot.busy) first = std::min(first, slot.began);
  return now - first;
}

DiskDone SimDisk::finish(std::uint32_t number) {
  Slot& slot = slots_[number];
  SD_ASSERT(slot.busy, "a disk operation finishes once");
  DiskOp op = std::move(slot.op);
  slot.op = {};
  slot.busy = false;
  free_slots_.push_back(number);
  --in_flight_;
  DiskDone done;
  done.tag = op.tag;
  done.kind = op.kind;
  const auto at = files_.find(op.file);
  if (slot.fails || (op.kind == DiskOp::Kind::read && !readable(op.file, op.offset, op.length))) {
    ++stats_.injected_errors;
    done.status = Status::io_error;
    if (op.kind == DiskOp::Kind::sync && at != files_.end() && at->second.running_sync == number + 1)
      end_sync(at->second, false);
    return done;
  }
  const bool of_store = op.file.kind >= FileKind::journal;
  switch (op.kind) {
    case DiskOp::Kind::read: {
      if (at == files_.end()) {
        done.status = Status::not_found;
        break;
      }
      const File& file = at->second;
      const std::uint64_t end = std::min<std::uint64_t>(op.offset + op.length, file.size);
      if (end > op.offset) done.data = read_slice(file, op.offset, end - op.offset);
      break;
    }
    case DiskOp::Kind::write:
      if (op.file.kind >= FileKind::object &&
          decisions_.chance(Site::disk_fault, config.lost_write_per_million, 1'000'000))
        done.status = write_elsewhere(op);
      else
        done.status = perform_write(op, nullptr);
      break;
    case DiskOp::Kind::sync:
      if (at == files_.end()) {
        done.status = Status::not_found;
      } else if (at->second.running_sync == number + 1) {
        if (config.lying_sync && of_store) {
          forget_sync(at->second);
          break;
        }
        const bool fails = decisions_.chance(Site::disk_fault, config.sync_error_per_thousand, 1000);
        end_sync(at->second, !fails);
        if (fails) {
          ++stats_.injected_errors;
          done.status = Status::io_error;
        }
      }
      // Otherwise the file was removed and made anew while the sync was under way: nothing of the new one is covered.
      break;
    case DiskOp::Kind::sync_directory:
      for (auto& [id, file] : files_)
        if (id.kind == op.file.kind && file.created <= slot.stamp) file.entry_durable = true;
      for (auto grave = graves_.begin(); grave != graves_.end();) {
        if (grave->first.kind == op.file.kind && grave->second.removed <= slot.stamp) {
          free_file(grave->second.file);
          grave = graves_.erase(grave);
        } else {
          ++grave;
        }
      }
      break;
    case DiskOp::Kind::remove: perform_remove(op.file); break;
    case DiskOp::Kind::punch:
      if (at == files_.end())
        done.status = Status::not_found;
      else
        zero_range(at->second, op.offset, std::min<std::uint64_t>(op.offset + op.length, at->second.size));
      break;
    case DiskOp::Kind::truncate: {
      File& file = file_for_write(op.file);
      if (op.offset < file.size) zero_range(file, op.offset, file.size);
      file.size = op.offset;
      break;
    }
    case DiskOp::Kind::list:
      for (const auto& [id, file] : files_)
        if (id.kind == op.file.kind) done.files.push_back(id);
      break;
  }
  return done;
}

// What was asked for but not yet done when the process ended: each operation happens, does not, or stops half-way.
void SimDisk::kill_in_flight() {
  for (std::uint32_t number = 0; number < slots_.size(); ++number) {
    Slot& slot = slots_[number];
    if (!slot.busy) continue;
    const std::uint64_t outcome = decisions_.choose(Site::disk_crash, 3);
    if (slot.op.kind == DiskOp::Kind::write && outcome > 0) {
      std::uint64_t length = 0;
      for (const Slice& slice : slot.op.slices) length += slice.size();
      const std::uint64_t sectors = (slot.op.offset + length + sector - 1) / sector - slot.op.offset / sector;
      std::vector<bool> chosen(sectors, true);
      if (outcome == 1)
        for (std::uint64_t i = 0; i < sectors; ++i) chosen[i] = decisions_.choose(Site::disk_crash, 2) == 0;
      perform_write(slot.op, &chosen);
    } else if (outcome == 2 && slot.op.kind == DiskOp::Kind::remove) {
      perform_remove(slot.op.file);
    }
    slot.op = {};
    slot.busy = false;
    free_slots_.push_back(number);
    --in_flight_;
  }
  for (auto& [id, file] : files_) {
    file.running_sync = 0;
    file.waiting_syncs.clear();
    file.sync_free_at = 0;
    for (const std::uint64_t number : file.dirty) {
      const auto at = file.pages.find(number);
      if (at == file.pages.end()) continue;
      at->second.in_sync = false;
      if (at->second.has_middle) {
        // The sync may have reached the medium before the process died.
        if (decisions_.choose(Site::disk_crash, 2) == 0) {
          recycle(std::move(at->second.base));
          at->second.base = std::move(at->second.middle);
        } else {
          recycle(std::move(at->second.middle));
        }
        at->second.has_middle = false;
      }
    }
  }
}

void SimDisk::process_died() { kill_in_flight(); }

void SimDisk::wipe() {
  kill_in_flight();
  for (auto& [id, file] : files_) free_file(file);
  for (auto& [id, grave] : graves_) free_file(grave.file);
  files_.clear();
  graves_.clear();
}

void SimDisk::power_lost() {
  kill_in_flight();
  const std::uint64_t draw = decisions_.choose(Site::disk_crash, 6);
  const unsigned mode = draw < 3 ? lose_all : draw == 3 ? keep_all : keep_some;
  for (auto at = files_.begin(); at != files_.end();) {
    File& file = at->second;
    const bool vanishes =
        !file.entry_durable && (mode == lose_all || (mode == keep_some && decisions_.choose(Site::disk_crash, 2) == 0));
    if (vanishes) {
      free_file(file);
      at = files_.erase(at);
    } else {
      settle(file, mode);
      file.entry_durable = true;
      ++at;
    }
  }
  for (auto& [id, grave] : graves_) {
    const bool back = !files_.contains(id) &&
                      (mode == lose_all || (mode == keep_some && decisions_.choose(Site::disk_crash, 2) == 0));
    if (back)
      files_.emplace(id, std::move(grave.file));
    else
      free_file(grave.file);
  }
  graves_.clear();
}

// Number 0 of no file if there is none.
std::pair<FileId, std::uint64_t> SimDisk::any_stored_page(FileKind kind) {
  std::vector<std::pair<FileId, std::uint64_t>> candidates;
  for (const auto& [id, file] : files_) {
    if (id.kind != kind) continue;
    for (const auto& [number, page] : file.pages)
      if (page.current && !page.dirty && number * page_size < file.size) candidates.emplace_back(id, number);
  }
  if (candidates.empty()) return {};
  return candidates[decisions_.choose(Site::disk_fault, candidates.size())];
}

bool SimDisk::flip_bit(FileKind kind) {
  const auto [id, number] = any_stored_page(kind);
  if (id == FileId{}) return false;
  const std::uint64_t bit = decisions_.choose(Site::disk_fault, page_size * 8);
  unshare(files_[id].pages[number].current);
  (*files_[id].pages[number].current)[bit / 8] ^= std::byte{1} << (bit % 8);
  ++stats_.flipped_bits;
  return true;
}

bool SimDisk::flip_bit_at(FileId id, std::uint64_t offset) {
  const auto file = files_.find(id);
  if (file == files_.end()) return false;
  const auto page = file->second.pages.find(offset / page_size);
  if (page == file->second.pages.end() || !page->second.current || page->second.current.get() == &shared_zeros)
    return false;
  (*page->second.current)[offset % page_size] ^= std::byte{1};
  ++stats_.flipped_bits;
  return true;
}

bool SimDisk::flip_bit_held_by(const SimDisk& other) {
  std::vector<std::pair<FileId, std::uint64_t>> candidates;
  for (const auto& [id, file] : files_) {
    const auto theirs = other.files_.find(id);
    if (id.kind != FileKind::object || theirs == other.files_.end()) continue;
    for (const auto& [number, page] : file.pages) {
      const auto twin = theirs->second.pages.find(number);
      if (!page.current || twin == theirs->second.pages.end() || !twin->second.current ||
          number * page_size >= file.size)
        continue;
      if (*page.current == *twin->second.current && *page.current != Bytes{}) candidates.emplace_back(id, number);
    }
  }
  if (candidates.empty()) return false;
  const auto [id, number] = candidates[decisions_.choose(Site::disk_fault, candidates.size())];
  const std::uint64_t bit = decisions_.choose(Site::disk_fault, page_size * 8);
  (*files_[id].pages[number].current)[bit / 8] ^= std::byte{1} << (bit % 8);
  ++stats_.flipped_bits;
  return true;
}

std::shared_ptr<const SimDisk::Image> SimDisk::image() const {
  auto image = std::make_shared<Image>();
  for (const auto& [id, file] : files_) {
    Image::Content& content = image->files[id];
    content.size = file.size;
    for (const auto& [number, page] : file.pages)
      if (page.current) content.pages.emplace(number, *page.current);
  }
  return image;
}

void SimDisk::restore(const Image& image) {
  wipe();
  ++stats_.injected_errors;
  for (const auto& [id, content] : image.files) {
    File& file = files_[id];
    file.created = ++stamp_;
    file.entry_durable = true;
    file.size = file.durable_size = content.size;
    for (const auto& [number, bytes] : content.pages) {
      Memory memory = new_page();
      *memory = bytes;
      file.pages[number].current = std::move(memory);
    }
  }
}

bool SimDisk::spoil_page(FileKind kind) {
  const auto [id, number] = any_stored_page(kind);
  if (id == FileId{}) return false;
  files_[id].pages[number].unreadable = true;
  return true;
}

bool SimDisk::readable(FileId id, std::uint64_t offset, std::uint64_t length) const {
  const auto file = files_.find(id);
  if (file == files_.end()) return true;
  for (auto at = file->second.pages.lower_bound(offset / page_size);
       at != file->second.pages.end() && at->first * page_size < offset + length; ++at)
    if (at->second.unreadable) return false;
  return true;
}

std::vector<FileId> SimDisk::files() const {
  std::vector<FileId> result;
  for (const auto& [id, file] : files_) result.push_back(id);
  return result;
}

std::vector<std::byte> SimDisk::peek(FileId id, std::uint64_t offset, std::size_t length) const {
  const auto at = files_.find(id);
  if (at == files_.end() || offset >= at->second.size) return {};
  std::vector<std::byte> out(std::min<std::uint64_t>(length, at->second.size - offset));
  read_into(at->second, offset, out.data(), out.size());
  return out;
}

}  // namespace sd::sim
