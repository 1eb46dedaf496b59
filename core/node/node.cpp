#include "core/node/node.hpp"

#include <algorithm>
#include <array>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/node/node_impl.hpp"

namespace sd {

namespace {

// The identity file: two slots of one block, used in turn, so that a torn write leaves the other. Little-endian: magic,
// version, node id, incarnation, number of earlier ones, these (newest first), CRC-32C of what stands before it.
constexpr std::uint32_t identity_magic = 0x49445348;
constexpr std::uint32_t identity_version = 2;
enum IdentityStep : std::uint64_t { identity_read, identity_written, identity_synced, identity_linked };

struct Identity {
  NodeId id = 0;
  Incarnation incarnation = 0;
  std::vector<Incarnation> earlier;
};

std::optional<Identity> decode_identity(std::span<const std::byte> slot) {
  Reader r(slot);
  Identity identity;
  if (r.u32() != identity_magic || r.u32() != identity_version) return {};
  identity.id = r.u64();
  identity.incarnation = r.u64();
  for (auto n = r.count(max_kept_incarnations); n > 0 && !r.failed(); --n) identity.earlier.push_back(r.u64());
  const std::size_t size = slot.size() - r.remaining();
  if (r.u32() != crc32c(slot.first(size)) || r.failed() || identity.id == 0) return {};
  return identity;
}

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
      incarnation_drawn(Random(~seed).next()),
      service(pool_),
      links(pool_, transport, options.send_ahead, options.lease),
      scrubbing(options.scrub_rate, options.scrub_every) {}

// --- Start

void Node::Impl::start(Time, Effects& fx) {
  DiskOp op;
  op.kind = DiskOp::Kind::read;
  op.file = {FileKind::identity, 0, 0};
  op.tag = identity_tag | identity_read;
  op.length = 2 * limits::block_size;
  fx.disk.push_back(std::move(op));
}

void Node::Impl::write_identity(Effects& fx) {
  Slice block = pool.zeros(limits::block_size);
  std::string bytes;
  Writer w(bytes);
  w.u32(identity_magic);
  w.u32(identity_version);
  w.u64(id);
  w.u64(own_incarnation);
  w.u32(static_cast<std::uint32_t>(earlier_incarnations.size()));
  for (const Incarnation incarnation : earlier_incarnations) w.u64(incarnation);
  w.u32(crc32c(bytes.data(), bytes.size()));
  std::memcpy(block.mutable_data(), bytes.data(), bytes.size());
  DiskOp op;
  op.kind = DiskOp::Kind::write;
  op.file = {FileKind::identity, 0, 0};
  op.tag = identity_tag | identity_written;
  // The first incarnation writes both slots, so that later ones find their room taken even on a disk that is full by
  // then.
  if (earlier_incarnations.empty() && !SD_BUG(start_needs_space))
    op.slices.push_back(block);
  else
    op.offset = starts_of(own_incarnation) % 2 * limits::block_size;
  op.slices.push_back(std::move(block));
  op.length = op.slices.size() * limits::block_size;
  fx.disk.push_back(std::move(op));
  phase = Phase::writing_identity;
}

void Node::Impl::on_identity_disk(Time now, DiskDone&& done, Effects& fx) {
  const auto step = done.tag & ~identity_tag;
  if (step == identity_read) {
    std::optional<Identity> best;
    for (std::size_t at = 0; at + limits::block_size <= done.data.size(); at += limits::block_size) {
      const auto slot = decode_identity(done.data.bytes().subspan(at, limits::block_size));
      if (slot && (!best || starts_of(slot->incarnation) > starts_of(best->incarnation))) best = slot;
    }
    if (done.data.size() > 0 && done.data.size() < limits::block_size) best = decode_identity(done.data.bytes());
    if (done.status == Status::ok && !best && !done.data.empty()) {
      // Even a write that was torn leaves the other slot; and an identity made up anew would make this node's data a
      // stranger's.
      const bool blank = std::ranges::all_of(done.data.bytes(), [](std::byte b) { return b == std::byte{0}; });
      if (!blank)
        return fail(
            "the identity file is damaged; restore it from a backup, or empty the data directory and let the node join "
            "as a new one",
            fx);
    }
    if (done.status != Status::ok && done.status != Status::not_found)
      return fail("the identity file cannot be read: " + std::string(to_string(done.status)), fx);
    id = best ? best->id : 0;
    while (id == 0) id = rng.next();
    if (best) {
      earlier_incarnations = std::move(best->earlier);
      if (earlier_incarnations.size() == max_kept_incarnations) earlier_incarnations.pop_back();
      earlier_incarnations.insert(earlier_incarnations.begin(), best->incarnation);
    }
    own_incarnation =
        incarnation_of(best ? starts_of(best->incarnation) + 1 : 1, SD_BUG(repeat_incarnation) ? 0 : incarnation_drawn);
    write_identity(fx);
    return;
  }
  if (done.status != Status::ok)
    return fail("the identity file cannot be written: " + std::string(to_string(done.status)), fx);
  DiskOp op;
  op.file = {FileKind::identity, 0, 0};
  if (step == identity_written) {
    op.kind = DiskOp::Kind::sync;
    op.tag = identity_tag | identity_synced;
    fx.disk.push_back(std::move(op));
  } else if (step == identity_synced) {
    op.kind = DiskOp::Kind::sync_directory;
    op.tag = identity_tag | identity_linked;
    fx.disk.push_back(std::move(op));
  } else {
    open_machines(now, fx);
  }
}

void Node::Impl::open_machines(Time now, Effects& fx) {
  phase = Phase::opening;
  raft::Options r;
  r.id = id;
  r.election_timeout_min = options.election_timeout_min;
  r.election_timeout_max = options.election_timeout_max;
  r.heartbeat = options.raft_heartbeat;
  r.snapshot_threshold = options.limits.snapshot_threshold;
  r.readable_command = [](std::string_view bytes) { return cluster::decode_command(bytes).has_value(); };
  r.readable_snapshot = [](std::string_view bytes) { return cluster::State::decode(bytes).has_value(); };
  raft = std::make_unique<raft::Raft>(r, pool, rng.next());
  store = std::make_unique<Store>(store_options(options), pool, rng.next());
  if (space_total > 0) store->set_space(space_free, space_total);  // told before there was a store
  replica = std::make_unique<Replica>(id, pool, *store, cluster_state);
  gateway =
      std::make_unique<Gateway>(id, own_incarnation, pool, cluster_state, placement,
                                replication::Limits{options.limits.known_objects, options.limits.writes_per_object});
  collector = std::make_unique<Collector>(id, *store, cluster_state, placement);
  raft->open(now, raft_fx);
  store->open(now, replica_fx.store);
  log(fx, LogLine::Level::info,
      "node " + id_text(id) + ", incarnation " + std::to_string(starts_of(own_incarnation)) + ", at " +
          to_string(options.address));
}

void Node::Impl::maybe_run(Time now) {
  if (phase != Phase::opening || !raft->ready() || !store->ready()) return;
  phase = Phase::running;
  missed_at = now + 2 * options.lease;
  read_log();
  turn_away_old_disks(now);
  if (raft->empty() && (options.local_only || options.seeds.empty())) {
    std::uint64_t group = 0;
    while (group == 0) group = rng.next();
    raft->adopt_group(group);
    raft->bootstrap(now, raft_fx);
  }
}

void Node::Impl::fail(std::string reason, Effects& fx) {
  if (fatal.empty()) fatal = reason;
  log(fx, LogLine::Level::error, std::move(reason));
}

void Node::Impl::on_disk(Time now, DiskDone&& done, Effects& fx) {
  if (phase == Phase::stopped) return;  // what was under way leads to nothing more
  const std::uint64_t owner = done.tag >> 56;
  if (owner == identity_tag >> 56)
    on_identity_disk(now, std::move(done), fx);
  else if (owner == 0x01)
    raft->on_disk(now, std::move(done), raft_fx);
  else
    store->on_disk(now, std::move(done), replica_fx.store);
}

// --- Time

Time Node::Impl::next_deadline() const {
  if (phase < Phase::opening || phase == Phase::stopped) return never;
  Time next = std::min({raft->next_deadline(), store->next_deadline(), replica->next_deadline(),
                        gateway->next_deadline(), housekeeping_at});
  if (serving) next = std::min(next, lease_until);
  return std::min({next, exit_at, leave_deadline});
}

void Node::Impl::tick(Time now, Effects& fx) {
  if (phase < Phase::opening || phase == Phase::stopped) return;
  raft->tick(now, raft_fx);
  store->tick(now, replica_fx.store);
  replica->tick(now, replica_fx);
  gateway->tick(now, gateway_fx);
  if (phase == Phase::opening) {
    housekeeping_at = now + milliseconds(100);
    return;
  }
  if (now < housekeeping_at) return;
  housekeeping_at = now + milliseconds(100);
  if (now >= missed_at) {
    missed_at = never;
    if (raft->leader() == 0 && !serving) {
      log(fx, LogLine::Level::warning, "not serving: " + status_at(now).trouble);
      if (!raft->config().voters.empty()) log_no_leader(fx);
    }
  }
  ask_for_lease(now);
  note_election(now, fx);
  ask_to_join(now);
  lead(now, fx);
  send_proposals(now);
  resolve_exports(now, fx);
  links_for(fx).drop_stuck(now);
  tell_refusals(now, fx);
  recover(now);
  purge_deleted(now);
  recover_in_background(now);
}

// Carries effects from machine to machine until nothing is left to carry.
void Node::Impl::settle(Time now, Effects& fx) {
  if (phase < Phase::opening || !store) return;
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;
  std::vector<std::pair<NodeId, peer::ObjectReply>> replies;
  std::vector<IoDone> done;
  std::vector<cluster::CommandBody> commands;
  std::vector<std::pair<std::uint64_t, cluster::Result>> outcomes;
  for (bool busy = true; busy;) {
    busy = false;
    settle_raft(now, fx);
    maybe_run(now);
    refresh(now, fx);
    replica->on_store(now, replica_fx);
    if (!gateway_fx.volume.requests.empty()) {
      busy = true;
      requests.swap(gateway_fx.volume.requests);
      send_object_requests(now, requests);
    }
    if (!collector_fx.empty()) {
      busy = true;
      requests.swap(collector_fx);
      send_object_requests(now, requests);
    }
    if (!replica_fx.requests.empty()) {
      for (auto& [to, request] : replica_fx.requests) {
        if (to == id)
          gateway->on_lost_copy(now, request, gateway_fx);
        else
          outbox.emplace_back(to, std::move(request));
      }
      replica_fx.requests.clear();
    }
    if (!replica_fx.replies.empty()) {
      busy = true;
      replies.swap(replica_fx.replies);
      for (auto& [to, reply] : replies) {
        if (to != id)
          outbox.emplace_back(to, std::move(reply));
        else if (reply.id == stop_flush_id)
          phase = Phase::stopped;
        else if (reply.id == purge_id)
          purge.on_removed(reply.vid);
        else if (reply.id == scrub_id)
          scrubbing.on_read(reply.status, replica->stats().scanned_bytes);
        else if (Collector::owns(reply.id))
          collector->on_reply(now, id, std::move(reply), collector_fx);
        else
          gateway->on_object_reply(now, id, std::move(reply), gateway_fx);
      }
      replies.clear();
    }
    if (!gateway_fx.messages.empty()) {
      for (auto& [to, message] : gateway_fx.messages) outbox.emplace_back(to, std::move(message));
      gateway_fx.messages.clear();
    }
    if (!gateway_fx.done.empty()) {
      busy = true;
      done.swap(gateway_fx.done);
      for (IoDone& d : done) answer(now, std::move(d), fx);
      done.clear();
    }
    if (!gateway_fx.proposals.empty()) {
      busy = true;
      commands.swap(gateway_fx.proposals);
      for (auto& body : commands) propose_untracked(now, std::move(body));
      commands.clear();
    }
    if (!proposals_done.empty()) {
      busy = true;
      outcomes.swap(proposals_done);
      for (const auto& [ticket, result] : outcomes) service.on_proposed(ticket, result, *this, service_fx);
      outcomes.clear();
    }
    take_service_effects(fx);
    if (!busy) {
      store->flush_batch(now, replica_fx.store);
      busy = !replica_fx.store.done.empty();
    }
  }
  for (auto& op : replica_fx.store.disk) fx.disk.push_back(std::move(op));
  replica_fx.store.disk.clear();
  for (auto& op : raft_fx.disk) fx.disk.push_back(std::move(op));
  raft_fx.disk.clear();
  for (auto& text : replica_fx.store.notices) log(fx, LogLine::Level::warning, std::move(text));
  replica_fx.store.notices.clear();
  for (auto& text : gateway_fx.volume.notices) log(fx, LogLine::Level::warning, std::move(text));
  gateway_fx.volume.notices.clear();
  replica->set_full(store->space_left() < options.reserve_bytes);
  flush_outbox(now, fx);
  advance_stop(now);
  if (raft->corrupt()) fail("the cluster log cannot be used: " + raft->reason(), fx);
  if (store->failed())
    fail("the disk of the journal or of the objects failed; this node stops so that the others can take over", fx);
}

// --- Stop

void Node::Impl::stop(Time now, Effects& fx) {
  if (phase >= Phase::leaving) return;
  housekeeping_at = join_asked = 0;
  if (phase < Phase::running) {
    phase = Phase::stopped;
    return;
  }
  log(fx, LogLine::Level::info, "stopping");
  phase = Phase::leaving;
  leave_deadline = now + seconds(3);
  close_disks(now, fx);
  advance_stop(now);
}

void Node::Impl::begin_flush(Time now) {
  phase = Phase::flushing;
  leave_deadline = now + seconds(10);
  peer::ObjectRequest request;
  request.id = stop_flush_id;
  request.op = peer::ObjectRequest::Op::flush;
  replica->on_request(now, id, std::move(request), true, replica_fx);
}

void Node::Impl::advance_stop(Time now) {
  if (phase == Phase::running && now >= exit_at) begin_flush(now);
  if (phase == Phase::leaving) {
    std::size_t others = 0;
    for (const auto& [node, member] : cluster_state.members)
      if (member.up && node != id) ++others;
    // The last one keeps its place: an epoch without members would help nobody.
    if (others == 0 || !cluster_state.is_up(id, own_incarnation) || now >= leave_deadline) begin_flush(now);
  }
  if (phase == Phase::flushing && now >= leave_deadline) phase = Phase::stopped;
}

// --- The driver's view

NodeStatus Node::Impl::status_at(Time now) const {
  NodeStatus s;
  s.id = id;
  s.incarnation = own_incarnation;
  s.open = phase >= Phase::running;
  s.space_free = space_free;
  s.space_total = space_total;
  s.nbd_connections = streams.count(Stream::Kind::nbd);
  s.client_connections = streams.count(Stream::Kind::client);
  s.peer_links = streams.count(Stream::Kind::in_link);
  s.reads = reads;
  s.writes = writes;
  s.flushes = flushes;
  s.read_bytes = read_bytes;
  s.write_bytes = write_bytes;
  s.buffers = pool.outstanding();
  if (!raft) {
    s.trouble = "starting";
    return s;
  }
  s.member = cluster_state.is_up(id, own_incarnation);
  s.has_lease = now < lease_until;
  s.serving = may_serve(now);
  s.leader = raft->is_leader();
  s.voter = raft->config().is_voter(id);
  s.leader_id = raft->leader();
  s.term = raft->term();
  s.commit_index = raft->commit_index();
  s.applied_index = cluster_state.applied;
  s.last_index = raft->last_index();
  s.requests = gateway->under_way();
  const auto stats = store->stats();
  s.objects = stats.objects;
  fill_recovery_status(now, s);
  s.journal_used = stats.journal_used;
  s.dirty_bytes = stats.dirty_bytes;
  s.full = options.vnodes > 0 && s.space_total > 0 && store->space_left() < options.reserve_bytes;
  if (!s.open)
    s.trouble = "starting: reading the log and the journal";
  else if (phase > Phase::running)
    s.trouble = "stopping";
  else if (!s.member)
    s.trouble = "has yet to join the cluster; no member that is part of a majority can be reached";
  else if (!s.has_lease)
    s.trouble = "no lease: a majority of the cluster cannot be reached";
  else if (!cluster_state.formatted)
    s.trouble = "the cluster is not formatted; run `dog cluster format`";
  else if (cluster_state.shut_down)
    s.trouble = "the cluster is shutting down";
  return s;
}

Node::Node(NodeOptions options, BufferPool& pool, std::uint64_t random_seed)
    : impl_(std::make_unique<Impl>(std::move(options), pool, random_seed)) {}
Node::~Node() = default;

void Node::start(Time now, Effects& effects) {
  impl_->now_ = now;
  impl_->start(now, effects);
}

void Node::tick(Time now, Effects& effects) {
  impl_->now_ = now;
  impl_->refresh(now, effects);
  impl_->tick(now, effects);
  impl_->settle(now, effects);
}

Time Node::next_deadline() const { return impl_->next_deadline(); }

void Node::on_disk(Time now, DiskDone&& done, Effects& effects) {
  impl_->now_ = now;
  impl_->refresh(now, effects);
  impl_->on_disk(now, std::move(done), effects);
  impl_->settle(now, effects);
}

void Node::set_space(std::uint64_t free_bytes, std::uint64_t total_bytes) {
  impl_->space_free = free_bytes;
  impl_->space_total = total_bytes;
  if (!impl_->store) return;
  impl_->store->set_space(free_bytes, total_bytes);
}

void Node::stop(Time now, Effects& effects) {
  impl_->now_ = now;
  impl_->stop(now, effects);
  impl_->settle(now, effects);
}

bool Node::order(Time now, cluster::CommandBody body, Effects& effects) {
  impl_->now_ = now;
  if (!impl_->raft) return false;
  impl_->refresh(now, effects);
  const bool taken = impl_->propose(std::move(body)) != 0;
  impl_->settle(now, effects);
  return taken;
}

std::string Node::found_anew(Time now, Effects& effects) {
  impl_->now_ = now;
  if (!impl_->raft) return "not running yet";
  impl_->refresh(now, effects);
  std::string why = impl_->force_new_configuration();
  impl_->settle(now, effects);
  return why;
}

bool Node::stopped() const { return impl_->phase == Impl::Phase::stopped; }
const std::string& Node::fatal() const { return impl_->fatal; }
NodeStatus Node::status(Time now) const { return impl_->status_at(now); }
const cluster::State& Node::state() const { return impl_->cluster_state; }

}  // namespace sd
