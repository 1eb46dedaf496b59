// The inside of Node, shared by its source files:
//   node.cpp        life, time, and the driver's calls
//   node_route.cpp  carries effects from machine to machine, and messages to whom they concern
//   node_status.cpp what operators, checkers and fronts ask
#pragma once
#include <memory>

#include "core/background/collector.hpp"
#include "core/background/purge.hpp"
#include "core/background/scrub.hpp"
#include "core/base/random.hpp"
#include "core/base/slot_table.hpp"
#include "core/cluster/placement.hpp"
#include "core/control/control_plane.hpp"
#include "core/front/client_front.hpp"
#include "core/front/nbd_front.hpp"
#include "core/gateway/gateway.hpp"
#include "core/member/replica.hpp"
#include "core/node/disk_watch.hpp"
#include "core/node/node.hpp"
#include "core/node/peers.hpp"
#include "core/store/store.hpp"

namespace sd {

struct Node::Impl final : client::Backend, front::Host, Peers::Sink {
  Impl(NodeOptions options_, BufferPool& pool_, std::uint64_t seed);

  enum class Phase : std::uint8_t {
    identity,  // its file is read and written
    opening,   // the log and the store read their files
    running,
    leaving,   // asks to be taken out of the cluster
    flushing,  // makes durable what it holds
    stopped,
  };

  struct Counters {
    std::uint64_t reads = 0, writes = 0, flushes = 0, read_bytes = 0, write_bytes = 0;
    void count(const IoRequest& io);
  };

  // What is being carried from one machine to another; kept for its memory.
  struct Carried {
    std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;
    std::vector<std::pair<NodeId, peer::ObjectReply>> replies;
    std::vector<IoDone> done;
    std::vector<cluster::CommandBody> commands;
    std::vector<control::Proposals::Outcome> outcomes;
  };

  // --- node.cpp
  void on_identity_disk(Time now, DiskDone&& done, Effects& fx);
  void open_machines(Time now, Effects& fx);
  void maybe_run(Time now);
  void on_disk(Time now, DiskDone&& done, Effects& fx);
  void tick(Time now, Effects& fx);
  void tell_missing_leader(Time now, Effects& fx);
  void work_in_background(Time now);
  void scrub(Time now);
  void purge_deleted(Time now);
  Time next_deadline() const;
  void stop(Time now, Effects& fx);
  void begin_flush(Time now);
  void advance_stop(Time now);
  void fail(std::string reason, Effects& fx);
  void log(StreamEffects& fx, LogLine::Level level, std::string text) { fx.log.push_back({level, std::move(text)}); }

  // --- node_route.cpp
  void begin(Time now, Effects& fx);
  void settle(Time now, Effects& fx);
  void settle_control(Time now, Effects& fx);
  void take_control_effects(Time now, Effects& fx);
  void state_changed(Time now, Effects& fx);
  void refresh(Time now, Effects& fx);
  bool carry_requests(Time now);
  bool carry_replies(Time now);
  bool carry_answers(Time now, Effects& fx);
  void send_object_requests(Time now);
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply);
  void hand_out(Time now, Effects& fx);
  // Peers::Sink
  void on_message(Time now, const peer::Hello& from, peer::Message&& message, StreamEffects& fx) override;

  // --- node_status.cpp
  NodeStatus status_at(Time now) const;
  std::string trouble_at(Time now) const;
  RecoveryStatus recovery_at(Time now) const;
  // client::Backend and front::Host
  const cluster::State& state() const override { return control.state(); }
  NodeStatus status() const override { return status_at(now_); }
  std::uint8_t default_copies() const override { return options.default_copies; }
  std::uint64_t propose(cluster::CommandBody body) override { return control.propose(now_, std::move(body)); }
  void forget_proposal(std::uint64_t number) override { control.forget_proposal(number); }
  std::uint64_t io(client::IoRequest request) override;
  Random& random() override { return rng; }
  std::vector<NodeId> voters() const override;
  std::vector<NodeId> unreachable_voters() const override { return control.unreachable_voters(); }
  std::string name_of(NodeId node) const override { return control.name_of(node); }
  std::string force_new_configuration() override { return control.force_new_configuration(now_, rng); }
  bool is_current(Time since) override;
  bool knows_disks(Time since) override;
  std::uint64_t submit(const front::Ticket& ticket, IoRequest&& io) override;
  void abandon(const front::Front& front, StreamId stream) override;

  // --- What it is
  NodeOptions options;
  BufferPool& pool;
  Random rng;
  Phase phase = Phase::identity;
  std::string fatal;
  Time now_ = 0;  // of the call under way, for the backend's calls

  // --- Machines
  control::Identity identity;
  Purge purge;
  peer::Outbox outbox;
  StreamTable streams;
  Peers peers;
  control::ControlPlane control;
  std::unique_ptr<Store> store;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<Gateway> gateway;
  std::unique_ptr<Collector> collector;
  cluster::Placement placement;
  front::NbdFront nbd;
  front::ClientFront clients;
  Scrub scrubbing;
  DiskWatch disk_watch;

  // --- Between machines
  ReplicaEffects replica_fx;
  GatewayEffects gateway_fx;
  Collector::Requests collector_fx;
  Carried carried;
  SlotTable<front::Ticket> tickets;

  // --- What it remembers itself
  bool serving = false;
  Time housekeeping_at = 0;
  Time leave_deadline = never;
  Epoch seen_epoch = 0;
  std::uint64_t seen_epoch_index = 0;
  std::uint64_t space_free = UINT64_MAX, space_total = 0;
  Counters counters;
};

}  // namespace sd
