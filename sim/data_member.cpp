#include "sim/data_member.hpp"

#include "core/base/assert.hpp"

namespace sd::sim {

namespace {
constexpr std::uint64_t plenty = 1ull << 40;
}  // namespace

StoredMember::StoredMember(NodeId id, BufferPool& pool, const cluster::State& state, std::uint64_t seed,
                           const Options& options)
    : id_(id), pool_(pool), state_(state), options_(options), random_(seed), disk_(pool, seed ^ 0xd15c) {}

StoredMember::~StoredMember() { StoredMember::stop(false); }

void StoredMember::start(Time now) {
  store_ = std::make_unique<Store>(options_.store, pool_, random_.next());
  store_->set_space(plenty, plenty);
  store_->open(now, fx_.store);
  submit();
  while (!store_->ready()) {
    SD_ASSERT(!store_->failed() && disk_.in_flight() > 0, "a store opens on a disk that keeps its contract");
    store_->on_disk(now, disk_.complete_any(), fx_.store);
    submit();
  }
  replica_ = std::make_unique<Replica>(id_, pool_, *store_, state_);
}

void StoredMember::stop(bool power) {
  replica_.reset();
  store_.reset();
  seen_.reset();
  fx_ = {};
  replies.clear();
  requests.clear();
  if (power)
    disk_.power_loss();
  else
    disk_.kill();
}

std::string StoredMember::check_state() {
  const StoreObservation now = observe(*store_);
  std::string broken = seen_ ? check_change(*seen_, now) : "";
  seen_ = now;
  if (broken.empty()) broken = sd::check_state(*store_);
  return broken.empty() ? replica_->check_state() : broken;
}

void StoredMember::submit() {
  for (DiskOp& op : fx_.store.disk) disk_.submit(std::move(op));
  fx_.store.disk.clear();
}

void StoredMember::on_request(Time now, NodeId from, peer::ObjectRequest&& request, bool member) {
  replica_->on_request(now, from, std::move(request), member, fx_);
}

void StoredMember::on_reply(Time now, NodeId from, peer::ObjectReply&& reply) {
  replica_->on_reply(now, from, std::move(reply), fx_);
}

void StoredMember::on_state(Time now, bool member) { replica_->on_state(now, member, fx_); }

void StoredMember::tick(Time now) {
  store_->tick(now, fx_.store);
  replica_->tick(now, fx_);
}

bool StoredMember::settle(Time now) {
  replica_->on_store(now, fx_);
  store_->flush_batch(now, fx_.store);
  submit();
  std::ranges::move(fx_.replies, std::back_inserter(replies));
  std::ranges::move(fx_.requests, std::back_inserter(requests));
  fx_.replies.clear();
  fx_.requests.clear();
  replica_->set_full(store_->space_left() < options_.store.reserve_bytes);
  return !fx_.store.done.empty();
}

void StoredMember::step(Time now) { store_->on_disk(now, disk_.complete_any(), fx_.store); }

void StoredMember::set_room(bool room) {
  if (store_) store_->set_space(room ? plenty : 0, plenty);
}

void StoredMember::damage(Random& random, const std::vector<std::pair<Oid, std::uint32_t>>& blocks) {
  const auto& [oid, block] = blocks[random.below(blocks.size())];
  auto* bytes = disk_.contents({FileKind::object, 0, oid.value});
  const std::size_t at = std::size_t{block} * limits::block_size + random.below(limits::block_size);
  if (bytes && at < bytes->size()) (*bytes)[at] ^= std::byte{0x10};
}

}  // namespace sd::sim
