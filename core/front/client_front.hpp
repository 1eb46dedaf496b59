// The client port (`dog` and its like) as a front. What requests mean is client::Service's; this carries it.
#pragma once
#include "core/client/service.hpp"
#include "core/front/front.hpp"

namespace sd::front {

class ClientFront final : public Front {
 public:
  ClientFront(client::Backend& backend, BufferPool& pool) : backend_(backend), service_(pool) {}

  void open(StreamId stream, StreamEffects&) override { service_.open(stream); }
  std::span<std::byte> receive_buffer(StreamId stream) override { return service_.receive_buffer(stream); }
  void on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) override;
  OutQueue* output(StreamId stream) override { return service_.output(stream); }
  void on_drained(Time now, StreamId stream, StreamEffects& fx) override;
  void on_closed(Time now, StreamId stream, StreamEffects& fx) override;
  void on_io(Time now, const Ticket& ticket, IoDone&& done, StreamEffects& fx) override;
  void tick(Time now, StreamEffects& fx) override;
  void stop(Time, StreamEffects&) override {}

  // Of Backend::propose.
  void on_proposed(std::uint64_t number, const cluster::Result& result, StreamEffects& fx);
  // The I/O that a request of the client port stands for.
  static IoRequest io_of(client::IoRequest&& request);
  bool waits() const { return service_.waits(); }  // somebody does, for what the node knows
  std::size_t connections() const { return service_.sessions(); }
  void check_invariants() const { service_.check_invariants(); }

 private:
  void carry_out(StreamEffects& fx);

  client::Backend& backend_;
  client::Service service_;
  client::ServiceEffects scratch_;
};

}  // namespace sd::front
