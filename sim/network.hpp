// Byte streams between simulated machines, as TCP gives them: reliable and in order while both processes live and the
// path is whole.
//
// - Bytes arrive after the path's latency and at its bandwidth, in pieces of any size; at most `window` bytes are under
//   way in one direction, so a receiver that does not read stops the sender.
// - A blocked path (one direction of a pair of machines) stalls what is under way; nothing is lost, and nobody is told.
//   Acknowledgements travel the other way, so with that blocked the window fills and stays full.
// - A narrow path carries so many bytes in a second, whichever connections they belong to: what leaves faster queues
//   for it.
// - If asked for, what was stalled goes on only with the next retransmission, which comes the later the longer the
//   stall was; a connection made after it is quicker. So what a process sent over a connection that it gave up may
//   arrive behind what it sent over the next one.
// - A process that dies resets its streams: what it had sent arrives up to an arbitrary point, then the other side is
//   told. A machine that loses power says nothing: its peers find out when the machine is back and they send, or never.
// - Dialling a machine whose process is gone is refused; one without power, or behind a blocked path, fails after a
//   while.
//
// Not modelled: loss, duplication and reordering of packets (TCP hides them; datagram transports need a network of
// their own).
#pragma once
#include <boost/container/flat_map.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/out_queue.hpp"
#include "core/node/node.hpp"
#include "sim/decision_log.hpp"
#include "sim/event_queue.hpp"
#include "sim/trace_hash.hpp"

namespace sd::sim {

// A process with streams: a node, a guest, an operator's tool. Its calls may send, dial and close, but are never called
// back from those.
class Host {
 public:
  virtual ~Host() = default;
  virtual StreamId accept(Service service) = 0;  // 0: refused
  virtual void dialed(StreamId stream, DialResult result) = 0;
  virtual std::span<std::byte> receive_buffer(StreamId stream) = 0;  // empty: not now, see Network::resume
  virtual void received(StreamId stream, std::size_t bytes) = 0;
  virtual OutQueue* output(StreamId stream) = 0;
  virtual void drained(StreamId stream) = 0;
  virtual void closed(StreamId stream) = 0;  // by the other side or an error
};

using MachineId = std::uint32_t;

// Told of every delivery, for pictures.
class MessageSink {
 public:
  virtual ~MessageSink() = default;
  virtual void message(MachineId from, MachineId to, Time sent, Time arrived, std::size_t bytes) = 0;
};

struct PathConfig {
  Time latency_min = microseconds(30), latency_max = microseconds(200);
  std::uint32_t ns_per_kilobyte = 1000;  // 1 GB/s
};

struct NetworkConfig {
  PathConfig path;
  std::size_t window = 256u << 10;
  std::uint32_t split_per_thousand = 30;  // deliveries cut short at an arbitrary byte
  std::uint32_t flip_per_million = 0;     // deliveries between nodes that flip one bit
  Time dial_timeout = seconds(2);
  bool late_resume = false;  // what was stalled waits for a retransmission
};

struct NetworkStats {
  std::uint64_t connections = 0, deliveries = 0, bytes = 0, flips = 0, resets = 0;
};

class Network {
 public:
  Network(EventQueue& events, Decisions& decisions, TraceHash& hash, NetworkConfig initial);

  MachineId add_machine();  // no process, powered
  // A machine's process begins (host) or ends (nullptr).
  void process_started(MachineId machine, Host* host);
  void process_died(MachineId machine);
  void power_lost(MachineId machine);  // the process died with it
  void power_back(MachineId machine);
  void pause(MachineId machine, Time until);
  // The direction from -> to stalls or flows again.
  void set_blocked(MachineId from, MachineId to, bool blocked);
  bool blocked(MachineId from, MachineId to) const { return paths_[from * machines_.size() + to].blocked; }
  void set_slow(MachineId from, MachineId to, std::uint32_t factor) {
    paths_[from * machines_.size() + to].slow = factor;
  }
  // From now on the direction carries so many kilobytes in a second; 0: as many as other paths.
  void set_narrow(MachineId from, MachineId to, std::uint32_t kb_per_second) {
    paths_[from * machines_.size() + to].kb_per_second = kb_per_second;
  }
  // Resets one connection of the machine, if it has any.
  bool reset_one(MachineId machine);

  // --- What a host asks for
  void dial(MachineId from, StreamId stream, MachineId to, Service service);
  void dial_nowhere(MachineId from, StreamId stream);  // an address that nobody has
  void send(MachineId from, StreamId stream);          // its output has bytes
  void close(MachineId from, StreamId stream);         // after what is queued
  void resume(MachineId machine, StreamId stream);     // its receive buffer has room again

  // True if the event was the network's.
  bool handle(const Event& event, Time now);
  void set_now(Time now) { now_ = now; }

  std::size_t connections() const { return used_; }
  std::size_t bytes_in_flight() const;
  void drop_everything();  // at the end of the world: gives every buffer back
  const NetworkStats& stats() const { return stats_; }

  NetworkConfig config;
  MessageSink* sink = nullptr;

 private:
  struct Chunk {
    Slice bytes;
    Time sent = 0, arrives = 0;
  };
  // From one end to the other.
  struct Direction {
    std::vector<Chunk> chunks;  // live from `first` on
    std::size_t first = 0;
    std::size_t in_flight = 0;       // bytes not yet acknowledged
    std::size_t unacknowledged = 0;  // taken by the receiver while the way back was blocked
    Time last_arrival = 0;
    Time resumes_at = 0;  // stalled until then
    Time fin_arrives = 0;
    bool fin = false;
    bool delivering = false;  // an event is on its way
    bool receiver_full = false;
    bool window_full = false;
    bool drained_coming = false;
  };
  struct End {
    MachineId machine = 0;
    StreamId stream = 0;
    bool attached = false;     // the process at this end knows the stream
    bool established = false;  // and may send
  };
  struct Connection {
    End end[2];  // 0 dialled
    Direction from[2];
    std::uint32_t serial = 0;
    Service service{};
    Time dialed_at = 0;
    bool used = false;
    bool accepted = false;
    bool dead[2] = {false, false};  // that end lost power: bytes to it vanish, and its machine resets when asked
  };
  struct Machine {
    Host* host = nullptr;
    bool powered = true;
    Time paused_until = 0;
    boost::container::flat_map<StreamId, std::uint32_t> streams;  // -> connection
  };
  struct Path {
    bool blocked = false;
    std::uint32_t slow = 1;
    std::uint32_t kb_per_second = 0;
    Time blocked_at = 0;
    Time free_at = 0;  // when what queues for it has left; while it is narrow
  };

  Connection* find(MachineId machine, StreamId stream, unsigned& side);
  Connection* live(const Event& event);
  std::uint32_t create(MachineId from, StreamId stream, MachineId to, Service service);
  void schedule(EventKind kind, Time at, std::uint32_t connection, unsigned c);
  Time latency(MachineId from, MachineId to);
  void pump(std::uint32_t id, unsigned side, bool everything);
  void deliver(std::uint32_t id, unsigned to);
  void schedule_delivery(std::uint32_t id, unsigned to);
  void acknowledge(std::uint32_t id, unsigned from, std::size_t bytes);
  void on_syn(std::uint32_t id);
  void on_dialed(std::uint32_t id, DialResult result);
  void finish(std::uint32_t id, unsigned side);  // that end sends no more: FIN or RST after what is under way
  void detach(std::uint32_t id, unsigned side);
  void release_if_over(std::uint32_t id);
  void vanish(std::uint32_t id, unsigned dead_side);
  bool paused(MachineId machine) const { return machines_[machine].paused_until > now_; }

  EventQueue& events_;
  Decisions& decisions_;
  TraceHash& hash_;
  std::vector<Machine> machines_;
  std::vector<Path> paths_;  // from * machines + to
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::uint32_t> free_;
  std::vector<Slice> scratch_;
  std::size_t used_ = 0;
  Time now_ = 0;
  NetworkStats stats_;
};

}  // namespace sd::sim
