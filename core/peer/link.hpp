// One connection to another node, and one from it. Each node dials those it has something to say to (links.hpp); what
// it hears comes over connections that they dialled.
#pragma once
#include <deque>
#include <map>
#include <optional>
#include <string_view>

#include "core/base/out_queue.hpp"
#include "core/base/time.hpp"
#include "core/peer/message.hpp"
#include "core/peer/receiver.hpp"

namespace sd {

// The sending side to one address. States: idle -> dialing -> up -> idle. Messages queued while it is not up travel
// behind the Hello; what is queued or under way when a connection breaks is lost, as peers expect.
//
// Leases and elections must not depend on how much data waits for a slow path. So messages of two classes share the
// connection:
// - control (the cluster log, leases, joining, incarnations) goes straight to `queue`, behind what is committed there:
//   the rest of one frame and some `ahead` more, which is a fraction of a second on any path worth the name;
// - bulk (whatever may carry payload: requests for objects and of gateways, and their answers) waits in `bulk` while
//   `queue` holds enough.
// The order within each class is kept, a Hello is first, and bulk never overtakes control. Control may overtake bulk.
// Nobody relies on the contrary: a new connection does the same (what the old one had on its way may come behind it),
// members fence requests by what the log says, and what a lease request reports (disks swept, disks removed) rests on
// answers that came, not on requests that are under way. Flushes and trims stay with the writes, whose order they
// belong to.
struct OutLink {
  enum class State : std::uint8_t { idle, dialing, up };
  explicit OutLink(BufferPool& pool) : queue(pool), bulk(pool) {}
  State state = State::idle;
  StreamId stream = 0;
  OutQueue queue;                  // the driver's: leaves next
  OutQueue bulk;                   // whole frames ...
  std::deque<std::size_t> frames;  // ... of these sizes

  std::size_t waiting() const { return queue.size() + bulk.size(); }
  void clear() {
    queue.clear();
    bulk.clear();
    frames.clear();
  }
  // One frame. Bulk is committed only while the queue holds less than `ahead`.
  void put(std::string_view encoded, const Payload* payload, bool is_bulk, std::size_t ahead);
  // Commits more bulk; before the driver looks at the queue.
  void fill(std::size_t ahead);

  Time used_at = 0;   // a message was to be sent there
  Time retry_at = 0;  // no dialling before
  Time backoff = 0;
  std::uint64_t appended = 0, sent = 0;  // bytes of this connection; `sent` as of `progress_at`
  Time progress_at = 0;
  bool refused = false;  // the last dial was answered: nobody listens there ...
  Time refused_at = 0;   // ... at this time
  Time probed_at = 0;    // dialled out of turn
  // an earlier incarnation of this node that whoever listens there knows it by; 0: none in particular
  Incarnation incarnation_asked_for = 0;
};

// The receiving side of one connection. Nothing is known of the sender until its Hello.
struct InLink {
  explicit InLink(BufferPool& pool) : receiver(pool) {}
  peer::Receiver receiver;
  std::optional<peer::Hello> hello;
  // not 0: the sender is not welcome, but may say that this node is not welcome to it either; closed afterwards
  Time ignored_until = 0;
};

}  // namespace sd
