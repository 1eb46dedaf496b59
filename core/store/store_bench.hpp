// A store, its disk and a clock, for tests: runs operations to their end.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/store/memory_disk.hpp"
#include "core/store/store.hpp"

namespace sd::testing {

// A journal that soon begins its next lap.
inline StoreOptions small_journal() {
  StoreOptions o;
  o.journal_bytes = 1u << 20;
  return o;
}

class StoreBench {
 public:
  explicit StoreBench(StoreOptions options, std::uint64_t seed = 1)
      : options_(options), disk(pool, seed), random(seed * 77 + 5) {
    start();
  }
  ~StoreBench() {
    fx = {};
    done.clear();
  }

  void start() {
    store = std::make_unique<Store>(options_, pool, ++incarnations_ * 1000003 + random.next());
    store->open(now, fx);
    collect();
    while (!store->ready() && !store->failed() && disk.in_flight() > 0) step();
  }
  // The process or the power goes; then the store opens again.
  void crash(bool power) {
    store.reset();
    fx = {};
    done.clear();
    if (power)
      disk.power_loss();
    else
      disk.kill();
  }
  void restart(bool power) {
    crash(power);
    start();
  }

  void collect() {
    for (auto& op : fx.disk) disk.submit(std::move(op));
    fx.disk.clear();
    for (auto& d : fx.done) done.insert_or_assign(d.ticket, std::move(d));
    fx.done.clear();
    for (auto& n : fx.notices) notices.push_back(std::move(n));
    fx.notices.clear();
  }
  // One disk completion, or what the clock brings. False if nothing can happen any more.
  bool step() {
    if (disk.in_flight() > 0) {
      store->on_disk(now, disk.complete_any(), fx);
    } else {
      const auto batches = store->stats().batches;
      store->flush_batch(now, fx);
      if (store->stats().batches == batches) {
        if (store->next_deadline() == never) return false;
        now = std::max(now, store->next_deadline());
        store->tick(now, fx);
      }
    }
    store->flush_batch(now, fx);
    collect();
    return true;
  }
  StoreDone wait(std::uint64_t number) {
    store->flush_batch(now, fx);
    collect();
    while (!done.contains(number)) SD_ASSERT(step(), "every operation is answered");
    StoreDone d = std::move(done.at(number));
    done.erase(number);
    return d;
  }
  void drain() {
    while (step()) {
    }
  }

  Slice pattern(std::size_t size, std::uint64_t stamp) {
    Slice s = pool.allocate(size);
    Random r(stamp);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (i % 8 == 0) value = r.next();
      s.mutable_data()[i] = static_cast<std::byte>(value >> (i % 8 * 8));
    }
    return s;
  }
  static std::string text(const StoreDone& d) {
    std::string out;
    for (const auto& s : d.data) out += s.text();
    return out;
  }

  StoreDone write(Oid oid, Version version, Version prev, std::uint32_t offset, Slice data) {
    store->write(now, ++ticket, oid, version, prev, offset, std::move(data), fx);
    return wait(ticket);
  }
  StoreDone zero(Oid oid, Version version, Version prev, std::uint32_t offset, std::uint32_t length) {
    store->zero(now, ++ticket, oid, version, prev, offset, length, fx);
    return wait(ticket);
  }
  StoreDone read(Oid oid, std::uint32_t offset, std::uint32_t length) {
    store->read(now, ++ticket, oid, offset, length, fx);
    return wait(ticket);
  }
  StoreDone flush() {
    store->flush(now, ++ticket, fx);
    return wait(ticket);
  }
  StoreDone query(Oid oid) {
    store->query(now, ++ticket, oid, fx);
    return wait(ticket);
  }
  // Everything to the object files, and the journal empty.
  void checkpoint() {
    store->flush_batch(now, fx);
    collect();
    const auto before = store->stats().checkpoints;
    store->checkpoint(now, fx);
    collect();
    while (store->stats().checkpoints == before && step()) {
    }
  }

 private:
  StoreOptions options_;
  std::uint64_t incarnations_ = 0;

 public:
  BufferPool pool;
  MemoryDisk disk;
  Random random;
  StoreEffects fx;
  std::map<std::uint64_t, StoreDone> done;
  std::vector<std::string> notices;
  Time now = seconds(1);
  std::uint64_t ticket = 0;
  std::unique_ptr<Store> store;
};

}  // namespace sd::testing
