// The client port of one node: all its sessions, and what each request means. Turns requests into reads of the cluster
// state, proposals and disk input and output, and those into answers. Pure; asynchronous by ticket.
//
// Promises:
// - Every request gets exactly one answer, unless its connection ends first.
// - Nothing is answered as done before the backend said that it is done.
// - What this version lacks is refused (no_support), never silently ignored.
// - What a request says of disks holds after everything that was answered anywhere before the request came. While
//   nobody can be asked what that is, the node lists what it knows, and changes nothing.
// - Sessions share the memory for requests and answers fairly (MemoryBudget): a request that there is no room for waits
//   its turn, and what its session sends meanwhile waits behind it. A client that neither takes its answers nor sends
//   the rest of a request, while others wait for memory, loses its connection after `patience`.
//
// Requests of proto_ver 0x10 are told in words why they failed (Failure); older ones get the code alone.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/payload.hpp"
#include "core/base/time.hpp"
#include "core/client/backend.hpp"
#include "core/client/cluster_check.hpp"
#include "core/client/memory_budget.hpp"
#include "core/client/session.hpp"
#include "core/client/vdi_locks.hpp"
#include "core/client/waiting.hpp"

namespace sd::client {

struct ServiceEffects {
  std::vector<StreamId> output;  // has something to send
  std::vector<StreamId> close;   // after its output is sent
  std::vector<StreamId> resume;  // receive_buffer is no longer empty
};

class Service {
 public:
  static constexpr std::size_t max_open_bytes = 256u << 20;  // over all sessions: of requests and answers
  static constexpr Time patience = seconds(10);
  static constexpr Time doubt_patience = seconds(2);
  static constexpr std::size_t least_progress = 64u << 10;  // bytes within that time

  explicit Service(BufferPool& pool, std::size_t memory = max_open_bytes) : pool_(pool), budget_(memory) {}

  void open(StreamId stream);  // not yet open
  std::span<std::byte> receive_buffer(StreamId stream);
  void on_received(Time now, StreamId stream, std::size_t n, Backend& backend, ServiceEffects& effects);
  OutQueue* output(StreamId stream);                          // nullptr if not open
  void on_drained(StreamId stream, ServiceEffects& effects);  // its output, all of it
  // Some request waits for what the node knows: look again whenever that may have changed.
  bool waits() const { return doubtful_ > 0; }
  void look_again(Time now, ServiceEffects& effects);
  // Closes those that keep memory from others and do nothing; on_received does so too. To be called each second.
  void on_time(Time now, ServiceEffects& effects);
  // Forgets it; results for its requests go nowhere.
  void on_closed(StreamId stream, Backend& backend, ServiceEffects& effects);
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
  struct Doubtful {  // a request that waits until the node knows what was decided before it came
    Session::Request request;
    Backend* backend = nullptr;
    Time since = 0;
  };
  struct Open {
    explicit Open(BufferPool& pool) : session(pool) {}
    Session session;
    std::optional<Doubtful> doubtful;
    std::optional<Parked> parked;
    bool stalled = false;  // the driver has been given an empty buffer, or would be
    bool closing = false;
    std::uint64_t moved = 0;  // the session's count when it last made progress, while others wait for memory ...
    Time idle = 0;            // ... and how long it has kept us waiting since
  };
  friend struct Call;  // a request being answered; requests.hpp

  void answer(StreamId stream, Session::Slot slot, const ResponseResult& result, ServiceEffects& effects);
  void answer_data(StreamId stream, Session::Slot slot, Payload data, ServiceEffects& effects);
  void fail(StreamId stream, Session::Slot slot, SdError error, const std::string& message, ServiceEffects& effects);
  void go_on(StreamId stream, Open& open, Session::Request&& request, Backend& backend, ServiceEffects& effects);
  void begin(StreamId stream, Session::Request& request, Backend& backend, ServiceEffects& effects);
  std::uint64_t zero_on(Waiting& waiting, Backend& backend);  // the next step of a long discard: its ticket, or 0
  void answer_io(const Waiting& waiting, Payload data, ServiceEffects& effects);
  void answer_check(const Waiting& waiting, const Payload& data, ServiceEffects& effects);
  void close(StreamId stream, Open& open, ServiceEffects& effects);
  bool readable(StreamId stream, const Open& open) const;
  void settle(StreamId stream, Open& open, ServiceEffects& effects);
  void account(StreamId stream, const Open& open);  // after anything that may change what the session holds
  void serve(ServiceEffects& effects);              // after anything that may have freed memory, and a new want

  BufferPool& pool_;
  std::map<StreamId, Open> sessions_;
  std::map<std::uint64_t, Waiting> proposals_, ios_;
  std::map<std::uint64_t, std::size_t> abandoned_ios_;  // of sessions that are gone: what they hold until they end
  VdiLocks locks_;
  MemoryBudget budget_;
  bool full_ = false;      // the budget was used up when somebody wanted to begin a frame
  bool watching_ = false;  // somebody waits for memory
  Time last_look_ = 0;     // at those that keep it, while watching
  std::size_t doubtful_ = 0;
};

}  // namespace sd::client
