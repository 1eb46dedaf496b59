// A member of the small data plane (sim/data_plane.hpp): takes requests about objects, and answers each in its own
// time.
//
// StoredMember is the real one: a Replica on a Store on a disk that keeps its contract at its worst.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/random.hpp"
#include "core/cluster/state.hpp"
#include "core/member/replica.hpp"
#include "core/peer/message.hpp"
#include "core/store/memory_disk.hpp"
#include "core/store/store_invariants.hpp"

namespace sd::sim {

class DataMember {
 public:
  virtual ~DataMember() = default;

  // A new process, which finds what the disk kept.
  virtual void start(Time now) = 0;
  // The process ends; `power`: and what is not synced may be lost.
  virtual void stop(bool power) = 0;

  virtual void on_request(Time now, NodeId from, peer::ObjectRequest&& request, bool member) = 0;
  virtual void on_reply(Time now, NodeId from, peer::ObjectReply&& reply) = 0;
  virtual void on_state(Time now, bool member) = 0;
  virtual void tick(Time now) = 0;
  // Moves what it has done to `replies` and `requests`. True if there is more to move.
  virtual bool settle(Time now) = 0;

  // Work under way, any part of which may end next.
  virtual bool busy() const = 0;
  virtual void step(Time now) = 0;
  virtual bool failed() const = 0;
  // Names an invariant that does not hold; empty if all do.
  virtual std::string check_state() = 0;

  virtual void set_room(bool room) = 0;
  // Damages some stored block, if it finds one.
  virtual void damage(Random& random, const std::vector<std::pair<Oid, std::uint32_t>>& blocks) = 0;

  std::vector<std::pair<NodeId, peer::ObjectReply>> replies;
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;
};

class StoredMember final : public DataMember {
 public:
  struct Options {
    StoreOptions store;
  };
  // The state is the node's; it outlives this.
  StoredMember(NodeId id, BufferPool& pool, const cluster::State& state, std::uint64_t seed, const Options& options);
  ~StoredMember() override;

  void start(Time now) override;
  void stop(bool power) override;
  void on_request(Time now, NodeId from, peer::ObjectRequest&& request, bool member) override;
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply) override;
  void on_state(Time now, bool member) override;
  void tick(Time now) override;
  bool settle(Time now) override;
  bool busy() const override { return disk_.in_flight() > 0; }
  void step(Time now) override;
  bool failed() const override { return store_->failed(); }
  std::string check_state() override;
  void set_room(bool room) override;
  void damage(Random& random, const std::vector<std::pair<Oid, std::uint32_t>>& blocks) override;

 private:
  void submit();

  NodeId id_;
  BufferPool& pool_;
  const cluster::State& state_;
  Options options_;
  Random random_;
  testing::MemoryDisk disk_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Replica> replica_;
  ReplicaEffects fx_;
  std::optional<StoreObservation> seen_;  // of this incarnation's store
};

}  // namespace sd::sim
