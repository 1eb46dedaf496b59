// The client port of one node: all its sessions, and what each request means. Turns requests into reads of the cluster
// state, proposals and disk input and output, and those into answers. Pure; asynchronous by ticket.
//
// Promises:
// - Every request gets exactly one answer, unless its connection ends first.
// - Nothing is answered as done before the backend said that it is done.
// - What this version lacks is refused (no_support), never silently ignored.
// - Sessions share the memory for requests and answers fairly (MemoryBudget): a request that there is no room for waits
//   its turn, and what its session sends meanwhile waits behind it. A client that neither takes its answers nor sends
//   the rest of a request, while others wait for memory, loses its connection after `patience`.
//
// Requests of proto_ver 0x10 are told in words why they failed (Failure); older ones get the code alone.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/payload.hpp"
#include "core/base/random.hpp"
#include "core/base/time.hpp"
#include "core/client/memory_budget.hpp"
#include "core/client/node_status.hpp"
#include "core/client/session.hpp"
#include "core/cluster/state.hpp"

namespace sd::client {

struct IoRequest {
  enum class Kind : std::uint8_t { read, write, zero, flush, check } kind = Kind::read;
  Vid vid = 0;
  std::uint64_t offset = 0;  // the range lies inside the VDI; may cross objects
  std::uint32_t length = 0;  // not 0, except for flush; at most max_io for reads and writes; of a check: objects
  bool fua = false;
  Payload data;  // of a write: `length` bytes
};

// What the service asks of its node. No call calls back into the service; results come later, by ticket. Ticket 0 is a
// refusal: too busy. It outlives the sessions of the service: a request that waits for memory is put to it later.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const cluster::State& state() const = 0;
  virtual NodeStatus status() const = 0;
  virtual std::uint8_t default_copies() const = 0;               // NodeOptions::default_copies
  virtual std::uint64_t propose(cluster::CommandBody body) = 0;  // then Service::on_proposed
  virtual std::uint64_t io(IoRequest request) = 0;               // then Service::on_io
  virtual Random& random() = 0;
  // For an operator who has lost the majority of the voters for good: this node goes on alone. Empty, or why not.
  virtual std::string force_new_configuration() { return "not possible here"; }
  virtual std::vector<NodeId> voters() const { return {}; }                       // of the cluster log
  virtual std::vector<NodeId> unreachable_voters() const { return {}; }           // while there is no leader
  virtual std::string name_of(NodeId id) const { return "node " + id_text(id); }  // its address, if that is known
};

struct ServiceEffects {
  std::vector<StreamId> output;  // has something to send
  std::vector<StreamId> close;   // after its output is sent
  std::vector<StreamId> resume;  // receive_buffer is no longer empty
};

class Service {
 public:
  static constexpr std::size_t max_open_bytes = 256u << 20;  // over all sessions: of requests and answers
  static constexpr Time patience = seconds(10);
  static constexpr std::size_t least_progress = 64u << 10;  // bytes within that time

  explicit Service(BufferPool& pool, std::size_t memory = max_open_bytes) : pool_(pool), budget_(memory) {}

  void open(StreamId stream);  // not yet open
  std::span<std::byte> receive_buffer(StreamId stream);
  void on_received(Time now, StreamId stream, std::size_t n, Backend& backend, ServiceEffects& effects);
  OutQueue* output(StreamId stream);                          // nullptr if not open
  void on_drained(StreamId stream, ServiceEffects& effects);  // its output, all of it
  // Closes those that keep memory from others and do nothing; on_received does so too. To be called each second.
  void on_time(Time now, ServiceEffects& effects);
  void on_closed(StreamId stream, ServiceEffects& effects);  // forgets it; results for its requests go nowhere
  void on_proposed(std::uint64_t ticket, const cluster::Result& result, Backend& backend, ServiceEffects& effects);
  void on_io(std::uint64_t ticket, Status status, Payload data, Backend& backend, ServiceEffects& effects);

  std::size_t sessions() const { return sessions_.size(); }
  bool has(StreamId stream) const { return sessions_.contains(stream); }
  void check_invariants() const;

 private:
  struct Parked {  // a request that waits for the memory of its answer
    Session::Request request;
    Backend* backend = nullptr;
  };
  struct Open {
    explicit Open(BufferPool& pool) : session(pool) {}
    Session session;
    std::optional<Parked> parked;
    bool stalled = false;  // the driver has been given an empty buffer, or would be
    bool closing = false;
    std::uint64_t moved = 0;  // the session's count when it last made progress, while others wait for memory ...
    Time idle = 0;            // ... and how long it has kept us waiting since
  };
  struct Waiting {  // for a ticket
    enum class Answer : std::uint8_t { success, data, obj, vdi, check };
    StreamId stream = 0;
    Session::Slot slot = 0;
    Answer answer = Answer::success;
    std::uint8_t copies = 0;        // obj, vdi
    std::uint32_t offset = 0;       // obj
    std::uint32_t length = 0;       // data: that the backend gives
    std::uint32_t padding = 0;      // data: zeros to add
    IoRequest rest;                 // zero: from here on ...
    std::uint64_t rest_length = 0;  // ... so much is still to be done
    std::uint64_t objects = 0;      // check: of the disk
    std::string what;               // for messages: what failed
  };
  struct Call;  // one request being worked on
  friend struct Call;

  void answer(StreamId stream, Session::Slot slot, const ResponseResult& result, ServiceEffects& effects);
  void answer_data(StreamId stream, Session::Slot slot, Payload data, ServiceEffects& effects);
  void fail(StreamId stream, Session::Slot slot, SdError error, const std::string& message, ServiceEffects& effects);
  void perform(StreamId stream, Open& open, Session::Request& request, Backend& backend, ServiceEffects& effects);
  void close(StreamId stream, Open& open, ServiceEffects& effects);
  bool readable(StreamId stream, const Open& open) const;
  void settle(StreamId stream, Open& open, ServiceEffects& effects);
  void account(StreamId stream, const Open& open);  // after anything that may change what the session holds
  void serve(ServiceEffects& effects);              // after anything that may have freed memory, and a new want

  BufferPool& pool_;
  std::map<StreamId, Open> sessions_;
  std::map<std::uint64_t, Waiting> proposals_, ios_;
  std::map<std::uint64_t, std::size_t> abandoned_ios_;  // of sessions that are gone: what they hold until they end
  // LockVdi: 0 exclusive, else shared; known to this node alone, as in the reference
  std::map<Vid, std::uint32_t> locks_;
  MemoryBudget budget_;
  bool full_ = false;      // the budget was used up when somebody wanted to begin a frame
  bool watching_ = false;  // somebody waits for memory
  Time last_look_ = 0;     // at those that keep it, while watching
};

// At most so many bytes of answer does a request need memory for before it is begun. 0: its answer is small.
std::size_t answer_size(const SdRequest& request, const cluster::State& state);

// What is wrong with the cluster as this node sees it.
CheckReport check_cluster(const cluster::State& state, const NodeStatus& status);

}  // namespace sd::client
