// A disk for the tests of this folder: writes are volatile until synced, and a crash keeps an arbitrary subset of
// unsynced sectors.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/random.hpp"
#include "core/disk/disk.hpp"

namespace sd::raft {

class TestDisk {
 public:
  TestDisk(BufferPool& pool, std::uint64_t seed) : pool_(&pool), random_(seed) {}

  // Performs one operation at once.
  DiskDone perform(const DiskOp& op) {
    DiskDone done{.tag = op.tag, .kind = op.kind, .status = Status::ok, .data = {}, .files = {}};
    File& f = files_[op.file];
    switch (op.kind) {
      case DiskOp::Kind::read:
        if (!f.now)
          done.status = Status::not_found;
        else if (op.offset < f.now->size())
          done.data = pool_->copy_of(std::string_view(*f.now).substr(op.offset, op.length));
        break;
      case DiskOp::Kind::write: {
        if (fail_writes != Status::ok) {
          done.status = fail_writes;
          break;
        }
        std::string bytes;
        for (const Slice& s : op.slices) bytes.append(s.text());
        create(f);
        put(*f.now, op.offset, bytes);
        f.unsynced.push_back({op.offset, std::move(bytes), false});
        ++writes;
        break;
      }
      case DiskOp::Kind::truncate:
        create(f);
        f.now->resize(op.offset);
        f.unsynced.push_back({op.offset, {}, true});
        break;
      case DiskOp::Kind::sync:
        if (!f.now) {
          done.status = Status::not_found;
          break;
        }
        f.durable = *f.now;
        f.unsynced.clear();
        ++syncs;
        break;
      case DiskOp::Kind::sync_directory:
        for (auto& [id, file] : files_) {
          file.entry_durable = file.now.has_value();
          if (!file.now) file.durable.clear();
        }
        break;
      case DiskOp::Kind::remove: f.now.reset(); break;
      default: done.status = Status::not_supported;
    }
    return done;
  }

  // The process dies; with `power` the machine does. Operations under way may have happened.
  void crash(bool power, const std::vector<DiskOp>& under_way) {
    for (const DiskOp& op : under_way) {
      const bool changes =
          op.kind == DiskOp::Kind::write || op.kind == DiskOp::Kind::truncate || op.kind == DiskOp::Kind::remove;
      if (changes && random_.below(2) == 0) perform(op);
    }
    if (!power) return;
    for (auto& [id, f] : files_) {
      if (!f.entry_durable && random_.below(2) == 0) {
        f = {};
        continue;
      }
      if (!f.now && (!f.entry_durable || random_.below(2) == 0)) {
        f = {};
        continue;
      }
      const std::uint64_t keep = random_.below(3);  // of 2: none, half, all
      std::string content = f.durable;
      for (const Change& c : f.unsynced) {
        if (c.truncate) {
          if (random_.below(2) < keep) content.resize(c.offset);
          continue;
        }
        for (std::size_t at = 0; at < c.bytes.size(); at += 512) {
          if (random_.below(2) < keep) put(content, c.offset + at, std::string_view(c.bytes).substr(at, 512));
        }
      }
      f = {.now = content, .durable = content, .entry_durable = true, .unsynced = {}};
    }
  }

  // The machine dies at a known moment: nothing under way happens, and what was not synced is kept or lost as a whole.
  void stop(bool unsynced_kept) {
    for (auto& [id, f] : files_) {
      if (unsynced_kept ? !f.now : !f.entry_durable) {
        f = {};
        continue;
      }
      const std::string content = unsynced_kept ? *f.now : f.durable;
      f = {.now = content, .durable = content, .entry_durable = true, .unsynced = {}};
    }
  }

  // The visible bytes of a Raft file, nullptr if there is none.
  std::string* bytes(std::uint64_t id) {
    File& f = files_[{FileKind::raft, 0, id}];
    return f.now ? &*f.now : nullptr;
  }

  Status fail_writes = Status::ok;
  std::size_t writes = 0;
  std::size_t syncs = 0;

 private:
  struct Change {
    std::uint64_t offset;
    std::string bytes;
    bool truncate;
  };
  struct File {
    std::optional<std::string> now;
    std::string durable;
    bool entry_durable = false;
    std::vector<Change> unsynced;
  };

  static void put(std::string& to, std::uint64_t offset, std::string_view bytes) {
    if (to.size() < offset + bytes.size()) to.resize(offset + bytes.size());
    to.replace(offset, bytes.size(), bytes);
  }
  static void create(File& f) {
    if (f.now) return;
    f.now.emplace();
    f.durable.clear();
    f.unsynced.clear();
  }

  BufferPool* pool_;
  Random random_;
  std::map<FileId, File> files_;
};

}  // namespace sd::raft
