// What the parts of the store share: the input being handled, where effects go, and what the store may use. A part that
// cannot go on says so here and returns at once; the store sees it before anything else happens.
#pragma once
#include <algorithm>
#include <string>
#include <utility>

#include "core/base/random.hpp"
#include "core/store/store.hpp"

namespace sd::store_detail {

// What a completion belongs to: bits 48-55 of the tag. Bits 32-47 and 0-31 are its own.
enum class Tag : std::uint8_t {
  batch,
  sync,
  read,
  load,
  apply,
  remove_files,
  place,
  job,
  list_objects,
  list_metas,
  read_super,
  open_sync,
  format,
  window,
  erase
};

inline std::uint64_t make_tag(Tag tag, std::uint64_t low, std::uint64_t middle = 0) {
  return store_disk_tag | std::uint64_t(tag) << 48 | (middle & 0xffff) << 32 | (low & 0xffffffff);
}

inline FileId object_file(ObjectKey key) { return {FileKind::object, key.strip, key.oid.value}; }
inline FileId meta_file(ObjectKey key) { return {FileKind::object_meta, key.strip, key.oid.value}; }
inline FileId journal_file() { return {FileKind::journal, 0, 0}; }

// Disks opened with O_DIRECT want memory on sector boundaries.
inline Slice aligned_for_disk(Slice data, BufferPool& pool) {
  return reinterpret_cast<std::uintptr_t>(data.data()) % limits::sector_size == 0 ? data : pool.copy_of(data.bytes());
}

// Of the disk, in bytes: what it last said to be free, and what the updates taken since then will need.
struct Space {
  std::uint64_t free = UINT64_MAX;
  std::uint64_t spent = 0;
  std::uint64_t left() const { return free - std::min(free, spent); }
};

struct Context {
  Context(const StoreOptions& o, BufferPool& buffers, std::uint64_t seed)
      : options(o), pool(buffers), random(seed), zeros(buffers.zeros(64u << 10)) {}

  void disk(DiskOp&& op) {
    ++disk_in_flight;
    fx->disk.push_back(std::move(op));
  }
  void disk(DiskOp::Kind kind, FileId file, std::uint64_t tag, std::uint64_t offset = 0, std::uint32_t length = 0) {
    disk({kind, file, tag, offset, length, {}});
  }
  void notice(std::string text) { fx->notices.push_back(std::move(text)); }
  void finish(std::uint64_t ticket, Status status) {
    StoreDone& d = fx->done.emplace_back();
    d.ticket = ticket;
    d.status = status;
  }
  void finish(std::uint64_t ticket, Status status, const ObjectInfo& info) {
    finish(ticket, status);
    fx->done.back().info = info;
  }
  // The store can do no more. The first reason counts.
  void fail(std::string why) {
    if (failure.empty()) failure = std::move(why);
  }
  bool failed() const { return !failure.empty(); }

  StoreOptions options;
  BufferPool& pool;
  Random random;
  Slice zeros;                 // 64 KB, shared
  Time now = 0;                // of the input being handled
  StoreEffects* fx = nullptr;  // of the input being handled
  std::uint32_t disk_in_flight = 0;
  std::string failure;  // why the store failed; empty while it has not
  Space space;
  StoreStats counts;
};

}  // namespace sd::store_detail
