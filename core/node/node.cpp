#include "core/node/node.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"
#include "core/node/node_impl.hpp"
#include "core/replication/repair_request.hpp"

namespace sd {

namespace {

constexpr std::size_t recovery_budget = 16;  // objects of one disk peered at once by the sweep
constexpr Time housekeeping = milliseconds(100);

StoreOptions store_options(const NodeOptions& options) {
  StoreOptions s;
  s.journal_bytes = options.journal_bytes;
  s.apply_bytes = options.apply_bytes;
  s.max_dirty_bytes = options.max_dirty_bytes;
  s.meta_cache = static_cast<std::uint32_t>(options.meta_cache);
  s.reserve_bytes = options.reserve_bytes / 4;  // the owner stops at the whole of it; see Replica::set_full
  s.remembered_writes = options.remembered_writes;
  s.max_batch_records = options.limits.batch_records;
  s.max_batches_in_flight = options.limits.batches_in_flight;
  s.max_apply_ops = options.limits.disk_ops;
  s.max_dirty_objects = options.limits.dirty_objects;
  return s;
}

control::Options control_options(const NodeOptions& options) {
  control::Options c;
  c.address = options.address;
  c.seeds = options.seeds;
  c.local_only = options.local_only;
  c.zone = options.zone;
  c.vnodes = options.vnodes;
  c.witness = options.witness;
  c.lease = options.lease;
  c.lease_margin = options.lease_margin;
  c.voter_patience = options.voter_patience;
  c.heartbeat = options.raft_heartbeat;
  c.election_timeout_min = options.election_timeout_min;
  c.election_timeout_max = options.election_timeout_max;
  c.snapshot_threshold = options.limits.snapshot_threshold;
  return c;
}

nbd::SessionOptions nbd_options(const NodeOptions& options) {
  nbd::SessionOptions n;
  n.preferred_block = options.nbd_preferred_block;
  return n;
}

}  // namespace

void Effects::clear() {
  disk.clear();
  dial.clear();
  output.clear();
  close.clear();
  resume.clear();
  log.clear();
}

Node::Impl::Impl(NodeOptions options_, BufferPool& pool_, std::uint64_t seed)
    : options(std::move(options_)),
      pool(pool_),
      rng(seed),
      identity(Random(~seed).next()),
      peers(*this, streams, identity, control, outbox, pool_, options.address, options.send_ahead, options.lease),
      control(control_options(options), identity, purge, peers.links(), outbox),
      nbd(*this, pool_, nbd_options(options)),
      clients(*this, pool_),
      scrubbing(options.scrub_rate, options.scrub_every),
      disk_watch(options.disk_patience) {}

// --- Start

void Node::Impl::on_identity_disk(Time now, DiskDone&& done, Effects& fx) {
  identity.on_disk(std::move(done), pool, rng, fx.disk);
  if (identity.progress() == control::Identity::Progress::failed) fail(identity.reason(), fx);
  if (identity.progress() == control::Identity::Progress::ready) open_machines(now, fx);
}

void Node::Impl::open_machines(Time now, Effects& fx) {
  phase = Phase::opening;
  const cluster::State& state = control.state();
  const std::uint64_t log_seed = rng.next();
  store = std::make_unique<Store>(store_options(options), pool, rng.next());
  if (space_total > 0) store->set_space(space_free, space_total);  // told before there was a store
  replica = std::make_unique<Replica>(identity.id(), pool, *store, state);
  const replication::Limits limits{options.limits.known_objects, options.limits.writes_per_object};
  gateway = std::make_unique<Gateway>(identity.id(), identity.incarnation(), pool, state, placement, limits);
  collector = std::make_unique<Collector>(identity.id(), *store, state, placement);
  control.open(now, pool, log_seed);
  store->open(now, replica_fx.store);
  log(fx, LogLine::Level::info,
      "node " + id_text(identity.id()) + ", incarnation " + std::to_string(starts_of(identity.incarnation())) +
          ", at " + to_string(options.address));
}

void Node::Impl::maybe_run(Time now) {
  if (phase != Phase::opening || !control.ready() || !store->ready()) return;
  phase = Phase::running;
  control.run(now, rng);
  peers.turn_away_old_disks(now);
}

void Node::Impl::fail(std::string reason, Effects& fx) {
  if (fatal.empty()) fatal = reason;
  log(fx, LogLine::Level::error, std::move(reason));
}

void Node::Impl::on_disk(Time now, DiskDone&& done, Effects& fx) {
  if (phase == Phase::stopped) return;  // what was under way leads to nothing more
  const std::uint64_t owner = done.tag & 0xffull << 56;
  if (owner == control::Identity::disk_tag)
    on_identity_disk(now, std::move(done), fx);
  else if (owner == raft::tag_space)
    control.on_disk(now, std::move(done));
  else
    store->on_disk(now, std::move(done), replica_fx.store);
}

// --- Time

Time Node::Impl::next_deadline() const {
  if (phase < Phase::opening || phase == Phase::stopped) return never;
  Time next = std::min({control.next_deadline(), store->next_deadline(), replica->next_deadline(),
                        gateway->next_deadline(), housekeeping_at});
  if (serving) next = std::min(next, control.lease_until());
  return std::min({next, control.exit_at(), leave_deadline});
}

void Node::Impl::tick(Time now, Effects& fx) {
  if (phase < Phase::opening || phase == Phase::stopped) return;
  control.tick_log(now);
  store->tick(now, replica_fx.store);
  replica->tick(now, replica_fx);
  gateway->tick(now, gateway_fx);
  if (phase == Phase::opening) {
    housekeeping_at = now + housekeeping;
    return;
  }
  if (now < housekeeping_at) return;
  housekeeping_at = now + housekeeping;
  tell_missing_leader(now, fx);
  control.tick(now);
  take_control_effects(now, fx);
  nbd.tick(now, fx);
  clients.tick(now, fx);
  peers.drop_stuck(now, fx);
  control.tell_refusals(now);
  work_in_background(now);
}

void Node::Impl::tell_missing_leader(Time now, Effects& fx) {
  if (!control.misses_leader(now) || serving) return;
  log(fx, LogLine::Level::warning, "not serving: " + trouble_at(now));
  control.log_no_leader();
}

void Node::Impl::work_in_background(Time now) {
  const cluster::State& state = control.state();
  if (serving && !state.recovery_off && state.epochs.size() >= 2 &&
      gateway->recover(now, recovery_budget, control.adopts(), gateway_fx))
    control.report_clean();
  purge_deleted(now);
  collector->tick(now, serving && !state.recovery_off, collector_fx);
  scrub(now);
}

void Node::Impl::scrub(Time now) {
  if (!serving) return;
  const cluster::State& state = control.state();
  const auto wanted = [&](Oid oid) {
    const auto* vdi = state.find(oid.vid());
    return vdi && !vdi->deleting && !SD_BUG(scrub_nothing);
  };
  const auto stored = [&] { return store->objects(); };
  const auto oid = scrubbing.next(now, stored, wanted, replica->stats().scanned_bytes);
  if (!oid) return;
  peer::ObjectRequest request = whole_repair(state, placement, identity.id(), *oid);
  request.asker = peer::Asker::scrub;
  replica->on_request(now, identity.id(), std::move(request), true, replica_fx);
}

void Node::Impl::purge_deleted(Time now) {
  if (!control.is_member()) return;
  std::vector<peer::ObjectRequest> requests;
  const auto stored = [&] { return store->objects(); };
  const auto busy = [&](Vid vid) { return replica->works_on(vid); };
  purge.tick(control.state(), stored, busy, requests);
  for (peer::ObjectRequest& request : requests) {
    request.asker = peer::Asker::purge;
    replica->on_request(now, identity.id(), std::move(request), true, replica_fx);
  }
}

// --- Stop

void Node::Impl::stop(Time now, Effects& fx) {
  if (phase >= Phase::leaving) return;
  housekeeping_at = 0;
  if (phase < Phase::running) {
    phase = Phase::stopped;
    return;
  }
  log(fx, LogLine::Level::info, "stopping");
  phase = Phase::leaving;
  control.leave();
  leave_deadline = now + seconds(3);
  nbd.stop(now, fx);
  clients.stop(now, fx);
  advance_stop(now);
}

void Node::Impl::begin_flush(Time now) {
  phase = Phase::flushing;
  control.stop();
  leave_deadline = now + seconds(10);
  peer::ObjectRequest request;
  request.asker = peer::Asker::stop;
  request.op = peer::ObjectRequest::Op::flush;
  replica->on_request(now, identity.id(), std::move(request), true, replica_fx);
}

void Node::Impl::advance_stop(Time now) {
  if (phase == Phase::running && now >= control.exit_at()) begin_flush(now);
  if (phase == Phase::leaving) {
    // The last one keeps its place: an epoch without members would help nobody.
    const bool last = std::ranges::none_of(
        control.state().members, [&](const auto& member) { return member.second.up && member.first != identity.id(); });
    if (last || !control.is_member() || now >= leave_deadline) begin_flush(now);
  }
  if (phase == Phase::flushing && now >= leave_deadline) phase = Phase::stopped;
}

// --- The driver's view

Node::Node(NodeOptions options, BufferPool& pool, std::uint64_t random_seed)
    : impl_(std::make_unique<Impl>(std::move(options), pool, random_seed)) {}
Node::~Node() = default;

void Node::start(Time now, Effects& effects) {
  impl_->now_ = now;
  impl_->identity.start(effects.disk);
}

void Node::tick(Time now, Effects& effects) {
  impl_->begin(now, effects);
  impl_->tick(now, effects);
  impl_->settle(now, effects);
}

Time Node::next_deadline() const { return impl_->next_deadline(); }

void Node::on_disk(Time now, DiskDone&& done, Effects& effects) {
  impl_->begin(now, effects);
  impl_->on_disk(now, std::move(done), effects);
  impl_->settle(now, effects);
}

void Node::set_space(std::uint64_t free_bytes, std::uint64_t total_bytes) {
  impl_->space_free = free_bytes;
  impl_->space_total = total_bytes;
  if (impl_->store) impl_->store->set_space(free_bytes, total_bytes);
}

void Node::set_disk_delay(Time now, Time oldest, Effects& effects) {
  impl_->now_ = now;
  auto line = impl_->disk_watch.look(oldest);
  if (!line) return;
  if (line->level == LogLine::Level::error)
    impl_->fail(std::move(line->text), effects);
  else
    effects.log.push_back(std::move(*line));
}

StreamId Node::on_accept(Time now, Service service, Effects& effects) {
  Impl& n = *impl_;
  n.now_ = now;
  if (n.streams.size() >= n.options.max_streams || n.phase == Impl::Phase::stopped) {
    n.log(effects, LogLine::Level::warning, "too many connections; one was refused");
    return 0;
  }
  if (service == Service::nbd && n.phase > Impl::Phase::running) return 0;  // it stops: clients go elsewhere
  StreamHandler& handler = service == Service::peer  ? static_cast<StreamHandler&>(n.peers)
                           : service == Service::nbd ? static_cast<StreamHandler&>(n.nbd)
                                                     : n.clients;
  const StreamId stream = n.streams.add(handler);
  handler.open(stream, effects);
  return stream;
}

void Node::on_dialed(Time now, StreamId stream, DialResult result, Effects& effects) {
  impl_->begin(now, effects);
  impl_->peers.on_dialed(now, stream, result, effects);
  impl_->settle(now, effects);
}

std::span<std::byte> Node::receive_buffer(StreamId stream) {
  StreamHandler* handler = impl_->streams.find(stream);
  return handler ? handler->receive_buffer(stream) : std::span<std::byte>{};
}

void Node::on_received(Time now, StreamId stream, std::size_t bytes, Effects& effects) {
  impl_->begin(now, effects);
  StreamHandler* handler = impl_->streams.find(stream);
  if (!handler) return;
  handler->on_received(now, stream, bytes, effects);
  impl_->settle(now, effects);
}

OutQueue* Node::output(StreamId stream) {
  StreamHandler* handler = impl_->streams.find(stream);
  return handler ? handler->output(stream) : nullptr;
}

void Node::on_drained(Time now, StreamId stream, Effects& effects) {
  impl_->begin(now, effects);
  StreamHandler* handler = impl_->streams.find(stream);
  if (!handler || handler == &impl_->peers) return;
  handler->on_drained(now, stream, effects);
  impl_->settle(now, effects);
}

void Node::on_closed(Time now, StreamId stream, Effects& effects) {
  impl_->begin(now, effects);
  StreamHandler* handler = impl_->streams.find(stream);
  if (!handler) return;
  handler->on_closed(now, stream, effects);
  impl_->streams.erase(stream);
  impl_->settle(now, effects);
}

void Node::stop(Time now, Effects& effects) {
  impl_->now_ = now;
  impl_->stop(now, effects);
  impl_->settle(now, effects);
}

bool Node::order(Time now, cluster::CommandBody body, Effects& effects) {
  if (!impl_->control.opened()) return false;
  impl_->begin(now, effects);
  const bool taken = impl_->propose(std::move(body)) != 0;
  impl_->settle(now, effects);
  return taken;
}

std::string Node::found_anew(Time now, Effects& effects) {
  if (!impl_->control.opened()) return "not running yet";
  impl_->begin(now, effects);
  std::string why = impl_->force_new_configuration();
  impl_->settle(now, effects);
  return why;
}

bool Node::stopped() const { return impl_->phase == Impl::Phase::stopped; }
const std::string& Node::fatal() const { return impl_->fatal; }

}  // namespace sd
