#include "core/base/sim_bug.hpp"
#include "core/node/node_impl.hpp"

namespace sd {

// --- What fronts ask

std::vector<NodeId> Node::Impl::voters() const {
  return control.opened() ? control.raft().config().voters : std::vector<NodeId>{};
}

std::uint64_t Node::Impl::io(client::IoRequest request) {
  if (phase != Phase::running) return 0;
  IoRequest io = front::ClientFront::io_of(std::move(request));
  if (const auto* vdi = control.state().find(io.vid)) io.created_index = vdi->created_index;
  return submit({&clients, 0, 0, io.kind, io.offset, static_cast<std::uint32_t>(io.length)}, std::move(io));
}

bool Node::Impl::is_current(Time since) {
  if (!control.running() || SD_BUG(stale_exports)) return true;
  if (control.is_current(now_, since)) return true;
  control.ask_current(now_);
  return false;
}

bool Node::Impl::knows_disks(Time since) {
  if (!control.running() || !control.is_member() || !control.has_lease(now_)) return false;
  return is_current(since);
}

std::uint64_t Node::Impl::submit(const front::Ticket& ticket, IoRequest&& io) {
  counters.count(io);
  const std::uint64_t number = tickets.insert(front::Ticket(ticket));
  gateway->submit(now_, number, std::move(io), gateway_fx);
  return number;
}

void Node::Impl::abandon(const front::Front& front, StreamId stream) {
  std::vector<std::uint64_t> orphans;
  tickets.each([&](std::uint64_t number, const front::Ticket& ticket) {
    if (ticket.front == &front && ticket.stream == stream) orphans.push_back(number);
  });
  for (const std::uint64_t number : orphans) gateway->abandon(number, gateway_fx);
}

void Node::Impl::Counters::count(const IoRequest& io) {
  if (io.kind == IoRequest::Kind::read) {
    ++reads;
    read_bytes += io.length;
  } else if (io.kind == IoRequest::Kind::write) {
    ++writes;
    write_bytes += io.length;
  } else if (io.kind == IoRequest::Kind::flush) {
    ++flushes;
  }
}

// --- What operators ask

RecoveryStatus Node::Impl::recovery_at(Time now) const {
  const cluster::State& state = control.state();
  RecoveryStatus r;
  r.enabled = !state.recovery_off;
  const auto sweep = gateway->sweep();
  r.sweeping = state.epochs.size() > 1 && sweep.at < sweep.end;
  r.found = sweep.found;
  r.open = sweep.open;
  r.at = sweep.at;
  r.end = sweep.end;
  r.pulls = replica->pulling();
  const ReplicaStats& stats = replica->stats();
  r.pulled_objects = stats.pulled_objects;
  r.pulled_bytes = stats.pulled_bytes;
  r.repaired_blocks = stats.repaired_blocks;
  r.lost_blocks = stats.lost_blocks;
  r.collected = collector->done();
  const CollectorStats& collected = collector->stats();
  r.removed = collected.removed;
  r.leftovers = collected.leftovers;
  r.orphans = collected.orphans;
  r.kept = collected.kept;
  r.scrub_passes = scrubbing.passes();
  r.scrubbed_objects = scrubbing.objects();
  r.scrubbed_bytes = stats.scanned_bytes;
  r.scrub_left = scrubbing.left();
  r.unreadable_objects = replica->unreadable();
  r.rates = state.recovery_rates;
  r.busy = replica->throttle().busy(now);
  return r;
}

std::string Node::Impl::trouble_at(Time now) const {
  if (!control.opened()) return "starting";
  if (phase < Phase::running) return "starting: reading the log and the journal";
  if (phase > Phase::running) return "stopping";
  if (!control.is_member()) return "has yet to join the cluster; no member that is part of a majority can be reached";
  if (!control.has_lease(now)) return "no lease: a majority of the cluster cannot be reached";
  if (!control.state().formatted) return "the cluster is not formatted; run `dog cluster format`";
  if (control.state().shut_down) return "the cluster is shutting down";
  return {};
}

NodeStatus Node::Impl::status_at(Time now) const {
  NodeStatus s;
  s.id = identity.id();
  s.incarnation = identity.incarnation();
  s.open = phase >= Phase::running;
  s.space_free = space_free;
  s.space_total = space_total;
  s.nbd_connections = static_cast<std::uint32_t>(nbd.connections());
  s.client_connections = static_cast<std::uint32_t>(clients.connections());
  s.peer_links = static_cast<std::uint32_t>(peers.connected());
  s.reads = counters.reads;
  s.writes = counters.writes;
  s.flushes = counters.flushes;
  s.read_bytes = counters.read_bytes;
  s.write_bytes = counters.write_bytes;
  s.buffers = pool.outstanding();
  s.disk_silent_for = disk_watch.silent_for();
  s.trouble = trouble_at(now);
  if (!control.opened()) return s;
  const raft::Raft& raft = control.raft();
  s.member = control.is_member();
  s.has_lease = control.has_lease(now);
  s.serving = control.may_serve(now);
  s.leader = raft.is_leader();
  s.voter = raft.config().is_voter(s.id);
  s.leader_id = raft.leader();
  s.term = raft.term();
  s.commit_index = raft.commit_index();
  s.applied_index = control.state().applied;
  s.last_index = raft.last_index();
  s.requests = gateway->under_way();
  const auto stats = store->stats();
  s.objects = stats.objects;
  s.recovery = recovery_at(now);
  s.journal_used = stats.journal_used;
  s.dirty_bytes = stats.dirty_bytes;
  s.full = options.vnodes > 0 && s.space_total > 0 && store->space_left() < options.reserve_bytes;
  return s;
}

NodeStatus Node::status(Time now) const { return impl_->status_at(now); }
const cluster::State& Node::state() const { return impl_->control.state(); }

}  // namespace sd
