// A disk for tests: the contract of core/disk/disk.hpp at its worst. Operations complete in the order the test picks; a
// power loss keeps, of each sector that was written and not synced, any of the values it had since it was last durable;
// files that were created or removed without a directory sync may be there or not. Two operations in flight that
// overlap stop the test.
#pragma once
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/base/assert.hpp"
#include "core/base/limits.hpp"
#include "core/base/random.hpp"
#include "core/disk/disk.hpp"

namespace sd::testing {

class MemoryDisk {
 public:
  MemoryDisk(BufferPool& pool, std::uint64_t seed) : pool_(pool), random_(seed) {}

  // Asked at each completion of an operation; anything but ok is its result, and it has no effect.
  std::function<Status(const DiskOp&)> inject;

  void submit(DiskOp op) {
    for (const auto& other : in_flight_) SD_ASSERT(!overlap(op, other.op), "operations in flight do not overlap");
    if (op.kind == DiskOp::Kind::write) {
      std::size_t size = 0;
      for (const auto& s : op.slices) size += s.size();
      SD_ASSERT(op.length == size, "a write's length is that of its slices");
    }
    SD_ASSERT(op.offset % 512 == 0 && op.length % 512 == 0, "operations are made of sectors");
    for (const auto& s : op.slices)
      SD_ASSERT(reinterpret_cast<std::uintptr_t>(s.data()) % 512 == 0 && s.size() % 512 == 0,
                "slices are made of sectors");
    in_flight_.push_back({std::move(op), clock_});
  }
  std::size_t in_flight() const { return in_flight_.size(); }

  // Performs operation `index` of those in flight.
  DiskDone complete(std::size_t index) {
    Flying f = std::move(in_flight_[index]);
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(index));
    DiskDone done;
    done.tag = f.op.tag;
    done.kind = f.op.kind;
    done.status = inject ? inject(f.op) : Status::ok;
    if (done.status == Status::ok) perform(f, done);
    ++clock_;
    return done;
  }
  DiskDone complete_any() { return complete(random_.below(in_flight_.size())); }

  // The process dies: what completed stays visible; what is in flight happens in part.
  void kill() {
    for (auto& f : in_flight_) {
      if (f.op.kind == DiskOp::Kind::write)
        write_some(f.op);
      else if (random_.below(2) == 0 && f.op.kind != DiskOp::Kind::read) {
        DiskDone ignored;
        perform(f, ignored);
      }
    }
    in_flight_.clear();
    ++clock_;
  }

  void power_loss() {
    kill();
    std::map<FileId, std::shared_ptr<Inode>> next;
    for (const auto& [id, inode] : durable_)
      if (live_.contains(id) ? live_.at(id) == inode || random_.below(2) == 0 : random_.below(2) == 0) next[id] = inode;
    for (const auto& [id, inode] : live_)
      if (!next.contains(id) && random_.below(2) == 0) next[id] = inode;
    for (auto& [id, inode] : next) {
      for (auto& [sector, values] : inode->unsynced) {
        const auto pick = random_.below(values.size() + 1);
        const Sector* value = pick < values.size() ? &values[pick].bytes : nullptr;
        if (value) {
          inode->grow((sector + 1) * 512);
          std::memcpy(inode->synced.data() + sector * 512, value->data(), 512);
        }
      }
      inode->unsynced.clear();
      inode->live = inode->synced;
    }
    live_ = next;
    durable_ = next;
  }

  // For tests that damage files.
  std::vector<std::byte>* contents(FileId id) {
    const auto at = live_.find(id);
    return at == live_.end() ? nullptr : &at->second->live;
  }
  void erase(FileId id) {
    live_.erase(id);
    durable_.erase(id);
  }
  bool exists(FileId id) const { return live_.contains(id); }

 private:
  using Sector = std::array<std::byte, 512>;
  struct Value {
    std::uint64_t clock;
    Sector bytes;
  };
  struct Inode {
    std::vector<std::byte> live;
    std::vector<std::byte> synced;
    std::map<std::uint64_t, std::vector<Value>> unsynced;
    void grow(std::uint64_t size) {
      if (synced.size() < size) synced.resize(size);
    }
  };
  struct Flying {
    DiskOp op;
    std::uint64_t started;
  };

  static bool overlap(const DiskOp& a, const DiskOp& b) {
    using K = DiskOp::Kind;
    if (a.file != b.file) return false;
    const auto none = [](const DiskOp& op) {
      return op.kind == K::sync || op.kind == K::sync_directory || op.kind == K::list;
    };
    if (none(a) || none(b)) return false;
    if (a.kind == K::read && b.kind == K::read) return false;
    const auto whole = [](const DiskOp& op) { return op.kind == K::remove || op.kind == K::truncate; };
    if (whole(a) || whole(b)) return true;
    return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
  }

  std::shared_ptr<Inode>& inode_for_write(FileId id) {
    auto& inode = live_[id];
    if (!inode) inode = std::make_shared<Inode>();
    return inode;
  }
  void put_sector(Inode& inode, std::uint64_t sector, const std::byte* bytes) {
    if (inode.live.size() < (sector + 1) * 512) inode.live.resize((sector + 1) * 512);
    std::memcpy(inode.live.data() + sector * 512, bytes, 512);
    Value value{clock_, {}};
    std::memcpy(value.bytes.data(), bytes, 512);
    inode.unsynced[sector].push_back(value);
  }
  template <typename F>
  static void each_sector(const DiskOp& op, F&& f) {
    std::uint64_t sector = op.offset / 512;
    for (const auto& s : op.slices)
      for (std::size_t at = 0; at < s.size(); at += 512) f(sector++, s.data() + at);
  }
  void write_some(const DiskOp& op) {
    const auto how = random_.below(3);  // nothing, all, some
    if (how == 0) return;
    auto& inode = inode_for_write(op.file);
    each_sector(op, [&](std::uint64_t sector, const std::byte* bytes) {
      if (how == 1 || random_.below(2) == 0) put_sector(*inode, sector, bytes);
    });
  }

  void perform(const Flying& f, DiskDone& done) {
    using K = DiskOp::Kind;
    const DiskOp& op = f.op;
    const auto at = live_.find(op.file);
    const bool there = at != live_.end();
    switch (op.kind) {
      case K::read: {
        if (!there) {
          done.status = Status::not_found;
          return;
        }
        const auto& bytes = at->second->live;
        const std::size_t n =
            op.offset >= bytes.size() ? 0 : std::min<std::size_t>(op.length, bytes.size() - op.offset);
        done.data = pool_.copy_of(std::span(bytes).subspan(n > 0 ? op.offset : 0, n));
        return;
      }
      case K::write:
        inode_for_write(op.file);
        each_sector(op,
                    [&](std::uint64_t sector, const std::byte* bytes) { put_sector(*live_[op.file], sector, bytes); });
        return;
      case K::punch: {
        if (!there) {
          done.status = Status::not_found;
          return;
        }
        const Sector zero{};
        for (std::uint64_t s = op.offset / 512; s < (op.offset + op.length) / 512 && s * 512 < at->second->live.size();
             ++s)
          put_sector(*at->second, s, zero.data());
        return;
      }
      case K::sync: {
        if (!there) {
          done.status = Status::not_found;
          return;
        }
        Inode& inode = *at->second;
        for (auto i = inode.unsynced.begin(); i != inode.unsynced.end();) {
          auto& values = i->second;
          std::size_t covered = 0;
          while (covered < values.size() && values[covered].clock < f.started) ++covered;
          if (covered > 0) {
            inode.grow((i->first + 1) * 512);
            std::memcpy(inode.synced.data() + i->first * 512, values[covered - 1].bytes.data(), 512);
            values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(covered));
          }
          i = values.empty() ? inode.unsynced.erase(i) : std::next(i);
        }
        return;
      }
      case K::sync_directory: {
        for (auto i = durable_.begin(); i != durable_.end();)
          i = i->first.kind == op.file.kind && !live_.contains(i->first) ? durable_.erase(i) : std::next(i);
        for (const auto& [id, inode] : live_)
          if (id.kind == op.file.kind) durable_[id] = inode;
        return;
      }
      case K::remove: live_.erase(op.file); return;
      case K::truncate: inode_for_write(op.file)->live.resize(op.offset); return;
      case K::list:
        for (const auto& [id, inode] : live_)
          if (id.kind == op.file.kind) done.files.push_back(id);
        return;
    }
  }

  BufferPool& pool_;
  Random random_;
  std::uint64_t clock_ = 1;
  std::vector<Flying> in_flight_;
  std::map<FileId, std::shared_ptr<Inode>> live_;
  std::map<FileId, std::shared_ptr<Inode>> durable_;
};

}  // namespace sd::testing
