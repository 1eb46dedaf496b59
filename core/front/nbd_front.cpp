#include "core/front/nbd_front.hpp"

#include <algorithm>

#include "core/base/limits.hpp"

namespace sd::front {

namespace {

constexpr Time export_patience = seconds(15);  // a client that connects while the cluster cannot serve waits so long

// The number alone could come to mean another disk, once this one is deleted.
std::uint64_t export_id(const cluster::Vdi& vdi) { return vdi.created_index << 24 | vdi.vid; }

// One extent for each run of objects that exist, or do not.
std::vector<nbd::Extent> extents(const Ticket& ticket, const Payload& bits) {
  std::vector<nbd::Extent> extents;
  const std::uint64_t first = ticket.offset / limits::object_size;
  const std::uint64_t end = ticket.offset + ticket.length;
  for (std::uint64_t at = ticket.offset; at < end;) {
    const std::uint64_t object = at / limits::object_size;
    const std::uint64_t bit = object - first;
    const bool data = !bits.empty() && (bits.front().data()[bit / 8] & (std::byte{1} << (bit % 8))) != std::byte{0};
    const std::uint64_t until = std::min(end, (object + 1) * limits::object_size);
    extents.push_back({static_cast<std::uint32_t>(until - at), data ? 0u : 3u});
    at = until;
  }
  return extents;
}

}  // namespace

// --- Streams

void NbdFront::open(StreamId stream, StreamEffects& fx) {
  connections_.try_emplace(stream, options_, pool_);
  fx.output.push_back(stream);  // the greeting
}

std::span<std::byte> NbdFront::receive_buffer(StreamId stream) {
  Connection& connection = connections_.at(stream);
  const auto buffer = connection.session.receive_buffer();
  connection.stalled = buffer.empty();
  return buffer;
}

void NbdFront::on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) {
  Connection& connection = connections_.at(stream);
  scratch_.clear();
  connection.session.on_received(bytes, scratch_);
  carry_out(now, stream, connection, scratch_, fx);
}

OutQueue* NbdFront::output(StreamId stream) { return &connections_.at(stream).session.output(); }

void NbdFront::on_drained(Time now, StreamId stream, StreamEffects& fx) {
  Connection& connection = connections_.at(stream);
  scratch_.clear();
  connection.session.on_sent(0, scratch_);
  carry_out(now, stream, connection, scratch_, fx);
}

void NbdFront::on_closed(Time, StreamId stream, StreamEffects&) {
  if (connections_.at(stream).session.in_flight() > 0) host_.abandon(*this, stream);
  connections_.erase(stream);
}

void NbdFront::stop(Time now, StreamEffects& fx) {
  for (auto& [stream, connection] : connections_) {
    nbd::Effects nfx;
    connection.session.shutdown(nfx);
    carry_out(now, stream, connection, nfx, fx);
  }
}

void NbdFront::carry_out(Time now, StreamId stream, Connection& connection, nbd::Effects& nfx, StreamEffects& fx) {
  nbd::Session& session = connection.session;
  // Answers given on the spot may bring more requests; those stand in `more`.
  nbd::Effects more;
  for (;;) {
    auto requests = std::exchange(nfx.requests, {});
    const bool list = std::exchange(nfx.list_exports, false);
    auto wanted = std::exchange(nfx.open_export, {});
    const bool close = nfx.close;
    if (close && nfx.misbehaved)
      fx.log.push_back({LogLine::Level::warning,
                        "an NBD client broke the protocol (" + nfx.close_reason + "); its connection was closed"});
    else if (close)
      fx.log.push_back({LogLine::Level::debug, "NBD connection closed: " + nfx.close_reason});
    for (auto& request : requests) submit(stream, std::move(request), session, more);
    if (list) session.on_export_list(exports(), more);
    if (wanted) {
      connection.wanted = std::move(*wanted);
      connection.wanted_deadline = now + export_patience;
      resolving_.push_back(stream);
      resolve(now, stream, connection, fx);
    }
    if (close) {
      fx.close.push_back(stream);
      break;
    }
    if (more.requests.empty() && !more.list_exports && !more.open_export && !more.close) break;
    std::swap(nfx, more);
    more.clear();
  }
  if (!session.output().empty() && (fx.output.empty() || fx.output.back() != stream)) fx.output.push_back(stream);
  if (connection.stalled && !session.receive_buffer().empty()) {
    connection.stalled = false;
    fx.resume.push_back(stream);
  }
}

// --- Exports

std::vector<std::string> NbdFront::exports() const {
  std::vector<std::string> names;
  for (const auto& [vid, vdi] : host_.state().vdis)
    if (!vdi.deleting) names.push_back(vdi.name);
  std::ranges::sort(names);
  return names;
}

std::expected<nbd::ExportInfo, Status> NbdFront::find(const std::string& name) const {
  const cluster::State& state = host_.state();
  if (!state.formatted) return std::unexpected(Status::not_formatted);
  const cluster::Vdi* vdi = state.find(name);
  if (name.empty()) {
    // The default export: the only disk there is.
    std::size_t live = 0;
    for (const auto& [vid, v] : state.vdis)
      if (!v.deleting) {
        vdi = &v;
        ++live;
      }
    if (live != 1) vdi = nullptr;
  }
  if (!vdi) return std::unexpected(Status::not_found);
  nbd::ExportInfo info;
  info.name = vdi->name;
  info.size = vdi->size;
  info.description = std::to_string(vdi->copies) + " copies";
  info.export_id = export_id(*vdi);
  return info;
}

// Answers a client that waits for its disk, if the cluster can tell by now.
void NbdFront::resolve(Time now, StreamId stream, Connection& connection, StreamEffects& fx) {
  if (connection.wanted_deadline == 0) return;
  const bool known = host_.knows_disks(connection.wanted_deadline - export_patience);
  if (!known && now < connection.wanted_deadline) return;
  connection.wanted_deadline = 0;
  nbd::Effects nfx;
  if (known)
    connection.session.on_export(find(connection.wanted), nfx);
  else
    connection.session.on_export(std::unexpected(Status::unavailable), nfx);
  carry_out(now, stream, connection, nfx, fx);
}

void NbdFront::tick(Time now, StreamEffects& fx) {
  for (const StreamId stream : std::exchange(resolving_, {})) {
    const auto at = connections_.find(stream);
    if (at == connections_.end() || at->second.wanted_deadline == 0) continue;
    resolve(now, stream, at->second, fx);
    if (at->second.wanted_deadline != 0 && std::ranges::find(resolving_, stream) == resolving_.end())
      resolving_.push_back(stream);
  }
}

// --- Requests

void NbdFront::submit(StreamId stream, nbd::Request&& request, nbd::Session& session, nbd::Effects& nfx) {
  if (request.command == nbd::Command::cache) {
    session.reply(request.id, Status::ok, nfx);
    return;
  }
  IoRequest io;
  io.vid = static_cast<Vid>(request.export_id & max_vid);
  const auto* vdi = host_.state().find(io.vid);
  if (!vdi || export_id(*vdi) != request.export_id) {
    session.reply(request.id, Status::not_found, nfx);
    return;
  }
  io.created_index = vdi->created_index;
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
  const Ticket ticket{this, stream, request.id, io.kind, request.offset, request.length};
  host_.submit(ticket, std::move(io));
}

void NbdFront::on_io(Time now, const Ticket& ticket, IoDone&& done, StreamEffects& fx) {
  const auto at = connections_.find(ticket.stream);
  if (at == connections_.end()) return;
  nbd::Session& session = at->second.session;
  nbd::Effects nfx;
  if (done.status == Status::ok && ticket.kind == IoRequest::Kind::map)
    session.reply_extents(ticket.id, extents(ticket, done.payload), nfx);
  else
    session.reply(ticket.id, done.status, std::span<const Slice>(done.payload.data(), done.payload.size()), nfx);
  carry_out(now, ticket.stream, at->second, nfx, fx);
}

}  // namespace sd::front
