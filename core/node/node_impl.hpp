// The inside of Node, shared by its source files:
//   node.cpp          life: identity, start, stop, and `settle`, which carries effects from machine to machine
//   node_cluster.cpp  the log, leases, joining, proposals, recovery
//   node_members.cpp  what a leader does about members that come and go, and voters
//   node_peers.cpp    connections to other nodes, and messages
//   node_fronts.cpp   NBD and the client port
#pragma once
#include <map>
#include <memory>
#include <set>

#include "core/background/collector.hpp"
#include "core/background/purge.hpp"
#include "core/background/scrub.hpp"
#include "core/base/random.hpp"
#include "core/base/slot_table.hpp"
#include "core/client/service.hpp"
#include "core/cluster/placement.hpp"
#include "core/control/leadership.hpp"
#include "core/gateway/gateway.hpp"
#include "core/member/replica.hpp"
#include "core/nbd/session.hpp"
#include "core/node/node.hpp"
#include "core/peer/links.hpp"
#include "core/raft/raft.hpp"
#include "core/store/store.hpp"

namespace sd {

// Incarnations that the identity file keeps, of which a slot is one block.
inline constexpr std::size_t max_kept_incarnations = 400;
static_assert(4 + 4 + 8 + 8 + 4 + 8 * max_kept_incarnations + 4 <= limits::block_size);

struct Node::Impl final : client::Backend {
  Impl(NodeOptions options_, BufferPool& pool_, std::uint64_t seed);

  enum class Phase : std::uint8_t {
    reading_identity,
    writing_identity,
    opening,  // the log and the store read their files
    running,
    leaving,   // asks to be taken out of the cluster
    flushing,  // makes durable what it holds
    stopped,
  };

  struct Stream {
    enum class Kind : std::uint8_t { out_link, in_link, nbd, client };
    Kind kind{};
    bool stalled = false;  // the driver was given an empty buffer
    Endpoint to;           // out_link
    std::unique_ptr<InLink> in;
    std::unique_ptr<nbd::Session> nbd;
    std::string wanted_export;  // nbd: being looked up ...
    Time export_deadline = 0;   // ... until then; 0: not
  };

  // Carries the links to other nodes on the driver's streams.
  struct LinkTransport final : Links::Transport {
    explicit LinkTransport(Impl& n) : node(n) {}
    StreamId dial(const Endpoint& to) override;
    void close(StreamId stream) override;
    void output(StreamId stream) override;
    void hello(Incarnation asked_for, std::string& out) const override;
    void log(std::string text) override;
    Impl& node;
    Effects* fx = nullptr;  // of the call under way
  };

  // Counts each kind, since there may be many and somebody always asks.
  class Streams {
   public:
    using Map = std::map<StreamId, Stream>;
    void emplace(StreamId number, Stream&& stream) {
      ++counts_[static_cast<std::size_t>(stream.kind)];
      map_.emplace(number, std::move(stream));
    }
    void erase(Map::iterator at) {
      --counts_[static_cast<std::size_t>(at->second.kind)];
      map_.erase(at);
    }
    void erase(StreamId number) {
      if (const auto at = map_.find(number); at != map_.end()) erase(at);
    }
    std::uint32_t count(Stream::Kind kind) const { return counts_[static_cast<std::size_t>(kind)]; }
    Map::iterator find(StreamId number) { return map_.find(number); }
    Stream& at(StreamId number) { return map_.at(number); }
    Map::iterator begin() { return map_.begin(); }
    Map::iterator end() { return map_.end(); }
    std::size_t size() const { return map_.size(); }

   private:
    Map map_;
    std::uint32_t counts_[4] = {};
  };

  // A request of a front, at the gateway.
  struct Ticket {
    enum class Front : std::uint8_t { nbd, client };
    Front front{};
    StreamId stream = 0;
    std::uint64_t id = 0;  // of the session
    IoRequest::Kind kind{};
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
  };

  struct Proposal {
    std::string command;
    Time send_at = 0, deadline = 0;
  };

  // --- node.cpp
  void start(Time now, Effects& fx);
  void on_identity_disk(Time now, DiskDone&& done, Effects& fx);
  void write_identity(Effects& fx);
  void open_machines(Time now, Effects& fx);
  void maybe_run(Time now);
  void on_disk(Time now, DiskDone&& done, Effects& fx);
  void tick(Time now, Effects& fx);
  Time next_deadline() const;
  void settle(Time now, Effects& fx);
  void stop(Time now, Effects& fx);
  void begin_flush(Time now);
  void advance_stop(Time now);
  void fail(std::string reason, Effects& fx);
  void log(Effects& fx, LogLine::Level level, std::string text) { fx.log.push_back({level, std::move(text)}); }

  // --- node_cluster.cpp
  void settle_raft(Time now, Effects& fx);
  void apply(Time now, raft::Entry& entry, Effects& fx);
  void state_changed(Time now, Effects& fx);
  void refresh(Time now, Effects& fx);
  bool may_serve(Time now) const;
  void note_election(Time now, Effects& fx);
  void lead(Time now, Effects& fx);
  bool may_grant(Time now, NodeId to, Incarnation incarnation) const;
  void ask_for_lease(Time now);
  void read_log();
  void ask_to_join(Time now);
  void on_join_request(Time now, peer::JoinRequest request);
  void propose_untracked(Time now, cluster::CommandBody body);
  void send_proposals(Time now);
  void check_proposals(Time now);
  void recover(Time now);
  // --- node_recovery.cpp
  void recover_in_background(Time now);
  void scrub(Time now);
  void fill_recovery_status(Time now, NodeStatus& status) const;
  void send_object_requests(Time now, std::vector<std::pair<NodeId, peer::ObjectRequest>>& requests);
  void mark_clean(Time now);
  void purge_deleted(Time now);

  // --- node_members.cpp
  void note_leader(Time now, Effects& fx);
  void note_gone(Time now, const Endpoint& peer);
  bool holds_log(NodeId node) const;
  bool hears(Time now, NodeId node) const;
  void manage_voters(Time now);
  void remove_silent(Time now, Effects& fx);
  void expel_absent(Time now, Effects& fx);
  void forget_gone(Time now, Effects& fx);
  void forget_strangers(Time now, Effects& fx);
  bool hand_over(Time now);
  bool leads() const { return leadership && raft->is_leader() && leadership->term() == raft->term(); }
  void found_anew(Time now, Effects& fx);
  bool adopts() const;
  control::Leadership::Elected elected() const;

  // --- node_peers.cpp
  void send(Time now, NodeId to, const peer::Message& message, Effects& fx);
  void send_to(Time now, const Endpoint& to, const peer::Message& message, Effects& fx);
  std::optional<Endpoint> address_of(NodeId id) const;
  void log_no_leader(Effects& fx);
  void tell_refusals(Time now, Effects& fx);
  Links& links_for(Effects& fx);
  void on_dialed(Time now, StreamId stream, DialResult result, Effects& fx);
  Incarnation known_incarnation(NodeId node) const;
  void turn_away(Time now, InLink& in, const peer::Hello& hello);
  void turn_away_old_disks(Time now);
  std::vector<Incarnation> shown_incarnations(Incarnation asked_for) const;
  void on_known_incarnation(Time now, Incarnation incarnation, const Endpoint& from, Effects& fx);
  void on_peer_bytes(Time now, StreamId id, Stream& stream, std::size_t n, Effects& fx);
  void on_message(Time now, const peer::Hello& from, peer::Message&& message, Effects& fx);
  void flush_outbox(Time now, Effects& fx);

  // --- node_fronts.cpp
  void close_disks(Time now, Effects& fx);
  void on_nbd_effects(Time now, StreamId id, Stream& stream, nbd::Effects& nfx, Effects& fx);
  void resolve_export(Time now, StreamId id, Stream& stream, Effects& fx);
  void resolve_exports(Time now, Effects& fx);
  void submit_nbd(Time now, StreamId id, nbd::Request&& request, nbd::Session& session, nbd::Effects& nfx);
  void count(const IoRequest& io);
  void answer(Time now, IoDone&& done, Effects& fx);
  void answer_nbd(Time now, const Ticket& ticket, IoDone&& done, Effects& fx);
  void after_front(StreamId id, Effects& fx);
  void take_service_effects(Effects& fx);

  // client::Backend
  const cluster::State& state() const override { return cluster_state; }
  NodeStatus status() const override { return status_at(now_); }
  std::uint8_t default_copies() const override { return options.default_copies; }
  std::uint64_t propose(cluster::CommandBody body) override;
  std::uint64_t io(client::IoRequest request) override;
  Random& random() override { return rng; }
  std::vector<NodeId> voters() const override;
  std::vector<NodeId> unreachable_voters() const override;
  std::string name_of(NodeId node) const override;
  std::string force_new_configuration() override;
  NodeStatus status_at(Time now) const;

  // --- What it is
  NodeOptions options;
  BufferPool& pool;
  Random rng;
  Phase phase = Phase::reading_identity;
  NodeId id = 0;
  std::uint64_t incarnation_drawn = 0;  // the part of the incarnation that is drawn
  Incarnation own_incarnation = 0;
  std::vector<Incarnation> earlier_incarnations;  // of this disk, newest first, as many as the identity file keeps
  Incarnation incarnation_asked_for = 0;          // one of them, or older, that somebody asked for last
  std::string fatal;
  Time now_ = 0;  // of the call under way, for the backend's calls

  // --- Machines
  std::unique_ptr<raft::Raft> raft;
  std::unique_ptr<Store> store;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<Gateway> gateway;
  std::unique_ptr<Collector> collector;
  client::Service service;
  cluster::State cluster_state;
  cluster::Placement placement;

  // --- Effects on their way between machines
  raft::Effects raft_fx;
  ReplicaEffects replica_fx;
  GatewayEffects gateway_fx;
  client::ServiceEffects service_fx;
  nbd::Effects nbd_fx;
  std::vector<std::pair<NodeId, peer::Message>> outbox;
  std::vector<std::pair<Endpoint, peer::Message>> outbox_by_address;
  Collector::Requests collector_fx;

  // --- Streams
  StreamId next_stream = 1;
  Streams streams;
  std::vector<StreamId> resolving;  // those whose export is being looked up
  LinkTransport transport{*this};
  Links links;                                                   // by peer endpoint
  std::map<NodeId, std::vector<Incarnation>> past_incarnations;  // of each node, as it says itself
  // Incarnations of members in entries of the log that were there at the start and may not be committed, up to this
  // index.
  std::map<NodeId, Incarnation> logged_incarnations;
  std::uint64_t logged_until = 0;
  // heard from members and joiners, or found in the log; the cluster state's come first
  std::map<NodeId, Endpoint> addresses;
  SlotTable<Ticket> tickets;

  // --- Control
  bool serving = false;
  Time lease_until = 0;
  Time lease_asked = 0, join_asked = 0, housekeeping_at = 0;
  std::size_t next_asked = 0;                     // of those that may know who leads
  std::optional<control::Leadership> leadership;  // while this node leads
  // The leader that this node followed last, since when, and in which term.
  struct {
    NodeId id = 0;
    Time since = 0;
    std::uint64_t term = 0;
  } last_leader;
  NodeId noted_leader = 0;
  struct {
    std::uint64_t told = 0;  // of raft->refusals().count
    Time next = 0;
  } refusals;
  Time missed_at = never;          // when the log is to say that there has been no leader since the start
  std::uint64_t applied_term = 0;  // of the last entry applied
  std::map<std::uint64_t, Proposal> proposals;
  std::uint64_t next_proposal = 1;
  std::vector<std::pair<std::uint64_t, cluster::Result>> proposals_done;
  Epoch seen_epoch = 0;
  std::uint64_t seen_epoch_index = 0;
  Time exit_at = never;  // a shutdown of the cluster was decided
  Time leave_deadline = never;
  std::uint64_t found_group = 0;  // an operator's order: to be founded as soon as the log is applied
  bool leave_wanted = false;
  std::uint64_t clean_reported = 0;  // log index
  Purge purge;
  Scrub scrubbing;
  std::uint64_t space_free = UINT64_MAX, space_total = 0;
  std::uint64_t reads = 0, writes = 0, flushes = 0, read_bytes = 0, write_bytes = 0;

  // entries that a member may lack when it is let in, or votes
  static constexpr std::uint64_t close_to_commit = 64;
  static constexpr std::uint64_t identity_tag = 0x03ull << 56;
  // Requests that the node itself makes of its replica.
  static constexpr std::uint64_t stop_flush_id = UINT64_MAX >> 1;
  static constexpr std::uint64_t purge_id = stop_flush_id - 1;
  static constexpr std::uint64_t scrub_id = stop_flush_id - 3;  // one below is the collector's mark
};

}  // namespace sd
