// The store's public face: checks of arguments, and the way every input takes.
#include <algorithm>
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/store/store.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;

namespace {

// Every entry: remember the time and the outbox, do the work, then whatever it made possible.
template <typename Machine, typename F>
void enter(Machine& machine, Time now, StoreEffects& effects, F&& work) {
  SD_ASSERT(machine.fx == nullptr, "the store is not entered from within");
  machine.now = now;
  machine.fx = &effects;
  work();
  machine.pump();
  machine.fx = nullptr;
}

bool in_object(std::uint64_t offset, std::uint64_t length) {
  return offset <= limits::object_size && length <= limits::object_size - offset;
}

}  // namespace

Store::Store(StoreOptions options, BufferPool& pool, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(options, pool, seed)) {}
Store::~Store() = default;

bool Store::ready() const { return impl_->state == Impl::State::running; }
bool Store::failed() const { return impl_->state == Impl::State::failed; }
void Store::set_space(std::uint64_t free_bytes, std::uint64_t) {
  impl_->free_bytes = free_bytes;
  impl_->space_spent = impl_->dirty_bytes;  // not in files yet
}
std::uint64_t Store::space_left() const { return impl_->space_left(); }

void Store::open(Time now, StoreEffects& effects) {
  SD_ASSERT(impl_->state == Impl::State::fresh, "a store is opened once");
  enter(*impl_, now, effects, [&] { impl_->begin_open(); });
}

void Store::flush_batch(Time now, StoreEffects& effects) {
  if (impl_->pending.records.empty() || impl_->state != Impl::State::running) return;
  enter(*impl_, now, effects, [&] { impl_->submit_batch(); });
}

void Store::write(Time now, std::uint64_t ticket, Oid oid, Version version, Version prev, std::uint32_t offset,
                  Slice data, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    const std::uint64_t length = data.size();
    const std::uint64_t blocks =
        length == 0 ? 0 : (offset + length + block_size - 1) / block_size - offset / block_size;
    if (!in_object(offset, length) ||
        (impl_->state == Impl::State::running && blocks * block_size > impl_->max_batch_payload())) {
      impl_->finish(ticket, Status::invalid);
      return;
    }
    impl_->submit({Impl::OpKind::write, ticket, oid, version, prev, length == 0 ? 0 : offset,
                   static_cast<std::uint32_t>(length), 0, std::move(data)});
  });
}

void Store::zero(Time now, std::uint64_t ticket, Oid oid, Version version, Version prev, std::uint32_t offset,
                 std::uint32_t length, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    if (!in_object(offset, length))
      impl_->finish(ticket, Status::invalid);
    else
      impl_->submit({Impl::OpKind::zero, ticket, oid, version, prev, offset, length, 0, {}});
  });
}

void Store::remove(Time now, std::uint64_t ticket, Oid oid, StoreEffects& effects, std::optional<Version> only) {
  enter(*impl_, now, effects, [&] {
    impl_->submit({Impl::OpKind::remove,
                   ticket,
                   oid,
                   only.value_or(Version{}),
                   {},
                   0,
                   0,
                   only ? std::uint16_t{1} : std::uint16_t{0},
                   {}});
  });
}

void Store::flush(Time now, std::uint64_t ticket, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] { impl_->flush(ticket); });
}

void Store::read(Time now, std::uint64_t ticket, Oid oid, std::uint32_t offset, std::uint32_t length,
                 StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    if (!in_object(offset, length))
      impl_->finish(ticket, Status::invalid);
    else
      impl_->submit({Impl::OpKind::read, ticket, oid, {}, {}, offset, length, 0, {}});
  });
}

void Store::query(Time now, std::uint64_t ticket, Oid oid, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] { impl_->submit({Impl::OpKind::query, ticket, oid, {}, {}, 0, 0, 0, {}}); });
}

void Store::map(Time now, std::uint64_t ticket, Oid oid, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] { impl_->submit({Impl::OpKind::map, ticket, oid, {}, {}, 0, 0, 0, {}}); });
}

void Store::chunks_since(Time now, std::uint64_t ticket, Oid oid, Version since, StoreEffects& effects) {
  enter(*impl_, now, effects,
        [&] { impl_->submit({Impl::OpKind::chunks_since, ticket, oid, since, {}, 0, 0, 0, {}}); });
}

void Store::begin_sync(Time now, std::uint64_t ticket, Oid oid, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] { impl_->submit({Impl::OpKind::begin_sync, ticket, oid, {}, {}, 0, 0, 0, {}}); });
}

void Store::put_chunk(Time now, std::uint64_t ticket, Oid oid, std::uint32_t chunk, Version version,
                      std::uint16_t allocated, Slice data, StoreEffects& effects, LostBlocks lost) {
  enter(*impl_, now, effects, [&] {
    const std::size_t expected = std::size_t{block_size} * static_cast<std::size_t>(std::popcount(allocated));
    if (chunk >= limits::chunks_per_object || data.size() != expected ||
        (impl_->state == Impl::State::running && expected > impl_->max_batch_payload())) {
      impl_->finish(ticket, Status::invalid);
      return;
    }
    SD_ASSERT((lost.mask & allocated) == 0, "a lost block is not among those that are there");
    Slice crcs;
    if (lost.mask != 0) {
      std::string text;
      Writer w(text);
      for (unsigned i = 0; i < lost.crc.size(); ++i)
        if (lost.mask >> i & 1) w.u32(lost.crc[i]);
      crcs = impl_->pool.zeros(block_size);
      std::memcpy(crcs.mutable_data(), text.data(), text.size());
    }
    impl_->submit({Impl::OpKind::put_chunk,
                   ticket,
                   oid,
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

void Store::repair(Time now, std::uint64_t ticket, Oid oid, std::uint32_t block, Slice data, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    if (block >= limits::blocks_per_object || data.size() != block_size)
      impl_->finish(ticket, Status::invalid);
    else
      impl_->submit({Impl::OpKind::repair, ticket, oid, {}, {}, block, 0, 0, std::move(data)});
  });
}

void Store::end_sync(Time now, std::uint64_t ticket, Oid oid, Version version, Version base, StoreEffects& effects) {
  enter(*impl_, now, effects,
        [&] { impl_->submit({Impl::OpKind::end_sync, ticket, oid, version, base, 0, 0, 0, {}}); });
}

void Store::give_up_sync(Oid oid) {
  const auto at = impl_->entries.find(oid);
  if (at == impl_->entries.end() || !at->second.object || !at->second.object->queue_empty()) return;
  Impl::Object& o = *at->second.object;
  impl_->forget_placed(o);
  o.being_copied = false;
  impl_->settle(o);
}

void Store::read_chunk(Time now, std::uint64_t ticket, Oid oid, std::uint32_t chunk, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    if (chunk >= limits::chunks_per_object)
      impl_->finish(ticket, Status::invalid);
    else
      impl_->submit({Impl::OpKind::read_chunk, ticket, oid, {}, {}, chunk, 0, 0, {}});
  });
}

void Store::checkpoint(Time now, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] { impl_->want_checkpoint = true; });
}

void Store::tick(Time now, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    auto& m = *impl_;
    if (m.apply_deadline <= now) {
      m.want_round = true;
      m.apply_deadline = never;
    }
    if (m.checkpoint_deadline <= now) {
      m.want_checkpoint = true;
      m.checkpoint_deadline = never;
    }
    if (m.retry_deadline <= now) m.retry_after_full();
  });
}

Time Store::next_deadline() const {
  const auto& m = *impl_;
  if (m.state != Impl::State::running && m.state != Impl::State::scanning) return never;
  return std::min({m.apply_deadline, m.checkpoint_deadline, m.retry_deadline});
}

void Store::on_disk(Time now, DiskDone&& done, StoreEffects& effects) {
  enter(*impl_, now, effects, [&] {
    auto& m = *impl_;
    SD_ASSERT((done.tag & 0xffull << 56) == store_disk_tag && m.disk_in_flight > 0,
              "the store gets its own results only");
    --m.disk_in_flight;
    const auto tag = static_cast<Impl::Tag>(done.tag >> 48 & 0xff);
    if (m.state == Impl::State::failed || (m.state == Impl::State::restarting && tag != Impl::Tag::batch)) return;
    const auto middle = static_cast<std::uint32_t>(done.tag >> 32 & 0xffff);
    const auto low = static_cast<std::uint32_t>(done.tag);
    switch (tag) {
      case Impl::Tag::batch: m.on_batch(low, done.status); break;
      case Impl::Tag::sync: m.on_sync(done.status); break;
      case Impl::Tag::read: m.on_read(low, middle, std::move(done)); break;
      case Impl::Tag::load: m.on_load(*m.objects[low], std::move(done)); break;
      case Impl::Tag::apply: m.on_apply(*m.objects[low], done); break;
      case Impl::Tag::remove_files: m.on_remove_files(*m.objects[low], done.status); break;
      case Impl::Tag::place: m.on_place(*m.objects[low], done.status); break;
      case Impl::Tag::job: m.on_job(low, done); break;
      case Impl::Tag::list_objects: m.on_listing(std::move(done), false); break;
      case Impl::Tag::list_metas: m.on_listing(std::move(done), true); break;
      case Impl::Tag::read_super: m.on_super(std::move(done)); break;
      case Impl::Tag::open_sync: m.on_open_sync(done.status); break;
      case Impl::Tag::format: m.on_format(done.status); break;
      case Impl::Tag::erase: m.on_erase(done.status); break;
      case Impl::Tag::window: m.on_window(std::move(done)); break;
    }
  });
}

std::vector<Oid> Store::objects() const {
  std::vector<Oid> out;
  out.reserve(impl_->entries.size());
  for (const auto& [oid, entry] : impl_->entries)
    if (!entry.object || !entry.object->loaded || entry.object->exists) out.push_back(oid);
  return out;
}

StoreStats Store::stats() const {
  const auto& m = *impl_;
  StoreStats s = m.counts;
  s.objects = m.entries.size();
  s.dirty_bytes = m.dirty_bytes;
  s.journal_used = m.head - m.tail;
  s.journal_capacity = m.super.capacity;
  s.dirty_objects = static_cast<std::uint32_t>(m.dirty.size() + m.checkpoint_list.size());
  s.queued_ops = m.queued_ops;
  s.disk_in_flight = m.disk_in_flight;
  return s;
}

}  // namespace sd
