#include "core/front/client_front.hpp"

namespace sd::front {

void ClientFront::carry_out(StreamEffects& fx) {
  fx.output.insert(fx.output.end(), scratch_.output.begin(), scratch_.output.end());
  fx.close.insert(fx.close.end(), scratch_.close.begin(), scratch_.close.end());
  fx.resume.insert(fx.resume.end(), scratch_.resume.begin(), scratch_.resume.end());
  scratch_.output.clear();
  scratch_.close.clear();
  scratch_.resume.clear();
}

void ClientFront::on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) {
  service_.on_received(now, stream, bytes, backend_, scratch_);
  carry_out(fx);
}

void ClientFront::on_drained(Time, StreamId stream, StreamEffects& fx) {
  service_.on_drained(stream, scratch_);
  carry_out(fx);
}

void ClientFront::tick(Time now, StreamEffects& fx) {
  service_.look_again(now, scratch_);
  service_.on_time(now, scratch_);
  carry_out(fx);
}

void ClientFront::on_closed(Time, StreamId stream, StreamEffects& fx) {
  service_.on_closed(stream, backend_, scratch_);
  carry_out(fx);
}

void ClientFront::on_io(Time, const Ticket&, IoDone&& done, StreamEffects& fx) {
  service_.on_io(done.ticket, done.status, std::move(done.payload), backend_, scratch_);
  carry_out(fx);
}

void ClientFront::on_proposed(std::uint64_t number, const cluster::Result& result, StreamEffects& fx) {
  service_.on_proposed(number, result, backend_, scratch_);
  carry_out(fx);
}

IoRequest ClientFront::io_of(client::IoRequest&& request) {
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
  return io;
}

}  // namespace sd::front
