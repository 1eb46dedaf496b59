// Connections to other nodes. Each node dials those it has something to say to; what it hears comes over connections that they dialled.
#pragma once
#include <map>
#include <optional>

#include "core/base/out_queue.hpp"
#include "core/base/time.hpp"
#include "core/node/node.hpp"
#include "core/peer/message.hpp"
#include "core/peer/receiver.hpp"

namespace sd {

// The sending side to one address. States: idle -> dialing -> up -> idle. Messages queued while it is not up travel behind the Hello; what is
// queued or under way when a connection breaks is lost, as peers expect.
struct OutLink {
  enum class State : std::uint8_t { idle, dialing, up };
  explicit OutLink(BufferPool& pool) : queue(pool) {}
  State state = State::idle;
  StreamId stream = 0;
  OutQueue queue;
  Time retry_at = 0;        // no dialling before
  Time backoff = 0;
  std::uint64_t appended = 0, sent = 0;  // bytes of this connection; `sent` as of `progress_at`
  Time progress_at = 0;
  bool refused = false;     // the last dial was answered: nobody listens there ...
  Time refused_at = 0;      // ... at this time
  Time probed_at = 0;       // dialled out of turn
  Incarnation life_asked_for = 0;  // an earlier life of this node that whoever listens there knows it by; 0: none in particular
};

// The receiving side of one connection. Nothing is known of the sender until its Hello.
struct InLink {
  explicit InLink(BufferPool& pool) : receiver(pool) {}
  peer::Receiver receiver;
  std::optional<peer::Hello> hello;
  Time deaf_until = 0;  // not 0: the sender is not welcome, but may say that this node is not welcome to it either; closed afterwards
};

}  // namespace sd
