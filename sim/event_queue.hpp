// What happens next: events by time, and among equals in the order in which they were scheduled, so a run has one order
// only.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/base/time.hpp"

namespace sd::sim {

enum class EventKind : std::uint8_t {
  node_tick,     // a: machine, incarnation
  disk_done,     // a: machine, b: slot, incarnation
  net_syn,       // a: connection, b: serial
  net_dialed,    // likewise; c: DialResult
  net_deliver,   // likewise; c: the receiving end
  net_pump,      // likewise; c: the sending end
  net_drained,   // likewise
  net_closed,    // likewise; c: the end that is told
  client_timer,  // a: machine
  fault,         // a: fault slot
  space,         // tell the nodes how full their disks are
  phase,         // the run's own schedule
};

struct Event {
  Time at = 0;
  std::uint64_t order = 0;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t incarnation = 0;
  EventKind kind{};
  std::uint8_t c = 0;
};
static_assert(sizeof(Event) == 32);

class EventQueue {
 public:
  void push(Event event) {
    event.order = ++orders_;
    heap_.push_back(event);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  Event pop() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Event event = heap_.back();
    heap_.pop_back();
    return event;
  }
  bool empty() const { return heap_.empty(); }
  std::size_t size() const { return heap_.size(); }
  Time next_at() const { return heap_.front().at; }

 private:
  static bool later(const Event& x, const Event& y) { return x.at != y.at ? x.at > y.at : x.order > y.order; }
  std::vector<Event> heap_;
  std::uint64_t orders_ = 0;
};

}  // namespace sd::sim
