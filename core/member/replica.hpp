// A member's side of replication: answers owners about the objects it holds, and copies from another member what it
// lacks.
//
// Promises:
// - A request of a superseded generation is refused, one of a generation this node has not heard of yet waits for the
//   cluster log. Answering a generation therefore fences every lower one, without any state of its own: the number
//   comes from the replicated cluster state.
// - Writes of an object take effect in the owner's order only (the store checks each against the version before it), so
//   what a member holds is always a prefix of the owner's history.
// - A pull leaves the object either as it was, marked incomplete, or equal to its source at the named version, but for
//   blocks which are damaged at the source and at every other member that was named, and here: those are known to be
//   lost, and reads of them say so.
// - A damaged block is replaced only by bytes that match its checksum, whoever has them (search.hpp).
// - An object older than its VDI's creation is the leftover of a deleted VDI: it is removed when met and never shown.
//
// The replica itself lets requests in, and hands each answer to the job that it belongs to: a request that is served
// (server.hpp), a pull (pull.hpp) or a repair (repair.hpp).
#pragma once
#include <string>
#include <vector>

#include "core/member/context.hpp"
#include "core/member/copying.hpp"
#include "core/member/server.hpp"

namespace sd {

class Replica {
 public:
  Replica(NodeId self, BufferPool& pool, Store& store, const cluster::State& state);

  // `member`: this node is up in the cluster state, in this incarnation.
  void on_request(Time now, NodeId from, peer::ObjectRequest&& request, bool member, ReplicaEffects& out);
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply, ReplicaEffects& out);
  // The store's answers are in out.store.done; call after everything that drove the store.
  void on_store(Time now, ReplicaEffects& out);
  // The cluster state moved on.
  // Something that was asked of that disk is under way, and may store an object yet.
  bool works_on(Vid vid) const;
  void on_state(Time now, bool member, ReplicaEffects& out);
  void tick(Time now, ReplicaEffects& out);
  Time next_deadline() const;
  void set_full(bool full) { context_.full = full; }
  std::size_t under_way() const { return context_.jobs.size(); }
  std::size_t pulling() const { return context_.copying.size(); }
  const ReplicaStats& stats() const { return context_.stats; }
  // Objects with blocks that no member had, as they were last read from end to end.
  std::size_t unreadable() const { return context_.unreadable.size(); }
  const Throttle& throttle() const { return context_.throttle; }
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  using Request = peer::ObjectRequest;
  using Reply = peer::ObjectReply;
  using Copying = member_detail::Copying;

  // Requests of generations that this node has not heard of. Their senders repeat what is dropped.
  struct Parked {
    std::vector<std::pair<NodeId, Request>> requests;
    std::size_t bytes = 0;
  };

  void enter(Time now, ReplicaEffects& out);
  void admit(NodeId from, Request&& request, bool member);
  void park(NodeId from, Request&& request, std::uint64_t current);
  void start_copying(NodeId from, Request&& request);
  bool joins_other(NodeId from, const Request& request);
  void settle();
  void on_store_done(StoreDone&& done);
  Copying* copying(std::uint64_t id);
  const Copying* copying(std::uint64_t id) const;
  // Carries out what a pull or repair has come to.
  void act(std::uint64_t id, Copying::Next next);
  void go_on_as_repair(std::uint64_t id);

  member_detail::Context context_;
  member_detail::Server server_;
  Parked parked_;
  Time next_tick_ = 0;
  std::vector<StoreDone> batch_;
};

}  // namespace sd
