// What clients see of a node: one Front for each protocol, behind which are the protocol's sessions, one for each
// stream. A front turns requests into I/O on disks, which its Host carries out, and the results into answers.
//
// Rules for a front: it is pure; it answers each request once, or not at all once the stream has ended; its memory is
// bounded for each stream; no call of a Host calls back into it.
#pragma once
#include "core/base/stream_handler.hpp"
#include "core/cluster/state.hpp"
#include "core/volume/io.hpp"

namespace sd::front {

class Front;

// A request of a front, on its way. What it means, so that the front need not look it up when it is answered.
struct Ticket {
  Front* front = nullptr;
  StreamId stream = 0;
  std::uint64_t id = 0;  // of the session
  IoRequest::Kind kind{};
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
};

class Host {
 public:
  virtual const cluster::State& state() const = 0;
  // The node is a member with a lease, and `state` holds all that was decided before `since`: what it says of disks is
  // so. If not, that is found out; ask again in `tick`.
  virtual bool knows_disks(Time since) = 0;
  // Front::on_io tells the result. The number of the ticket.
  virtual std::uint64_t submit(const Ticket& ticket, IoRequest&& io) = 0;
  // Nobody waits for the requests of that stream any more.
  virtual void abandon(const Front& front, StreamId stream) = 0;

 protected:
  ~Host() = default;
};

class Front : public StreamHandler {
 public:
  virtual ~Front() = default;
  virtual void on_io(Time now, const Ticket& ticket, IoDone&& done, StreamEffects& fx) = 0;
  // The state may have changed, and time has passed.
  virtual void tick(Time now, StreamEffects& fx) = 0;
  // The node stops: clients go elsewhere as soon as what they have in flight is answered.
  virtual void stop(Time now, StreamEffects& fx) = 0;
};

}  // namespace sd::front
