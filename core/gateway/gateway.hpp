// Where clients' requests enter: finds the owner of each disk, serves the disks that this node owns, forwards the rest,
// and keeps every request until it is answered, through changes of owner and epoch.
//
// Promises:
// - Each request is answered once. It waits while the node holds no lease, while the disk has no owner, and while its
//   owner is away.
// - A forwarded write takes effect at most once at one owner, however often its message is repeated or delayed.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/volume/volume.hpp"

namespace sd {

struct GatewayEffects {
  VolumeEffects volume;  // volume.requests: to members, also to this node itself
  std::vector<std::pair<NodeId, peer::Message>> messages;
  std::vector<IoDone> done;
  std::vector<cluster::CommandBody> proposals;  // may be repeated; nobody waits for the outcome
};

class Gateway {
 public:
  Gateway(NodeId self, Incarnation incarnation, BufferPool& pool, const cluster::State& state,
          const cluster::Placement& placement, const replication::Limits& limits = {});

  // done: ok, io_error, no_space, not_found (no such disk), invalid (outside the disk), unavailable (gave up).
  void submit(Time now, std::uint64_t ticket, IoRequest&& request, GatewayEffects& out);
  // Whoever asked is gone. What has not been started is not started any more, and what was is not repeated to another
  // owner: its client may write the same place through another gateway.
  void abandon(std::uint64_t ticket, GatewayEffects& out);
  void on_request(Time now, NodeId from, peer::GatewayRequest&& request, GatewayEffects& out);
  void on_reply(Time now, NodeId from, peer::GatewayReply&& reply, GatewayEffects& out);
  void on_object_reply(Time now, NodeId from, peer::ObjectReply&& reply, GatewayEffects& out);
  void on_lost_copy(Time now, const peer::ObjectRequest& request, GatewayEffects& out);
  void on_state(Time now, GatewayEffects& out);
  void set_serving(Time now, bool serving, GatewayEffects& out);
  void tick(Time now, GatewayEffects& out);
  Time next_deadline() const;

  // Sweeps the disks that this node owns, and takes those that nobody owns if `adopt`. True when all owned ones are
  // redundant in the current generation.
  bool recover(Time now, std::size_t budget, bool adopt, GatewayEffects& out);

  // Of all disks that this node owns, together.
  SweepProgress sweep() const;

  std::size_t under_way() const { return pending_.size(); }
  std::size_t volumes() const { return volumes_.size(); }
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  struct Pending {
    enum class Where : std::uint8_t { waiting, volume, forwarded };
    std::uint64_t ticket = 0;  // of a request from this node's fronts ...
    NodeId from = 0;           // ... or the gateway that forwarded it
    std::uint64_t from_id = 0;
    IoRequest request;
    Where where = Where::waiting;
    NodeId sent_to = 0;
    std::uint64_t number = 0;  // of a forwarded request
    Time sent = 0;
    bool abandoned = false;
  };
  // What is known of another gateway's requests.
  struct Forwarder {
    std::uint64_t oldest = 0;
    std::map<std::uint64_t, std::pair<bool, Status>> known;  // answered?, how
  };

  void route(Time now, std::uint64_t id, GatewayEffects& out);
  void forward(Time now, std::uint64_t id, Pending& pending, NodeId owner, GatewayEffects& out);
  void finish(Time now, std::uint64_t id, Status status, Payload&& payload, GatewayEffects& out);
  void collect(Time now, GatewayEffects& out);
  Volume& volume(Time now, Vid vid, GatewayEffects& out);
  void route_waiting(Time now, GatewayEffects& out);

  NodeId self_;
  BufferPool& pool_;
  const cluster::State& state_;
  const cluster::Placement& placement_;
  replication::Limits limits_;
  bool serving_ = false;
  std::map<Vid, std::unique_ptr<Volume>> volumes_;
  SlotTable<Pending> pending_;
  std::set<std::uint64_t> waiting_;                   // pending ids, by id
  std::map<std::uint64_t, std::uint64_t> forwarded_;  // number -> pending id
  std::uint64_t next_number_;
  std::map<NodeId, Forwarder> forwarders_;
  std::map<Vid, Time> asked_;  // ownership
  Time next_tick_ = 0;
  std::vector<IoDone> batch_;
};

}  // namespace sd
