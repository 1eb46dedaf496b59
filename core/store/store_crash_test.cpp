// Random operations on a few objects, crashes at random moments, and a model that knows every state each object went
// through.
//
// After a crash each object must be in one of the states it went through, whole (data, allocation, versions, flags),
// and not older than the newest state that a finished flush (power loss) or an acknowledgement (death of the process)
// promised. Every read in between must return the state at the time of the call. Of an object that is being copied any
// of the chunks put so far may be there, each whole.
#include <gtest/gtest.h>

#include <optional>

#include "core/base/sim_bug.hpp"
#include "core/store/store_bench.hpp"

namespace sd {
namespace {

using testing::StoreBench;

constexpr std::uint32_t block = limits::block_size;
constexpr std::uint32_t blocks_per_chunk = limits::chunk_size / block;
// the parts of an object that the test uses
constexpr std::uint32_t chunk_numbers[] = {0, 1, limits::chunks_per_object - 1};
constexpr std::uint32_t tracked = 3 * blocks_per_chunk;

std::uint32_t slot_of(std::uint32_t b) {
  return b < 2 * blocks_per_chunk ? b : b - (limits::blocks_per_object - tracked);
}
std::uint32_t block_of(std::uint32_t slot) {
  return slot < 2 * blocks_per_chunk ? slot : slot + (limits::blocks_per_object - tracked);
}

using Block = std::shared_ptr<const std::string>;

struct ObjectState {
  bool exists = false;
  bool incomplete = false;
  Version version, base;
  std::array<Block, tracked> blocks;  // null: unallocated
  std::array<Version, 3> chunks;

  std::uint32_t allocated() const {
    std::uint32_t n = 0;
    for (const auto& b : blocks) n += b != nullptr;
    return n;
  }
};

struct ObjectModel {
  std::vector<ObjectState> history;  // the last is the newest
  std::size_t acknowledged = 0;      // index into history
  std::size_t durable = 0;
  bool being_copied = false;  // begin_sync was called in this incarnation
};

struct Expected {
  enum class Kind { update, read, flush, query, map, since } kind;
  std::size_t object = 0;
  std::size_t index = 0;  // update: the state it makes
  std::string text;       // read
  ObjectState state;
  Status status = Status::ok;
  std::uint64_t mask = 0;
  std::vector<std::size_t> targets;  // flush: states it makes durable
  bool promised = true;              // update: the state outlives the process once it is acknowledged
};

class CrashRun {
 public:
  CrashRun(std::uint64_t seed, StoreOptions options)
      : random_(seed), bench_(options, seed), objects_(object_count), many_copies_(seed % 2 == 0) {
    for (auto& o : objects_) o.history.resize(1);
    capacity_ = options.journal_bytes - 2 * block;
  }

  // The first thing that was wrong.
  std::optional<std::string> run(int incarnations, int steps) {
    for (int incarnation = 0; incarnation < incarnations && !error_; ++incarnation) {
      const std::uint64_t length = 1 + random_.below(static_cast<std::uint64_t>(steps));
      for (std::uint64_t i = 0; i < length && !error_; ++i) {
        if (random_.below(3) == 0 && waiting_.size() < 24)
          operation();
        else if (random_.below(40) == 0)
          tick();
        else
          step();
      }
      if (error_) break;
      if (random_.below(4) == 0) drain();
      crash(random_.below(3) != 0);
    }
    if (!error_) drain();
    if (!error_) verify_all(true);
    return error_;
  }
  StoreStats totals;

 private:
  static constexpr std::size_t object_count = 5;

  void fail(std::string why) {
    if (!error_) error_ = std::move(why);
  }
  Oid oid(std::size_t i) const { return Oid::data(7, static_cast<std::uint32_t>(i)); }

  std::uint32_t random_offset(std::uint32_t& length) {
    const std::uint32_t most =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(capacity_ / 4 / block * block, 12 * block)) - block;
    length = static_cast<std::uint32_t>(random_.below(most));
    const bool high = random_.below(4) == 0;
    const std::uint32_t base = high ? limits::object_size - limits::chunk_size : 0;
    const std::uint32_t area = high ? limits::chunk_size : 2 * limits::chunk_size;
    std::uint32_t offset = static_cast<std::uint32_t>(random_.below(area));
    const auto style = random_.below(3);
    if (style == 0) {
      offset -= offset % block;
      length -= length % block;
      length += block;
    } else if (style == 1) {
      offset -= offset % 512;
      length -= length % 512;
    }
    length = std::min(length, area - offset);
    return base + offset;
  }

  ObjectState& next_state(std::size_t i) {
    auto& h = objects_[i].history;
    h.push_back(h.back());
    return h.back();
  }

  void put(ObjectState& s, std::uint32_t offset, std::string_view data) {
    while (!data.empty()) {
      const std::uint32_t b = offset / block, at = offset % block;
      const std::size_t n = std::min<std::size_t>(data.size(), block - at);
      auto& old = s.blocks[slot_of(b)];
      std::string text = old ? *old : std::string(block, '\0');
      text.replace(at, n, data.substr(0, n));
      old = std::make_shared<const std::string>(std::move(text));
      offset += static_cast<std::uint32_t>(n);
      data.remove_prefix(n);
    }
  }
  void touch(ObjectState& s, std::uint32_t first, std::uint32_t end, Version v) {
    for (std::uint32_t b = first; b < end; ++b) s.chunks[slot_of(b) / blocks_per_chunk] = v;
  }
  Version new_version(ObjectState& s) {
    const Version prev = s.exists ? s.version : Version{};
    if (random_.below(10) == 0) ++generation_;
    Version v{std::max(generation_, prev.generation), ++sequence_};
    if (v.generation != prev.generation) s.base = prev;
    s.version = v;
    s.exists = true;
    return v;
  }

  void operation() {
    const std::size_t i = random_.below(many_copies_ ? 2 : object_count);
    auto& model = objects_[i];
    const ObjectState current = model.history.back();
    const Version prev = current.exists ? current.version : Version{};
    auto& store = *bench_.store;
    const std::uint64_t ticket = ++bench_.ticket;
    Expected e{Expected::Kind::update, i, model.history.size(), {}, {}, Status::ok, 0, {}};
    std::uint32_t length = 0;
    const std::uint32_t offset = random_offset(length);
    // Half of the runs are more about copies than about writes.
    constexpr std::uint64_t remove_it = 46, flush_it = 55, copy_it = 90;
    constexpr std::uint64_t often[] = {remove_it, flush_it, copy_it, copy_it, copy_it, copy_it};
    const auto what =
        many_copies_ && random_.below(4) != 0 ? often[random_.below(std::size(often))] : random_.below(100);
    if (what < 35) {
      if (current.incomplete) {
        store.write(bench_.now, ticket, oid(i), {generation_, sequence_ + 1000000}, prev, offset,
                    bench_.pattern(length, 1), bench_.fx);
        e.status = Status::behind;
        e.index = 0;
      } else {
        ObjectState& s = next_state(i);
        const Version v = new_version(s);
        Slice data = bench_.pattern(length, v.sequence);
        put(s, offset, data.text());
        if (length > 0) touch(s, offset / block, (offset + length - 1) / block + 1, v);
        store.write(bench_.now, ticket, oid(i), v, prev, offset, std::move(data), bench_.fx);
        if (random_.below(8) == 0) {  // the same again: no effect, the same answer
          waiting_[ticket] = e;
          const std::uint64_t again = ++bench_.ticket;
          store.write(bench_.now, again, oid(i), v, prev, offset, bench_.pattern(length, 99), bench_.fx);
          waiting_[again] = e;
          return after();
        }
      }
    } else if (what < 45) {
      if (current.incomplete) return;
      ObjectState& s = next_state(i);
      const Version v = new_version(s);
      const std::uint32_t end = offset + length;
      for (std::uint32_t b = offset / block; length > 0 && b <= (end - 1) / block; ++b) {
        auto& old = s.blocks[slot_of(b)];
        const std::uint32_t from = std::max(offset, b * block), to = std::min(end, (b + 1) * block);
        if (to - from == block) {
          old = nullptr;
          touch(s, b, b + 1, v);
        } else if (old) {
          put(s, from, std::string(to - from, '\0'));
          touch(s, b, b + 1, v);
        }
      }
      store.zero(bench_.now, ticket, oid(i), v, prev, offset, length, bench_.fx);
    } else if (what < 47) {
      next_state(i) = ObjectState{};
      model.being_copied = false;
      store.remove(bench_.now, ticket, oid(i), bench_.fx);
    } else if (what < 52) {  // an update that does not follow
      store.write(bench_.now, ticket, oid(i), {generation_ + 1, sequence_ + 1000000}, {generation_, sequence_ + 999999},
                  offset, bench_.pattern(length, 2), bench_.fx);
      e.status = Status::behind;
      e.index = 0;
    } else if (what < 62) {
      e.kind = Expected::Kind::flush;
      for (const auto& o : objects_) e.targets.push_back(o.acknowledged);
      store.flush(bench_.now, ticket, bench_.fx);
    } else if (what < 75) {
      e.kind = Expected::Kind::read;
      e.status = !current.exists ? Status::not_found : current.incomplete ? Status::behind : Status::ok;
      if (e.status == Status::ok) e.text = image(current, offset, length);
      store.read(bench_.now, ticket, oid(i), offset, length, bench_.fx);
    } else if (what < 80) {
      e.kind = Expected::Kind::query;
      e.state = current;
      e.index = objects_[i].history.size() - 1;
      store.query(bench_.now, ticket, oid(i), bench_.fx);
    } else if (what < 83) {
      e.kind = Expected::Kind::map;
      e.state = current;
      store.map(bench_.now, ticket, oid(i), bench_.fx);
    } else if (what < 86) {
      e.kind = Expected::Kind::since;
      e.state = current;
      const Version since{generation_, random_.below(sequence_ + 1)};
      for (std::size_t c = 0; c < 3; ++c)
        if (current.chunks[c] > since) e.mask |= 1ull << chunk_numbers[c];
      store.chunks_since(bench_.now, ticket, oid(i), since, bench_.fx);
    } else if (what < 98) {
      if (!current.incomplete || !model.being_copied) {
        if (!many_copies_ && random_.below(4) != 0) return;
        ObjectState& s = next_state(i);
        s.exists = s.incomplete = true;
        model.being_copied = true;
        store.begin_sync(bench_.now, ticket, oid(i), bench_.fx);
      } else if (random_.below(4) == 0) {
        ObjectState& s = next_state(i);
        s.incomplete = model.being_copied = false;
        s.version = {generation_, ++sequence_};
        s.base = {generation_ - 1, sequence_ / 2};
        store.end_sync(bench_.now, ticket, oid(i), s.version, s.base, bench_.fx);
      } else {
        ObjectState& s = next_state(i);
        e.promised = false;
        const std::size_t c = random_.below(3);
        std::uint16_t mask = static_cast<std::uint16_t>(random_.next());
        while (static_cast<std::uint64_t>(std::popcount(mask)) * block > capacity_ / 4)
          mask &= static_cast<std::uint16_t>(mask - 1);
        Slice data = bench_.pattern(static_cast<std::size_t>(std::popcount(mask)) * block, random_.next());
        std::size_t at = 0;
        for (std::uint32_t b = 0; b < blocks_per_chunk; ++b) {
          auto& old = s.blocks[c * blocks_per_chunk + b];
          old = nullptr;
          if (mask >> b & 1) {
            old = std::make_shared<const std::string>(data.text().substr(at, block));
            at += block;
          }
        }
        s.chunks[c] = {generation_, ++sequence_};
        store.put_chunk(bench_.now, ticket, oid(i), chunk_numbers[c], s.chunks[c], mask, std::move(data), bench_.fx);
      }
    } else {
      store.checkpoint(bench_.now, bench_.fx);
      return after(false);
    }
    waiting_[ticket] = std::move(e);
    after();
  }

  static std::string image(const ObjectState& s, std::uint32_t offset, std::uint32_t length) {
    std::string out;
    for (std::uint32_t at = offset; at < offset + length;) {
      const std::uint32_t b = at / block, n = std::min(offset + length - at, block - at % block);
      const auto& have = s.blocks[slot_of(b)];
      out += have ? have->substr(at % block, n) : std::string(n, '\0');
      at += n;
    }
    return out;
  }

  void after(bool batch = true) {
    if (batch && random_.below(3) == 0) bench_.store->flush_batch(bench_.now, bench_.fx);
    bench_.collect();
    answers();
  }
  void step() {
    if (bench_.disk.in_flight() > 0) bench_.store->on_disk(bench_.now, bench_.disk.complete_any(), bench_.fx);
    after();
  }
  void tick() {
    bench_.now += milliseconds(random_.below(2000));
    bench_.store->tick(bench_.now, bench_.fx);
    after();
  }
  void drain() {
    bench_.store->flush_batch(bench_.now, bench_.fx);
    bench_.collect();
    while (!error_ && !waiting_.empty()) {
      answers();
      if (!waiting_.empty() && !bench_.step()) fail("operations wait for ever");
    }
  }

  void answers() {
    for (auto& [ticket, d] : bench_.done) {
      const auto at = waiting_.find(ticket);
      if (at == waiting_.end()) return fail("an answer to nothing, or a second one");
      answer(at->second, d);
      waiting_.erase(at);
    }
    bench_.done.clear();
    if (bench_.store->failed()) fail("the store failed without a cause: " + bench_.notices.back());
  }
  void answer(const Expected& e, const StoreDone& d) {
    if (d.status != e.status)
      return fail("status " + std::string(to_string(d.status)) + " instead of " + std::string(to_string(e.status)));
    auto& model = objects_[e.object];
    switch (e.kind) {
      case Expected::Kind::update:
        if (e.status != Status::ok || !e.promised) return;
        // Acknowledgements of one object come in order, except for duplicates.
        model.acknowledged = std::max(model.acknowledged, e.index);
        return;
      case Expected::Kind::read:
        if (StoreBench::text(d) != e.text) fail("a read returned something else than was written");
        return;
      case Expected::Kind::query:
        if (d.info.exists != e.state.exists || d.info.incomplete != e.state.incomplete ||
            d.info.version != e.state.version || d.info.base != e.state.base ||
            (!e.state.incomplete && d.info.allocated_blocks != e.state.allocated()))
          fail("a query told something else");
        if (!e.state.incomplete) model.acknowledged = std::max(model.acknowledged, e.index);  // what was told stays
        return;
      case Expected::Kind::map: {
        for (std::uint32_t s = 0; s < tracked && !e.state.incomplete; ++s)
          if ((d.bitmap[block_of(s) / 64] >> (block_of(s) % 64) & 1) != (e.state.blocks[s] != nullptr))
            return fail("the allocation map is wrong");
        return;
      }
      case Expected::Kind::since:
        if (d.chunks != e.mask && !e.state.incomplete) fail("chunks_since told something else");
        return;
      case Expected::Kind::flush:
        for (std::size_t i = 0; i < object_count; ++i)
          objects_[i].durable = std::max(objects_[i].durable, e.targets[i]);
        return;
    }
  }

  void crash(bool power) {
    const StoreStats s = bench_.store->stats();
    totals.checkpoints += s.checkpoints;
    totals.batches += s.batches;
    totals.applies += s.applies;
    totals.placed_chunks += s.placed_chunks;
    waiting_.clear();
    bench_.restart(power);
    bench_.done.clear();
    if (!bench_.store->ready())
      return fail("the store did not open: " + (bench_.notices.empty() ? "" : bench_.notices.back()));
    if (!bench_.notices.empty()) return fail("a notice: " + bench_.notices.back());
    for (auto& o : objects_) {
      if (!power) o.durable = std::max(o.durable, o.acknowledged);
      o.being_copied = false;
    }
    verify_all(false);
  }

  // Finds the state each object is in; with `newest`, it must be the last one.
  void verify_all(bool newest) {
    const auto listed = bench_.store->objects();
    for (std::size_t i = 0; i < object_count && !error_; ++i) {
      auto& model = objects_[i];
      const ObjectInfo info = bench_.query(oid(i)).info;
      ObjectState found;
      found.exists = info.exists;
      if (info.exists != (std::find(listed.begin(), listed.end(), oid(i)) != listed.end()))
        return fail("the list of objects is wrong");
      for (std::size_t c = 0; info.exists && c < 3; ++c) {
        bench_.store->read_chunk(bench_.now, ++bench_.ticket, oid(i), chunk_numbers[c], bench_.fx);
        const StoreDone d = bench_.wait(bench_.ticket);
        if (d.status != Status::ok)
          return fail("a chunk cannot be read after a crash: " + std::string(to_string(d.status)));
        const std::string text = StoreBench::text(d);
        std::size_t at = 0;
        for (std::uint32_t b = 0; b < blocks_per_chunk; ++b)
          if (d.chunks >> b & 1)
            found.blocks[c * blocks_per_chunk + b] =
                std::make_shared<const std::string>(text.substr(std::exchange(at, at + block), block));
        found.chunks[c] = d.chunk_version;
      }
      found.incomplete = info.incomplete;
      found.version = info.version;
      found.base = info.base;
      if (found.exists && found.allocated() != info.allocated_blocks)
        return fail("the number of allocated blocks is wrong");
      const auto same_chunk = [&](const ObjectState& s, std::size_t c) {
        for (std::size_t b = c * blocks_per_chunk; b < (c + 1) * blocks_per_chunk; ++b) {
          if ((s.blocks[b] == nullptr) != (found.blocks[b] == nullptr)) return false;
          if (s.blocks[b] && *s.blocks[b] != *found.blocks[b]) return false;
        }
        return s.chunks[c] == found.chunks[c];
      };
      const auto same = [&](const ObjectState& s) {
        if (s.exists != info.exists) return false;
        if (!s.exists) return true;
        if (s.incomplete != info.incomplete || s.version != info.version || s.base != info.base) return false;
        for (std::size_t c = 0; c < 3; ++c) {
          const auto* last = &s;
          while (!same_chunk(*last, c)) {
            if (!s.incomplete || last == model.history.data()) return false;
            --last;
            if (!last->incomplete) return false;
          }
        }
        return true;
      };
      std::size_t match = model.history.size();
      for (std::size_t k = newest ? match - 1 : model.durable;
           k < model.history.size() && match == model.history.size(); ++k)
        if (same(model.history[k])) match = k;
      if (match == model.history.size()) {
        std::string why = "object " + std::to_string(i) + " is in no state it may be in; version " +
                          std::to_string(info.version.sequence);
        for (std::size_t k = 0; k < model.durable; ++k)
          if (same(model.history[k])) why += " (an older one: promised work is lost)";
        return fail(why);
      }
      if (!newest) {
        model.history = {found};
        model.acknowledged = model.durable = 0;
      }
    }
    bench_.done.clear();
  }

  Random random_;
  StoreBench bench_;
  std::vector<ObjectModel> objects_;
  bool many_copies_;
  std::map<std::uint64_t, Expected> waiting_;
  std::uint64_t capacity_ = 0;
  std::uint64_t generation_ = 1;
  std::uint64_t sequence_ = 0;
  std::optional<std::string> error_;
};

StoreOptions options_for(std::uint64_t seed) {
  Random r(seed ^ 0xabcdef);
  StoreOptions o;
  o.journal_bytes = (16 + r.below(64)) * block;
  o.apply_bytes = (1 + r.below(20)) * block;
  o.max_dirty_bytes = (4 + r.below(40)) * block;
  o.max_batch_records = 4 + static_cast<std::uint32_t>(r.below(8));
  o.max_batches_in_flight = 1 + static_cast<std::uint32_t>(r.below(3));
  o.max_apply_ops = 1 + static_cast<std::uint32_t>(r.below(6));
  o.checkpoint_delay = milliseconds(1 + r.below(5000));
  o.max_dirty_objects = 2 + static_cast<std::uint32_t>(r.below(6));
  o.meta_cache = static_cast<std::uint32_t>(r.below(4));
  o.preallocate_journal = r.below(2) == 0;
  return o;
}

#ifdef NDEBUG
constexpr std::uint64_t seeds = 200;
#else
constexpr std::uint64_t seeds = 30;  // slow with sanitizers
#endif

TEST(StoreCrash, EveryObjectIsInAStateItWasPromised) {
  std::uint64_t checkpoints = 0, applies = 0, placed_chunks = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    CrashRun run(seed, options_for(seed));
    const auto error = run.run(5, 500);
    ASSERT_FALSE(error) << "seed " << seed << ": " << *error;
    checkpoints += run.totals.checkpoints;
    applies += run.totals.applies;
    placed_chunks += run.totals.placed_chunks;
  }
  EXPECT_GT(checkpoints, 3 * seeds);
  EXPECT_GT(applies, 3 * seeds);
  EXPECT_GT(placed_chunks, 3 * seeds);
}

#ifdef SD_SIM_BUGS
TEST(StoreCrash, PlantedBugsAreFound) {
  for (const auto bug :
       {SimBug::skip_flush, SimBug::accept_version_gap, SimBug::journal_skip_replay, SimBug::apply_before_sync,
        SimBug::trim_keeps_data, SimBug::tell_unwritten, SimBug::place_unsynced, SimBug::place_under_replay}) {
    bool found = false;
    for (std::uint64_t seed = 1; seed <= 400 && !found; ++seed) {
      planted_bug = bug;
      found = CrashRun(seed, options_for(seed)).run(5, 500).has_value();
      planted_bug = SimBug::count;
    }
    EXPECT_TRUE(found) << sim_bugs[static_cast<std::size_t>(bug)].name;
  }
}
#endif

}  // namespace
}  // namespace sd
