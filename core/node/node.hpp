// One sheep: every machine composed, and the whole of what a driver sees. The simulator and the production runtime
// drive this class and nothing else.
//
// The driver owns time, byte streams and disks:
// - Streams: the driver accepts connections on three services and dials where `Effects::dial` says; each connection is
//   a StreamId of the node's choosing. Bytes in: ask `receive_buffer` where the next bytes go, fill some of it, say
//   `on_received`; an empty buffer means do not read until `Effects::resume` names the stream. Bytes out: when
//   `Effects::output` names a stream, send from `output(stream)` and `consume` what was sent; go on whenever the
//   connection takes more until the queue is empty, then say `on_drained`. Ask for the queue anew each time: that is
//   when a node decides what goes next to another node, and only what it has not handed over can be overtaken.
// - Disks: perform `Effects::disk` under the contract of core/disk/disk.hpp, hand each result to `on_disk`.
// - Time: call `tick` at `next_deadline()` or soon after; earlier or spurious calls are harmless.
// Every call appends to the Effects it is given; perform them, in the order disk, dial, output, close, resume, before
// or after the next call as you like. Calls never block and never throw; nothing is re-entrant.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/dial_result.hpp"
#include "core/base/ids.hpp"
#include "core/base/stream_handler.hpp"
#include "core/base/time.hpp"
#include "core/client/node_status.hpp"
#include "core/cluster/state.hpp"
#include "core/disk/disk.hpp"
#include "core/peer/message.hpp"

namespace sd {

enum class Service : std::uint8_t { peer, nbd, client };

struct Effects : StreamEffects {
  std::vector<DiskOp> disk;
  void clear();
};

// Bounds of tables and queues. The simulator draws them small: then what happens at a bound happens all the time.
struct NodeLimits {
  std::size_t known_objects = 16384;           // of each disk, at its owner
  std::size_t writes_per_object = max_recent;  // under way; more could not be remembered
  std::uint32_t batch_records = 256;           // of the journal, at least 4
  std::uint32_t batches_in_flight = 2;
  std::uint32_t disk_ops = 32;            // in flight, of one write-back
  std::uint32_t dirty_objects = 4096;     // changed since the last checkpoint, at least 2
  std::size_t snapshot_threshold = 1000;  // entries of the cluster's log

  static void fields(auto& l, auto&& f) {
    f("known_objects", l.known_objects);
    f("writes_per_object", l.writes_per_object);
    f("batch_records", l.batch_records);
    f("batches_in_flight", l.batches_in_flight);
    f("disk_ops", l.disk_ops);
    f("dirty_objects", l.dirty_objects);
    f("snapshot_threshold", l.snapshot_threshold);
  }
};

struct NodeOptions {
  Endpoint address;  // advertised client endpoint; the peer port is one above
  // client endpoints of other nodes; empty: a node with an empty directory starts a cluster of its own
  std::vector<Endpoint> seeds;
  bool local_only = false;  // --cluster-driver local: a cluster of this node alone
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 128;             // 0: gateway only
  bool witness = false;                   // votes and does nothing else; vnodes is 0
  std::uint8_t default_copies = 0;        // for a format that names none; 0: as many as nodes, at most 3
  Time lease = seconds(3);                // how long a member may serve after its last word with the leader
  Time lease_margin = milliseconds(500);  // allowed clock drift over one lease; a removal waits this much longer
  // a voter that is down for longer gives its vote to another member, if there is one
  Time voter_patience = seconds(10);
  Time raft_heartbeat = milliseconds(100);
  Time election_timeout_min = milliseconds(500), election_timeout_max = milliseconds(1000);
  Time disk_patience = seconds(20);  // a disk that does not answer for so long counts as failed
  std::uint64_t journal_bytes = 256u << 20;
  std::uint64_t apply_bytes = 32u << 20;       // unapplied journal data that starts a write-back
  std::uint64_t max_dirty_bytes = 96u << 20;   // bound of memory held by unapplied writes
  std::uint64_t reserve_bytes = 64u << 20;     // free space below which writes that allocate are refused
  std::size_t remembered_writes = max_recent;  // to each object, by whose they were
  std::size_t meta_cache = 2048;               // objects whose checksums stay in memory
  std::size_t max_streams = 4096;
  NodeLimits limits;
  // bytes of bulk committed to a peer's connection; what is more urgent waits behind them
  std::size_t send_ahead = 128u << 10;
  std::uint32_t nbd_preferred_block = 4096;
  std::uint64_t scrub_rate = 8u << 20;        // bytes per second; 0: no scrub
  Time scrub_every = seconds(7 * 24 * 3600);  // from the beginning of one pass to that of the next
};

class Node {
 public:
  // The pool must outlive the node. `random_seed` decides everything random in this incarnation.
  Node(NodeOptions options, BufferPool& pool, std::uint64_t random_seed);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void start(Time now, Effects& effects);  // once, first
  void tick(Time now, Effects& effects);
  Time next_deadline() const;
  void on_disk(Time now, DiskDone&& done, Effects& effects);
  // of the data directory's file system; say it every second or so
  void set_space(std::uint64_t free_bytes, std::uint64_t total_bytes);
  // How long the oldest disk operation that is under way has been; 0: none is. Say it every second or so.
  void set_disk_delay(Time now, Time oldest, Effects& effects);

  StreamId on_accept(Time now, Service service, Effects& effects);  // 0: refused, too many; close it
  void on_dialed(Time now, StreamId stream, DialResult result, Effects& effects);
  std::span<std::byte> receive_buffer(StreamId stream);
  void on_received(Time now, StreamId stream, std::size_t bytes, Effects& effects);
  OutQueue* output(StreamId stream);  // nullptr once the node has closed it
  void on_drained(Time now, StreamId stream, Effects& effects);
  void on_closed(Time now, StreamId stream, Effects& effects);  // by the other side or by an error; forgets the stream

  // Clean stop: finishes what is in flight, flushes, tells the others that it leaves. `stopped` says when to exit.
  void stop(Time now, Effects& effects);
  bool stopped() const;
  // A reason to end the process at once (identity file unreadable, log damaged, disk failed); empty if none.
  const std::string& fatal() const;

  // What an operator orders through the client port, for drivers that have none at hand; repeated until it is done or
  // 30 s have passed. False: too busy, or not running yet.
  bool order(Time now, cluster::CommandBody body, Effects& effects);

  // For an operator who has lost the majority of the voters for good: this node goes on alone, under a new log. Empty,
  // or why not.
  std::string found_anew(Time now, Effects& effects);

  NodeStatus status(Time now) const;
  const cluster::State& state() const;

 private:
  friend class NodeInvariants;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sd
