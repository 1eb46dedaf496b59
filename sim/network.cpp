#include "sim/network.hpp"

#include <cstring>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"

namespace sd::sim {

namespace {
constexpr Time syn_retry = milliseconds(500);
constexpr Time reset_retry = milliseconds(200);  // until a sender's retransmission reaches a machine that has rebooted
}  // namespace

Network::Network(EventQueue& events, Decisions& decisions, TraceHash& hash, NetworkConfig initial)
    : config(initial), events_(events), decisions_(decisions), hash_(hash) {}

MachineId Network::add_machine() {
  machines_.emplace_back();
  const std::size_t n = machines_.size();
  std::vector<Path> paths(n * n);
  for (std::size_t from = 0; from + 1 < n; ++from)
    for (std::size_t to = 0; to + 1 < n; ++to) paths[from * n + to] = paths_[from * (n - 1) + to];
  paths_ = std::move(paths);
  return static_cast<MachineId>(n - 1);
}

void Network::schedule(EventKind kind, Time at, std::uint32_t connection, unsigned c) {
  events_.push({at, 0, connection, connections_[connection]->serial, 0, kind, static_cast<std::uint8_t>(c)});
}

Time Network::latency(MachineId from, MachineId to) {
  const Time base = decisions_.between(Site::net_latency, config.path.latency_min, config.path.latency_max);
  return base * paths_[from * machines_.size() + to].slow;
}

Network::Connection* Network::find(MachineId machine, StreamId stream, unsigned& side) {
  const auto at = machines_[machine].streams.find(stream);
  if (at == machines_[machine].streams.end()) return nullptr;
  Connection* connection = connections_[at->second].get();
  side = connection->end[0].attached && connection->end[0].machine == machine && connection->end[0].stream == stream
             ? 0
             : 1;
  return connection;
}

Network::Connection* Network::live(const Event& event) {
  Connection* connection = connections_[event.a].get();
  return connection->used && connection->serial == event.b ? connection : nullptr;
}

std::uint32_t Network::create(MachineId from, StreamId stream, MachineId to, Service service) {
  std::uint32_t id = 0;
  if (free_.empty()) {
    id = static_cast<std::uint32_t>(connections_.size());
    connections_.push_back(std::make_unique<Connection>());
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Connection& c = *connections_[id];
  const std::uint32_t serial = c.serial + 1;
  c = Connection{};
  c.serial = serial;
  c.used = true;
  c.service = service;
  c.dialed_at = now_;
  c.end[0] = {from, stream, true, false};
  c.end[1].machine = to;
  machines_[from].streams[stream] = id;
  ++used_;
  ++stats_.connections;
  return id;
}

void Network::dial(MachineId from, StreamId stream, MachineId to, Service service) {
  const std::uint32_t id = create(from, stream, to, service);
  schedule(EventKind::net_syn, now_ + latency(from, to), id, 0);
}

void Network::dial_nowhere(MachineId from, StreamId stream) {
  const std::uint32_t id = create(from, stream, from, Service::peer);
  schedule(EventKind::net_dialed, now_ + config.dial_timeout, id, static_cast<unsigned>(DialResult::failed));
}

void Network::on_syn(std::uint32_t id) {
  Connection& c = *connections_[id];
  if (!c.end[0].attached) return release_if_over(id);  // the dialler has lost interest
  const MachineId from = c.end[0].machine;
  const MachineId to = c.end[1].machine;
  Machine& target = machines_[to];
  if (!target.powered || blocked(from, to) || blocked(to, from)) {
    if (now_ >= c.dialed_at + config.dial_timeout)
      schedule(EventKind::net_dialed, now_, id, static_cast<unsigned>(DialResult::failed));
    else
      schedule(EventKind::net_syn, now_ + syn_retry, id, 0);
    return;
  }
  const Time back = now_ + latency(to, from);
  if (!target.host) {
    schedule(EventKind::net_dialed, back, id, static_cast<unsigned>(DialResult::refused));
    return;
  }
  if (target.paused_until > now_) {
    // The kernel completes the handshake; the process accepts when it runs again.
    if (!c.accepted) {
      c.accepted = true;
      schedule(EventKind::net_dialed, back, id, static_cast<unsigned>(DialResult::connected));
    }
    schedule(EventKind::net_syn, target.paused_until, id, 0);
    return;
  }
  if (!c.accepted) schedule(EventKind::net_dialed, back, id, static_cast<unsigned>(DialResult::connected));
  c.accepted = true;
  const StreamId stream = target.host->accept(c.service);
  if (!c.used) return;
  if (stream == 0 || !machines_[to].host) {
    finish(id, 1);
    return;
  }
  c.end[1] = {to, stream, true, true};
  machines_[to].streams[stream] = id;
  schedule_delivery(id, 1);
  pump(id, 1, false);
}

void Network::on_dialed(std::uint32_t id, DialResult result) {
  Connection& c = *connections_[id];
  if (!c.end[0].attached) return;
  const MachineId machine = c.end[0].machine;
  const StreamId stream = c.end[0].stream;
  hash_.fold(static_cast<std::uint64_t>(result) + 7);
  if (result != DialResult::connected) {
    detach(id, 0);
    release_if_over(id);
  } else {
    c.end[0].established = true;
  }
  machines_[machine].host->dialed(stream, result);
  if (result == DialResult::connected && connections_[id]->used && connections_[id]->end[0].attached) {
    pump(id, 0, false);
    schedule_delivery(id, 0);
  }
}

void Network::send(MachineId from, StreamId stream) {
  unsigned side = 0;
  Connection* c = find(from, stream, side);
  if (!c || !c->end[side].established) return;
  pump(machines_[from].streams[stream], side, false);
}

// Moves bytes from the host's queue onto the wire. `everything`: the stream is being closed, so the window does not
// hold it up.
void Network::pump(std::uint32_t id, unsigned side, bool everything) {
  Connection& c = *connections_[id];
  End& end = c.end[side];
  if (!end.attached || !end.established || !machines_[end.machine].host) return;
  Host& host = *machines_[end.machine].host;
  OutQueue* queue = host.output(end.stream);
  if (!queue || queue->empty()) return;
  Direction& d = c.from[side];
  const MachineId to = c.end[1 - side].machine;
  Path& path = paths_[end.machine * machines_.size() + to];
  const Time delay = latency(end.machine, to);
  Time arrival = std::max(d.last_arrival, now_ + delay);
  bool sent = false;
  for (; !queue->empty() && (everything || d.in_flight < config.window); queue = host.output(end.stream)) {
    scratch_.clear();
    queue->peek_slices(16, scratch_);
    for (Slice& slice : scratch_) {
      if (!everything && d.in_flight >= config.window) break;
      const std::size_t n = everything ? slice.size() : std::min(slice.size(), config.window - d.in_flight);
      queue->consume(n);
      arrival += n * config.path.ns_per_kilobyte / 1024 * path.slow;
      if (path.kb_per_second != 0) {
        path.free_at = std::max(path.free_at, now_) + n * seconds(1) / 1024 / path.kb_per_second;
        arrival = std::max(arrival, path.free_at + delay);
      }
      d.in_flight += n;
      sent = true;
      if (!c.dead[1 - side]) {
        slice.shrink(n);
        d.chunks.push_back({std::move(slice), now_, arrival});
      }
    }
  }
  scratch_.clear();
  d.last_arrival = arrival;
  d.window_full = !queue->empty();
  if (c.dead[1 - side]) {
    if (machines_[to].powered) schedule(EventKind::net_closed, now_ + reset_retry, id, side);
    return;
  }
  if (sent) schedule_delivery(id, 1 - side);
  if (queue->empty() && !d.drained_coming) {
    d.drained_coming = true;
    schedule(EventKind::net_drained, now_, id, side);
  }
}

void Network::schedule_delivery(std::uint32_t id, unsigned to) {
  Connection& c = *connections_[id];
  Direction& d = c.from[1 - to];
  if (d.delivering || d.receiver_full || !c.end[to].attached || !c.end[to].established) return;
  Time at = 0;
  if (d.first < d.chunks.size())
    at = d.chunks[d.first].arrives;
  else if (d.fin)
    at = d.fin_arrives;
  else
    return;
  d.delivering = true;
  schedule(EventKind::net_deliver, std::max({at, now_, d.resumes_at}), id, to);
}

void Network::acknowledge(std::uint32_t id, unsigned from, std::size_t bytes) {
  Connection& c = *connections_[id];
  Direction& d = c.from[from];
  if (blocked(c.end[1 - from].machine, c.end[from].machine)) {
    d.unacknowledged += bytes;
    return;
  }
  d.in_flight -= bytes;
  if (d.window_full && d.in_flight < config.window) {
    d.window_full = false;
    schedule(EventKind::net_pump, now_ + config.path.latency_min, id, from);
  }
}

void Network::deliver(std::uint32_t id, unsigned to) {
  Connection& c = *connections_[id];
  const std::uint32_t serial = c.serial;
  Direction& d = c.from[1 - to];
  d.delivering = false;
  const MachineId machine = c.end[to].machine;
  const StreamId stream = c.end[to].stream;
  if (!c.end[to].attached) return;
  if (blocked(c.end[1 - to].machine, machine)) return;  // goes on when the path is whole again
  if (now_ < d.resumes_at) {
    schedule_delivery(id, to);
    return;
  }
  if (paused(machine)) {
    d.delivering = true;
    schedule(EventKind::net_deliver, machines_[machine].paused_until, id, to);
    return;
  }
  while (d.first < d.chunks.size() && d.chunks[d.first].arrives <= now_) {
    Host* host = machines_[machine].host;
    const std::span<std::byte> buffer = host->receive_buffer(stream);
    if (buffer.empty()) {
      d.receiver_full = true;
      return;
    }
    Slice& bytes = d.chunks[d.first].bytes;
    std::size_t n = std::min(buffer.size(), bytes.size());
    const bool split = n > 1 && decisions_.chance(Site::net_split, config.split_per_thousand, 1000);
    if (split) n = 1 + decisions_.choose(Site::net_split, n - 1);
    std::memcpy(buffer.data(), bytes.data(), n);
    if (c.service == Service::peer && decisions_.chance(Site::net_fault, config.flip_per_million, 1'000'000)) {
      const std::uint64_t bit = decisions_.choose(Site::net_fault, n * 8);
      buffer[bit / 8] ^= std::byte{1} << (bit % 8);
      ++stats_.flips;
    }
    hash_.fold(crc32c(buffer.data(), n));
    if (sink) sink->message(c.end[1 - to].machine, machine, d.chunks[d.first].sent, now_, n);
    if (n == bytes.size()) {
      bytes = {};
      if (++d.first == d.chunks.size()) {
        d.chunks.clear();
        d.first = 0;
      } else if (d.first >= 64) {
        d.chunks.erase(d.chunks.begin(), d.chunks.begin() + static_cast<std::ptrdiff_t>(d.first));
        d.first = 0;
      }
    } else {
      bytes = bytes.from(n);
    }
    ++stats_.deliveries;
    stats_.bytes += n;
    acknowledge(id, 1 - to, n);
    host->received(stream, n);
    if (!c.used || c.serial != serial || !c.end[to].attached) return;
    if (paused(machine)) break;
    if (split) {  // what is left comes a little later
      d.delivering = true;
      schedule(EventKind::net_deliver, now_ + microseconds(1) + decisions_.choose(Site::net_split, microseconds(20)),
               id, to);
      return;
    }
  }
  if (d.first == d.chunks.size() && d.fin && d.fin_arrives <= now_) {
    detach(id, to);
    Host* host = machines_[machine].host;
    release_if_over(id);
    if (host) host->closed(stream);
    return;
  }
  schedule_delivery(id, to);
}

void Network::resume(MachineId machine, StreamId stream) {
  unsigned side = 0;
  Connection* c = find(machine, stream, side);
  if (!c) return;
  Direction& d = c->from[1 - side];
  d.receiver_full = false;
  schedule_delivery(machines_[machine].streams[stream], side);
}

void Network::close(MachineId from, StreamId stream) {
  unsigned side = 0;
  Connection* c = find(from, stream, side);
  if (!c) return;
  const std::uint32_t id = machines_[from].streams[stream];
  pump(id, side, true);
  detach(id, side);
  finish(id, side);
}

void Network::finish(std::uint32_t id, unsigned side) {
  Connection& c = *connections_[id];
  Direction& d = c.from[side];
  if (!d.fin) {
    d.fin = true;
    d.fin_arrives = std::max(d.last_arrival, now_ + latency(c.end[side].machine, c.end[1 - side].machine));
    schedule_delivery(id, 1 - side);
  }
  release_if_over(id);
}

void Network::detach(std::uint32_t id, unsigned side) {
  Connection& c = *connections_[id];
  if (!c.end[side].attached) return;
  c.end[side].attached = false;
  c.end[side].established = false;
  machines_[c.end[side].machine].streams.erase(c.end[side].stream);
  c.from[1 - side].chunks.clear();  // nobody will read them
  c.from[1 - side].first = 0;
}

void Network::release_if_over(std::uint32_t id) {
  Connection& c = *connections_[id];
  if (!c.used || c.end[0].attached || c.end[1].attached) return;
  c.used = false;
  c.from[0] = {};
  c.from[1] = {};
  free_.push_back(id);
  --used_;
}

void Network::process_started(MachineId machine, Host* host) { machines_[machine].host = host; }

void Network::process_died(MachineId machine) {
  Machine& m = machines_[machine];
  m.host = nullptr;
  m.paused_until = 0;
  while (!m.streams.empty()) {
    const auto [stream, id] = *m.streams.begin();
    unsigned side = 0;
    Connection& c = *find(machine, stream, side);
    Direction& d = c.from[side];
    // A reset may overtake bytes that were sent before it.
    const std::size_t waiting = d.chunks.size() - d.first;
    if (waiting > 0 && decisions_.choose(Site::net_fault, 2) == 0)
      d.chunks.resize(d.first + decisions_.choose(Site::net_fault, waiting + 1));
    detach(id, side);
    finish(id, side);
  }
  // Connections that the kernel had accepted for the process.
  for (std::uint32_t id = 0; id < connections_.size(); ++id) {
    Connection& c = *connections_[id];
    if (c.used && c.accepted && c.end[1].machine == machine && !c.end[1].attached && !c.from[1].fin && !c.dead[1])
      finish(id, 1);
  }
}

void Network::power_lost(MachineId machine) {
  Machine& m = machines_[machine];
  m.host = nullptr;
  m.paused_until = 0;
  m.powered = false;
  for (std::uint32_t id = 0; id < connections_.size(); ++id) {
    Connection& c = *connections_[id];
    if (!c.used) continue;
    for (unsigned side = 0; side < 2; ++side)
      if (c.used && c.end[side].machine == machine && (c.end[side].attached || (side == 1 && c.accepted)) &&
          !c.from[side].fin)
        vanish(id, side);
  }
}

// What the machine had sent is still on the wire; after that, silence.
void Network::vanish(std::uint32_t id, unsigned dead_side) {
  Connection& c = *connections_[id];
  detach(id, dead_side);
  c.dead[dead_side] = true;
  release_if_over(id);
}

void Network::power_back(MachineId machine) {
  machines_[machine].powered = true;
  // Peers that still have bytes for the old incarnation send them again and are told that nobody knows the connection.
  for (std::uint32_t id = 0; id < connections_.size(); ++id) {
    Connection& c = *connections_[id];
    if (!c.used) continue;
    for (unsigned side = 0; side < 2; ++side)
      if (c.dead[side] && c.end[side].machine == machine && c.from[1 - side].in_flight > 0)
        schedule(EventKind::net_closed, now_ + reset_retry, id, 1 - side);
  }
}

void Network::pause(MachineId machine, Time until) { machines_[machine].paused_until = until; }

void Network::set_blocked(MachineId from, MachineId to, bool value) {
  Path& path = paths_[from * machines_.size() + to];
  if (path.blocked == value) return;
  path.blocked = value;
  if (value) {
    path.blocked_at = now_;
    return;
  }
  for (std::uint32_t id = 0; id < connections_.size(); ++id) {
    Connection& c = *connections_[id];
    if (!c.used) continue;
    for (unsigned side = 0; side < 2; ++side) {
      const MachineId sender = c.end[side].machine;
      const MachineId receiver = c.end[1 - side].machine;
      if (sender == from && receiver == to) {
        Direction& d = c.from[side];
        // Retransmissions of a connection follow each other at twice the distance each time.
        if (config.late_resume && (d.first < d.chunks.size() || d.fin))
          d.resumes_at = now_ + decisions_.choose(Site::resume, now_ - path.blocked_at + 1);
        schedule_delivery(id, 1 - side);
      }
      if (sender == to && receiver == from && c.from[side].unacknowledged > 0)
        acknowledge(id, side, std::exchange(c.from[side].unacknowledged, 0));
    }
  }
}

bool Network::reset_one(MachineId machine) {
  Machine& m = machines_[machine];
  if (m.streams.empty()) return false;
  const auto at = m.streams.begin() + static_cast<std::ptrdiff_t>(decisions_.choose(Site::net_fault, m.streams.size()));
  const std::uint32_t id = at->second;
  ++stats_.resets;
  for (unsigned side = 0; side < 2; ++side)
    if (connections_[id]->end[side].attached)
      schedule(EventKind::net_closed, now_ + decisions_.choose(Site::net_fault, milliseconds(2)), id, side);
  return true;
}

bool Network::handle(const Event& event, Time now) {
  if (event.kind < EventKind::net_syn || event.kind > EventKind::net_closed) return false;
  now_ = now;
  Connection* c = live(event);
  if (!c) return true;
  // A process that does not run hears of nothing.
  const unsigned side = event.kind == EventKind::net_dialed ? 0 : event.c;
  if (event.kind != EventKind::net_syn && event.kind != EventKind::net_deliver && c->end[side].attached &&
      paused(c->end[side].machine)) {
    Event later = event;
    later.at = machines_[c->end[side].machine].paused_until;
    events_.push(later);
    return true;
  }
  switch (event.kind) {
    case EventKind::net_syn: on_syn(event.a); break;
    case EventKind::net_dialed: on_dialed(event.a, static_cast<DialResult>(event.c)); break;
    case EventKind::net_deliver: deliver(event.a, event.c); break;
    case EventKind::net_pump: pump(event.a, event.c, false); break;
    case EventKind::net_drained:
      c->from[side].drained_coming = false;
      if (c->end[side].attached) {
        Host* host = machines_[c->end[side].machine].host;
        const OutQueue* queue = host->output(c->end[side].stream);
        if (queue && queue->empty()) host->drained(c->end[side].stream);
      }
      break;
    case EventKind::net_closed:
      if (c->end[side].attached) {
        Host* host = machines_[c->end[side].machine].host;
        const StreamId stream = c->end[side].stream;
        detach(event.a, side);
        if (c->end[1 - side].attached) finish(event.a, side);
        release_if_over(event.a);
        if (host) host->closed(stream);
      }
      break;
    default: break;
  }
  return true;
}

std::size_t Network::bytes_in_flight() const {
  std::size_t sum = 0;
  for (const auto& c : connections_)
    if (c->used) sum += c->from[0].in_flight + c->from[1].in_flight;
  return sum;
}

void Network::drop_everything() {
  connections_.clear();
  free_.clear();
  scratch_.clear();
  used_ = 0;
  for (Machine& machine : machines_) {
    machine.host = nullptr;
    machine.streams.clear();
  }
}

}  // namespace sd::sim
