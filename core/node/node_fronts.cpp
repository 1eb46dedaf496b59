// What clients see: NBD and the client port, and the streams of the driver.
#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/limits.hpp"
#include "core/node/node_impl.hpp"

namespace sd {

namespace {
constexpr Time export_patience = seconds(15);  // a client that connects while the cluster cannot serve waits so long
}

// --- Streams

StreamId Node::on_accept(Time now, Service service, Effects& effects) {
  Impl& n = *impl_;
  n.now_ = now;
  if (n.streams.size() >= n.options.max_streams || n.phase == Impl::Phase::stopped) {
    n.log(effects, LogLine::Level::warning, "too many connections; one was refused");
    return 0;
  }
  if (service == Service::nbd && n.phase > Impl::Phase::running) return 0;  // it stops: clients go elsewhere
  const StreamId id = n.next_stream++;
  Impl::Stream stream;
  switch (service) {
    case Service::peer:
      stream.kind = Impl::Stream::Kind::in_link;
      stream.in = std::make_unique<InLink>(n.pool);
      break;
    case Service::nbd: {
      stream.kind = Impl::Stream::Kind::nbd;
      nbd::SessionOptions options;
      options.preferred_block = n.options.nbd_preferred_block;
      stream.nbd = std::make_unique<nbd::Session>(options, n.pool);
      break;
    }
    case Service::client:
      stream.kind = Impl::Stream::Kind::client;
      n.service.open(id);
      break;
  }
  const bool greets = stream.nbd != nullptr;
  n.streams.emplace(id, std::move(stream));
  if (greets) effects.output.push_back(id);
  return id;
}

void Node::on_dialed(Time now, StreamId stream, DialResult result, Effects& effects) {
  impl_->now_ = now;
  impl_->refresh(now, effects);
  impl_->on_dialed(now, stream, result, effects);
  impl_->settle(now, effects);
}

std::span<std::byte> Node::receive_buffer(StreamId id) {
  const auto at = impl_->streams.find(id);
  if (at == impl_->streams.end()) return {};
  Impl::Stream& stream = at->second;
  std::span<std::byte> buffer;
  switch (stream.kind) {
    case Impl::Stream::Kind::out_link: {
      // Nothing is ever said on a connection that we dialled, but its end must be noticed: read, and ignore.
      if (!stream.in) stream.in = std::make_unique<InLink>(impl_->pool);
      buffer = stream.in->receiver.buffer();
      break;
    }
    case Impl::Stream::Kind::in_link: buffer = stream.in->receiver.buffer(); break;
    case Impl::Stream::Kind::nbd: buffer = stream.nbd->receive_buffer(); break;
    case Impl::Stream::Kind::client: buffer = impl_->service.receive_buffer(id); break;
  }
  stream.stalled = buffer.empty();
  return buffer;
}

void Node::on_received(Time now, StreamId id, std::size_t bytes, Effects& effects) {
  Impl& n = *impl_;
  n.now_ = now;
  n.refresh(now, effects);
  const auto at = n.streams.find(id);
  if (at == n.streams.end()) return;
  Impl::Stream& stream = at->second;
  switch (stream.kind) {
    case Impl::Stream::Kind::out_link: break;
    case Impl::Stream::Kind::in_link: n.on_peer_bytes(now, id, stream, bytes, effects); break;
    case Impl::Stream::Kind::nbd:
      n.nbd_fx.clear();
      stream.nbd->on_received(bytes, n.nbd_fx);
      n.on_nbd_effects(now, id, stream, n.nbd_fx, effects);
      break;
    case Impl::Stream::Kind::client: n.service.on_received(now, id, bytes, n, n.service_fx); break;
  }
  n.settle(now, effects);
}

OutQueue* Node::output(StreamId id) {
  const auto at = impl_->streams.find(id);
  if (at == impl_->streams.end()) return nullptr;
  Impl::Stream& stream = at->second;
  switch (stream.kind) {
    case Impl::Stream::Kind::out_link: return impl_->links.output(stream.to, id);
    case Impl::Stream::Kind::in_link: return nullptr;
    case Impl::Stream::Kind::nbd: return &stream.nbd->output();
    case Impl::Stream::Kind::client: return impl_->service.output(id);
  }
  return nullptr;
}

void Node::on_drained(Time now, StreamId id, Effects& effects) {
  Impl& n = *impl_;
  n.now_ = now;
  n.refresh(now, effects);
  const auto at = n.streams.find(id);
  if (at == n.streams.end()) return;
  Impl::Stream& stream = at->second;
  if (stream.kind == Impl::Stream::Kind::nbd) {
    n.nbd_fx.clear();
    stream.nbd->on_sent(0, n.nbd_fx);
    n.on_nbd_effects(now, id, stream, n.nbd_fx, effects);
    n.settle(now, effects);
  } else if (stream.kind == Impl::Stream::Kind::client) {
    n.service.on_drained(id, n.service_fx);
    n.settle(now, effects);
  }
}

void Node::on_closed(Time now, StreamId id, Effects& effects) {
  Impl& n = *impl_;
  n.now_ = now;
  n.refresh(now, effects);
  const auto at = n.streams.find(id);
  if (at == n.streams.end()) return;
  const bool running = n.phase == Impl::Phase::running;
  if (at->second.kind == Impl::Stream::Kind::out_link) n.links_for(effects).on_closed(now, at->second.to, id, running);
  if (at->second.kind == Impl::Stream::Kind::in_link && at->second.in->hello) {
    const auto address = n.address_of(at->second.in->hello->node);
    if (address && running) n.links_for(effects).probe(now, *address);
  }
  if (at->second.kind == Impl::Stream::Kind::client) n.service.on_closed(id, n.service_fx);
  if (at->second.kind == Impl::Stream::Kind::nbd && at->second.nbd->in_flight() > 0) {
    std::vector<std::uint64_t> orphans;
    n.tickets.each([&](std::uint64_t number, Impl::Ticket& ticket) {
      if (ticket.front == Impl::Ticket::Front::nbd && ticket.stream == id) orphans.push_back(number);
    });
    for (const std::uint64_t number : orphans) n.gateway->abandon(number, n.gateway_fx);
  }
  n.streams.erase(at);
  n.settle(now, effects);
}

// --- NBD

void Node::Impl::on_nbd_effects(Time now, StreamId stream_id, Stream& stream, nbd::Effects& nfx, Effects& fx) {
  nbd::Session& session = *stream.nbd;
  // Answers given on the spot may bring more requests; those stand in `more`.
  nbd::Effects more;
  for (;;) {
    auto requests = std::exchange(nfx.requests, {});
    const bool list = std::exchange(nfx.list_exports, false);
    auto wanted = std::exchange(nfx.open_export, {});
    const bool close = nfx.close;
    if (close && nfx.misbehaved)
      log(fx, LogLine::Level::warning,
          "an NBD client broke the protocol (" + nfx.close_reason + "); its connection was closed");
    else if (close)
      log(fx, LogLine::Level::debug, "NBD connection closed: " + nfx.close_reason);
    for (auto& request : requests) submit_nbd(now, stream_id, std::move(request), session, more);
    if (list) {
      std::vector<std::string> names;
      for (const auto& [vid, vdi] : cluster_state.vdis)
        if (!vdi.deleting) names.push_back(vdi.name);
      std::ranges::sort(names);
      session.on_export_list(names, more);
    }
    if (wanted) {
      stream.wanted_export = std::move(*wanted);
      stream.export_deadline = now + export_patience;
      resolving.push_back(stream_id);
      resolve_export(now, stream_id, stream, fx);
    }
    if (close) {
      fx.close.push_back(stream_id);
      break;
    }
    if (more.requests.empty() && !more.list_exports && !more.open_export && !more.close) break;
    std::swap(nfx, more);
    more.clear();
  }
  after_front(stream_id, fx);
}

// This node stops: clients go elsewhere as soon as what they have in flight is answered.
void Node::Impl::close_disks(Time now, Effects& fx) {
  std::vector<StreamId> sessions;
  for (auto& [stream_id, stream] : streams)
    if (stream.nbd) sessions.push_back(stream_id);
  for (const StreamId stream_id : sessions) {
    Stream& stream = streams.at(stream_id);
    nbd::Effects nfx;
    stream.nbd->shutdown(nfx);
    on_nbd_effects(now, stream_id, stream, nfx, fx);
  }
}

// Answers a client that waits for its disk, if the cluster can tell by now.
void Node::Impl::resolve_export(Time now, StreamId stream_id, Stream& stream, Effects& fx) {
  if (stream.export_deadline == 0) return;
  const bool known = phase == Phase::running && cluster_state.is_up(id, own_incarnation) && now < lease_until;
  if (!known && now < stream.export_deadline) return;
  stream.export_deadline = 0;
  std::expected<nbd::ExportInfo, Status> answer = std::unexpected(Status::unavailable);
  if (known && !cluster_state.formatted)
    answer = std::unexpected(Status::not_formatted);
  else if (known) {
    const cluster::Vdi* vdi = cluster_state.find(stream.wanted_export);
    if (stream.wanted_export.empty()) {
      // The default export: the only disk there is.
      std::size_t live = 0;
      for (const auto& [vid, v] : cluster_state.vdis)
        if (!v.deleting) {
          vdi = &v;
          ++live;
        }
      if (live != 1) vdi = nullptr;
    }
    answer = std::unexpected(Status::not_found);
    if (vdi) {
      nbd::ExportInfo info;
      info.name = vdi->name;
      info.size = vdi->size;
      info.description = std::to_string(vdi->copies) + " copies";
      // The number alone could come to mean another disk, once this one is deleted.
      info.export_id = vdi->created_index << 24 | vdi->vid;
      answer = std::move(info);
    }
  }
  nbd::Effects nfx;
  stream.nbd->on_export(answer, nfx);
  on_nbd_effects(now, stream_id, stream, nfx, fx);
}

void Node::Impl::resolve_exports(Time now, Effects& fx) {
  for (const StreamId stream_id : std::exchange(resolving, {})) {
    auto at = streams.find(stream_id);
    if (at == streams.end() || at->second.export_deadline == 0) continue;
    resolve_export(now, stream_id, at->second, fx);
    at = streams.find(stream_id);
    if (at != streams.end() && at->second.export_deadline != 0 &&
        std::ranges::find(resolving, stream_id) == resolving.end())
      resolving.push_back(stream_id);
  }
}

void Node::Impl::submit_nbd(Time now, StreamId stream_id, nbd::Request&& request, nbd::Session& session,
                            nbd::Effects& nfx) {
  if (request.command == nbd::Command::cache) {
    session.reply(request.id, Status::ok, nfx);
    return;
  }
  IoRequest io;
  io.vid = static_cast<Vid>(request.export_id & max_vid);
  const auto* vdi = cluster_state.find(io.vid);
  if (!vdi || vdi->created_index != request.export_id >> 24) {
    session.reply(request.id, Status::not_found, nfx);
    return;
  }
  io.offset = request.offset;
  io.length = request.length;
  io.fua = request.fua;
  switch (request.command) {
    case nbd::Command::read: io.kind = IoRequest::Kind::read; break;
    case nbd::Command::write:
      io.kind = IoRequest::Kind::write;
      io.payload.push_back(std::move(request.data));
      break;
    case nbd::Command::trim: io.kind = IoRequest::Kind::zero; break;
    case nbd::Command::write_zeroes:
      io.kind = IoRequest::Kind::zero;
      io.keep_allocated = request.no_hole;
      break;
    case nbd::Command::flush: io.kind = IoRequest::Kind::flush; break;
    case nbd::Command::block_status: {
      const std::uint64_t first = request.offset / limits::object_size;
      const std::uint64_t last = (request.offset + request.length - 1) / limits::object_size;
      io.kind = IoRequest::Kind::map;
      io.offset = first * limits::object_size;
      io.length = last - first + 1;
      break;
    }
    case nbd::Command::cache:
    case nbd::Command::disconnect: break;
  }
  count(io);
  Ticket ticket{Ticket::Front::nbd, stream_id, request.id, io.kind, request.offset, request.length};
  gateway->submit(now, tickets.insert(std::move(ticket)), std::move(io), gateway_fx);
}

void Node::Impl::count(const IoRequest& io) {
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

void Node::Impl::answer(Time now, IoDone&& done, Effects& fx) {
  Ticket* found = tickets.find(done.ticket);
  SD_ASSERT(found, "a request is answered once");
  const Ticket ticket = *found;
  const std::uint64_t number = done.ticket;
  tickets.erase(number);
  if (ticket.front == Ticket::Front::client) {
    service.on_io(number, done.status, std::move(done.payload), *this, service_fx);
    return;
  }
  const auto at = streams.find(ticket.stream);
  if (at == streams.end()) return;
  now_ = now;
  answer_nbd(now, ticket, std::move(done), fx);
}

void Node::Impl::answer_nbd(Time now, const Ticket& ticket, IoDone&& done, Effects& fx) {
  Stream& stream = streams.at(ticket.stream);
  nbd::Effects nfx;
  if (done.status == Status::ok && ticket.kind == IoRequest::Kind::map) {
    // One extent for each run of objects that exist, or do not.
    std::vector<nbd::Extent> extents;
    const std::uint64_t first = ticket.offset / limits::object_size;
    const std::uint64_t end = ticket.offset + ticket.length;
    for (std::uint64_t at = ticket.offset; at < end;) {
      const std::uint64_t object = at / limits::object_size;
      const std::uint64_t bit = object - first;
      const bool data =
          !done.payload.empty() && (done.payload.front().data()[bit / 8] & (std::byte{1} << (bit % 8))) != std::byte{0};
      const std::uint64_t until = std::min(end, (object + 1) * limits::object_size);
      extents.push_back({static_cast<std::uint32_t>(until - at), data ? 0u : 3u});
      at = until;
    }
    stream.nbd->reply_extents(ticket.id, extents, nfx);
  } else {
    stream.nbd->reply(ticket.id, done.status, std::span<const Slice>(done.payload.data(), done.payload.size()), nfx);
  }
  on_nbd_effects(now, ticket.stream, stream, nfx, fx);
}

void Node::Impl::after_front(StreamId stream_id, Effects& fx) {
  const auto at = streams.find(stream_id);
  if (at == streams.end()) return;
  Stream& stream = at->second;
  if (!stream.nbd->output().empty() && (fx.output.empty() || fx.output.back() != stream_id))
    fx.output.push_back(stream_id);
  if (stream.stalled && !stream.nbd->receive_buffer().empty()) {
    stream.stalled = false;
    fx.resume.push_back(stream_id);
  }
}

// --- The client port

std::uint64_t Node::Impl::io(client::IoRequest request) {
  if (phase != Phase::running) return 0;
  IoRequest io;
  switch (request.kind) {
    case client::IoRequest::Kind::read: io.kind = IoRequest::Kind::read; break;
    case client::IoRequest::Kind::write: io.kind = IoRequest::Kind::write; break;
    case client::IoRequest::Kind::zero: io.kind = IoRequest::Kind::zero; break;
    case client::IoRequest::Kind::flush: io.kind = IoRequest::Kind::flush; break;
    case client::IoRequest::Kind::check: io.kind = IoRequest::Kind::check; break;
  }
  io.vid = request.vid;
  io.offset = request.offset;
  io.length = request.length;
  io.fua = request.fua;
  io.payload = std::move(request.data);
  count(io);
  Ticket ticket;
  ticket.front = Ticket::Front::client;
  ticket.kind = io.kind;
  const std::uint64_t number = tickets.insert(std::move(ticket));
  gateway->submit(now_, number, std::move(io), gateway_fx);
  return number;
}

void Node::Impl::take_service_effects(Effects& fx) {
  for (const StreamId s : service_fx.output) fx.output.push_back(s);
  for (const StreamId s : service_fx.close) fx.close.push_back(s);
  for (const StreamId s : service_fx.resume) fx.resume.push_back(s);
  service_fx = {};
}

}  // namespace sd
