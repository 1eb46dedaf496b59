// The store's public face: checks of arguments, the way that every input takes, and what becomes of the parts when
// the disk fails or is full.
#include "core/store/store.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/store/opening.hpp"
#include "core/store/operations.hpp"
#include "core/store/store_invariants.hpp"

namespace sd {

using limits::block_size;
using store_detail::Context;
using store_detail::Op;
using store_detail::Opening;
using store_detail::OpKind;
using store_detail::Tag;

namespace {

// What one incarnation of the store's memory consists of. Replaced whole when the store opens again.
struct Parts {
  explicit Parts(Context& context)
      : cache(context),
        journal(context),
        changes(context),
        write_back(context, cache, journal, changes),
        reads(context),
        placer(context, journal, write_back.directories()),
        operations(context, cache, journal, changes, write_back, reads, placer) {}

  store_detail::ObjectCache cache;
  store_detail::JournalWriter journal;
  store_detail::Changes changes;
  store_detail::WriteBack write_back;
  store_detail::Reads reads;
  store_detail::Placer placer;
  store_detail::Operations operations;
};

bool in_object(std::uint64_t offset, std::uint64_t length) {
  return offset <= limits::object_size && length <= limits::object_size - offset;
}

}  // namespace

struct Store::Impl {
  // restarting: the journal's disk is full. What is in memory contains updates that will never be in the journal: it is
  // forgotten and read again, once the disk is quiet. Batches before the one that failed may still complete and count.
  enum class State : std::uint8_t { fresh, opening, running, restarting, failed };

  Impl(const StoreOptions& options, BufferPool& pool, std::uint64_t seed)
      : context(options, pool, seed), parts(std::make_unique<Parts>(context)) {}

  // Every entry: remember the time and the outbox, do the work, then whatever it made possible.
  template <typename F>
  void enter(Time now, StoreEffects& effects, F&& work) {
    SD_ASSERT(context.fx == nullptr, "the store is not entered from within");
    context.now = now;
    context.fx = &effects;
    work();
    pump();
    context.fx = nullptr;
  }

  bool running() const { return state == State::running; }
  Status not_now() const { return state == State::failed ? Status::io_error : Status::unavailable; }

  void submit(Op&& op) {
    if (running())
      parts->operations.submit(std::move(op));
    else
      context.finish(op.ticket, not_now());
  }
  // A range that the journal can take in one batch, and that lies in an object.
  bool may_be_written(std::uint64_t blocks) const {
    return !running() || blocks * block_size <= parts->journal.max_payload();
  }

  void begin_open(std::uint64_t limit);
  void pump();
  void run_rounds();
  void note_failure();
  void drop_requests(Status status);
  void on_batch(std::uint64_t sequence, Status status);
  void on_read(std::uint32_t id, std::uint32_t piece, DiskDone&& done);
  void on_disk(Tag tag, std::uint32_t low, std::uint32_t middle, DiskDone&& done);
  void go_on_with(store_detail::Object& o);

  Context context;
  State state = State::fresh;
  std::uint64_t opened = 0;
  std::unique_ptr<Parts> parts;
  std::optional<Opening> opening;
};

void Store::Impl::begin_open(std::uint64_t limit) {
  const journal::Super earlier = parts->journal.super();
  opening.reset();
  parts = std::make_unique<Parts>(context);
  context.counts.loaded_objects = 0;
  state = State::opening;
  ++opened;
  opening.emplace(context, parts->cache, parts->journal, parts->changes, parts->write_back, earlier, limit);
  opening->start();
}

// Does whatever the last input made possible.
void Store::Impl::pump() {
  note_failure();
  if (state == State::restarting && context.disk_in_flight == 0) {
    parts->journal.drop_flight(Status::no_space, Status::unavailable);
    begin_open(parts->journal.completed() + 1);
  }
  if (opening) {
    const bool scanning = opening->scanning();
    opening->advance();
    if (opening->done()) {
      opening.reset();
      state = State::running;
    }
    if (scanning) return;
  }
  run_rounds();
}

void Store::Impl::run_rounds() {
  auto& [cache, journal, changes, write_back, reads, placer, operations] = *parts;
  while (running()) {
    write_back.advance();
    operations.run_blocked();
    if (!write_back.idle() || !write_back.round_wanted()) return;
    journal.submit();
    if (!journal.nothing_pending()) return;  // the next batch that completes makes room for it
    write_back.begin(false);
    if (write_back.idle()) return;
  }
}

// --- failure, and a disk that is full

// Answers everything that waits: updates with `status`, the rest with unavailable unless the store failed.
void Store::Impl::drop_requests(Status status) {
  const Status other = status == Status::io_error ? status : Status::unavailable;
  parts->journal.drop_waiting(status, other);
  parts->reads.drop(other);
  parts->operations.drop(status, other);
}

void Store::Impl::note_failure() {
  if (!context.failed() || state == State::failed) return;
  context.notice("the object store has failed: " + context.failure);
  state = State::failed;
  opening.reset();
  parts->journal.drop_flight(Status::io_error, Status::io_error);
  drop_requests(Status::io_error);
}

void Store::Impl::on_batch(std::uint64_t sequence, Status status) {
  const Status written = parts->journal.on_batch(sequence, status);
  if (written == Status::no_space) {
    if (!running()) return;
    context.notice("the disk of the journal is full; writes fail until there is space");
    state = State::restarting;
    drop_requests(Status::no_space);
  } else if (written != Status::ok) {
    context.fail("cannot write the journal");
  } else if (running()) {
    parts->journal.submit();
  }
}

// --- results of the disk

void Store::Impl::go_on_with(store_detail::Object& o) {
  parts->operations.run_queue(o);
  parts->cache.settle(o);
}

void Store::Impl::on_read(std::uint32_t id, std::uint32_t piece, DiskDone&& done) {
  const auto ended = parts->reads.on_read(id, piece, std::move(done));
  if (!ended.object) return;
  store_detail::Object& o = *ended.object;
  if (ended.edges) parts->operations.run_queue(o);
  parts->write_back.on_read_end(o);
  if (o.entry) parts->cache.settle(o);
}

void Store::Impl::on_disk(Tag tag, std::uint32_t low, std::uint32_t middle, DiskDone&& done) {
  const auto object = [&]() -> store_detail::Object& { return parts->cache.by_id(low); };
  switch (tag) {
    case Tag::batch: on_batch(low, done.status); return;
    case Tag::sync: parts->journal.on_sync(done.status); return;
    case Tag::read: on_read(low, middle, std::move(done)); return;
    case Tag::load:
      if (parts->cache.on_load(object(), std::move(done), !running())) go_on_with(object());
      return;
    case Tag::apply: parts->write_back.on_apply(object(), done); return;
    case Tag::remove_files: parts->write_back.on_remove_files(object(), done.status); return;
    case Tag::place:
      if (parts->placer.on_place(object(), done.status)) go_on_with(object());
      return;
    case Tag::job: parts->write_back.on_job(low, done); return;
    default: break;
  }
  SD_ASSERT(opening, "only an opening asks for these");
  opening->on_disk(tag, std::move(done));
}

// --- the public face

Store::Store(StoreOptions options, BufferPool& pool, std::uint64_t seed) {
  SD_ASSERT(options.journal_bytes >= min_journal_bytes && options.journal_bytes % block_size == 0,
            "the journal has a sane size");
  SD_ASSERT(options.max_batches_in_flight > 0 && options.max_apply_ops > 0 && options.max_dirty_objects > 1 &&
                options.max_batch_records >= 4,
            "the store's bounds leave room for work");
  SD_ASSERT(options.remembered_writes > 0 && options.remembered_writes <= max_recent,
            "a metadata slot has room for what is remembered");
  impl_ = std::make_unique<Impl>(options, pool, seed);
}
Store::~Store() = default;

bool Store::ready() const { return impl_->running(); }
bool Store::failed() const { return impl_->state == Impl::State::failed; }
void Store::set_space(std::uint64_t free_bytes, std::uint64_t) {
  impl_->context.space = {free_bytes, impl_->parts->changes.bytes()};  // the latter are not in files yet
}
std::uint64_t Store::space_left() const { return impl_->context.space.left(); }

void Store::open(Time now, StoreEffects& effects) {
  SD_ASSERT(impl_->state == Impl::State::fresh, "a store is opened once");
  impl_->enter(now, effects, [&] { impl_->begin_open(UINT64_MAX); });
}

void Store::flush_batch(Time now, StoreEffects& effects) {
  if (!impl_->running() || impl_->parts->journal.nothing_pending()) return;
  impl_->enter(now, effects, [&] { impl_->parts->journal.submit(); });
}

void Store::write(Time now, std::uint64_t ticket, ObjectKey key, Version version, Version prev, std::uint32_t offset,
                  Slice data, StoreEffects& effects, Origin origin) {
  impl_->enter(now, effects, [&] {
    const std::uint64_t length = data.size();
    const std::uint64_t blocks =
        length == 0 ? 0 : (offset + length + block_size - 1) / block_size - offset / block_size;
    if (!in_object(offset, length) || !impl_->may_be_written(blocks)) {
      impl_->context.finish(ticket, Status::invalid);
      return;
    }
    impl_->submit({OpKind::write,
                   ticket,
                   key,
                   version,
                   prev,
                   length == 0 ? 0 : offset,
                   static_cast<std::uint32_t>(length),
                   0,
                   std::move(data),
                   0,
                   {},
                   origin});
  });
}

void Store::zero(Time now, std::uint64_t ticket, ObjectKey key, Version version, Version prev, std::uint32_t offset,
                 std::uint32_t length, StoreEffects& effects, Origin origin) {
  impl_->enter(now, effects, [&] {
    if (!in_object(offset, length))
      impl_->context.finish(ticket, Status::invalid);
    else
      impl_->submit({OpKind::zero, ticket, key, version, prev, offset, length, 0, {}, 0, {}, origin});
  });
}

void Store::remove(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects, std::optional<Version> only) {
  impl_->enter(now, effects, [&] {
    impl_->submit({OpKind::remove,
                   ticket,
                   key,
                   only.value_or(Version{}),
                   {},
                   0,
                   0,
                   only ? std::uint16_t{1} : std::uint16_t{0},
                   {}});
  });
}

void Store::flush(Time now, std::uint64_t ticket, StoreEffects& effects) {
  impl_->enter(now, effects, [&] {
    if (impl_->running())
      impl_->parts->journal.flush(ticket);
    else
      impl_->context.finish(ticket, impl_->not_now());
  });
}

void Store::read(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t offset, std::uint32_t length,
                 StoreEffects& effects) {
  impl_->enter(now, effects, [&] {
    if (!in_object(offset, length))
      impl_->context.finish(ticket, Status::invalid);
    else
      impl_->submit({OpKind::read, ticket, key, {}, {}, offset, length, 0, {}});
  });
}

void Store::query(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects) {
  impl_->enter(now, effects, [&] { impl_->submit({OpKind::query, ticket, key, {}, {}, 0, 0, 0, {}}); });
}

void Store::map(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects) {
  impl_->enter(now, effects, [&] { impl_->submit({OpKind::map, ticket, key, {}, {}, 0, 0, 0, {}}); });
}

void Store::chunks_since(Time now, std::uint64_t ticket, ObjectKey key, Version since, StoreEffects& effects) {
  impl_->enter(now, effects, [&] { impl_->submit({OpKind::chunks_since, ticket, key, since, {}, 0, 0, 0, {}}); });
}

void Store::begin_sync(Time now, std::uint64_t ticket, ObjectKey key, StoreEffects& effects) {
  impl_->enter(now, effects, [&] { impl_->submit({OpKind::begin_sync, ticket, key, {}, {}, 0, 0, 0, {}}); });
}

void Store::put_chunk(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t chunk, Version version,
                      std::uint16_t allocated, Slice data, StoreEffects& effects, LostBlocks lost) {
  impl_->enter(now, effects, [&] {
    const std::size_t expected = std::size_t{block_size} * static_cast<std::size_t>(std::popcount(allocated));
    if (chunk >= limits::chunks_per_object || data.size() != expected ||
        !impl_->may_be_written(expected / block_size)) {
      impl_->context.finish(ticket, Status::invalid);
      return;
    }
    SD_ASSERT((lost.mask & allocated) == 0, "a lost block is not among those that are there");
    Slice crcs;
    if (lost.mask != 0) {
      std::string text;
      Writer w(text);
      for (unsigned i = 0; i < lost.crc.size(); ++i)
        if (lost.mask >> i & 1) w.u32(lost.crc[i]);
      crcs = impl_->context.pool.zeros(block_size);
      std::memcpy(crcs.mutable_data(), text.data(), text.size());
    }
    impl_->submit({OpKind::put_chunk,
                   ticket,
                   key,
                   version,
                   {},
                   chunk,
                   0,
                   allocated,
                   std::move(data),
                   lost.mask,
                   std::move(crcs)});
  });
}

void Store::repair(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t block, Slice data,
                   StoreEffects& effects) {
  impl_->enter(now, effects, [&] {
    if (block >= limits::blocks_per_object || data.size() != block_size)
      impl_->context.finish(ticket, Status::invalid);
    else
      impl_->submit({OpKind::repair, ticket, key, {}, {}, block, 0, 0, std::move(data)});
  });
}

void Store::end_sync(Time now, std::uint64_t ticket, ObjectKey key, Version version, Version base,
                     StoreEffects& effects, RecentWrites recent) {
  impl_->enter(now, effects, [&] {
    impl_->submit({OpKind::end_sync, ticket, key, version, base, 0, 0, 0, {}, 0, {}, {}, std::move(recent)});
  });
}

void Store::give_up_sync(ObjectKey key) {
  store_detail::Entry* entry = impl_->parts->cache.find(key);
  if (!entry || !entry->object || !entry->object->queue.empty()) return;
  store_detail::Object& o = *entry->object;
  o.placing.forget();
  o.being_copied = false;
  impl_->parts->cache.settle(o);
}

void Store::read_chunk(Time now, std::uint64_t ticket, ObjectKey key, std::uint32_t chunk, StoreEffects& effects) {
  impl_->enter(now, effects, [&] {
    if (chunk >= limits::chunks_per_object)
      impl_->context.finish(ticket, Status::invalid);
    else
      impl_->submit({OpKind::read_chunk, ticket, key, {}, {}, chunk, 0, 0, {}});
  });
}

void Store::checkpoint(Time now, StoreEffects& effects) {
  impl_->enter(now, effects, [&] { impl_->parts->write_back.want_checkpoint(); });
}

void Store::tick(Time now, StoreEffects& effects) {
  impl_->enter(now, effects, [&] {
    if (impl_->running() || impl_->opening) impl_->parts->write_back.tick();
  });
}

Time Store::next_deadline() const {
  const bool replaying = impl_->opening && impl_->opening->scanning();
  return impl_->running() || replaying ? impl_->parts->write_back.next_deadline() : never;
}

void Store::on_disk(Time now, DiskDone&& done, StoreEffects& effects) {
  impl_->enter(now, effects, [&] {
    Context& context = impl_->context;
    SD_ASSERT((done.tag & 0xffull << 56) == store_disk_tag && context.disk_in_flight > 0,
              "the store gets its own results only");
    --context.disk_in_flight;
    const auto tag = static_cast<Tag>(done.tag >> 48 & 0xff);
    if (failed() || (impl_->state == Impl::State::restarting && tag != Tag::batch)) return;
    const auto middle = static_cast<std::uint32_t>(done.tag >> 32 & 0xffff);
    const auto low = static_cast<std::uint32_t>(done.tag);
    impl_->on_disk(tag, low, middle, std::move(done));
  });
}

std::vector<ObjectKey> Store::keys() const {
  std::vector<ObjectKey> out;
  out.reserve(impl_->parts->cache.entries().size());
  for (const auto& [key, entry] : impl_->parts->cache.entries())
    if (!entry.object || !entry.object->loaded || entry.object->exists) out.push_back(key);
  return out;
}

std::vector<Oid> Store::objects() const {
  std::vector<Oid> out;
  for (const ObjectKey& key : keys())
    if (out.empty() || out.back() != key.oid) out.push_back(key.oid);
  return out;
}

StoreStats Store::stats() const {
  const Parts& parts = *impl_->parts;
  StoreStats s = impl_->context.counts;
  s.objects = parts.cache.entries().size();
  s.dirty_bytes = parts.changes.bytes();
  s.journal_used = parts.journal.used();
  s.journal_capacity = parts.journal.super().capacity;
  s.dirty_objects = static_cast<std::uint32_t>(parts.changes.dirty_objects() + parts.write_back.checkpointed_objects());
  s.queued_ops = parts.operations.queued();
  s.disk_in_flight = impl_->context.disk_in_flight;
  return s;
}

// --- invariants

StoreObservation observe(const Store& store) {
  const Store::Impl& impl = *store.impl_;
  const auto& journal = impl.parts->journal;
  return {store.failed(),         impl.opened, journal.completed(), journal.durable(), journal.next_sequence(),
          journal.tail_sequence()};
}

std::string check_state(const Store& store) {
  const Store::Impl& impl = *store.impl_;
  if (impl.state == Store::Impl::State::fresh || store.failed()) return {};
  const Parts& parts = *impl.parts;
  // Replay begins a round when it has gone beyond the bound, by a batch.
  const std::uint64_t most = std::max(impl.context.options.max_dirty_bytes, impl.context.options.max_batch_bytes) +
                             parts.journal.super().capacity;
  if (impl.state == Store::Impl::State::opening) return parts.changes.check_state(most);
  std::string broken = parts.changes.check_state(most);
  if (broken.empty()) broken = parts.journal.check_state();
  if (broken.empty()) broken = parts.write_back.check_state();
  if (broken.empty()) broken = parts.cache.check_state();
  if (broken.empty()) broken = parts.operations.check_state();
  return broken;
}

}  // namespace sd
