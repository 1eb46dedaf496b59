// What the parts of a node's control plane share: the log, the state that it makes, and where effects go.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/background/purge.hpp"
#include "core/base/log_line.hpp"
#include "core/cluster/state.hpp"
#include "core/control/address_book.hpp"
#include "core/control/identity.hpp"
#include "core/peer/links.hpp"
#include "core/peer/outbox.hpp"
#include "core/raft/raft.hpp"

namespace sd::control {

// As NodeOptions has them.
struct Options {
  Endpoint address;  // client port
  std::vector<Endpoint> seeds;
  bool local_only = false;
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 0;
  bool witness = false;
  Time lease = 0, lease_margin = 0, voter_patience = 0;
  Time heartbeat = 0, election_timeout_min = 0, election_timeout_max = 0;
  std::size_t snapshot_threshold = 0;
};

enum class Stage : std::uint8_t {
  opening,   // the log is being read
  running,   // takes part
  leaving,   // asks to be taken out of the cluster
  stopping,  // is out, or has waited long enough
};

struct Effects {
  raft::Effects raft;  // of it only `disk` is left for the caller
  std::vector<LogLine> log;
  std::string fatal;            // the log cannot be followed any further; empty if it can
  bool hurry = false;           // tick as soon as possible
  bool introduce_anew = false;  // no connection goes on as one of the log that was
};

struct Context {
  const Options options;
  const Identity& identity;
  const Purge& purge;
  Links& links;
  peer::Outbox& outbox;
  std::unique_ptr<raft::Raft> raft = {};  // once the identity is known
  cluster::State state = {};
  AddressBook book = {};
  Stage stage = Stage::opening;
  Effects fx = {};

  NodeId self() const { return identity.id(); }
  // Up in the cluster state, in this incarnation.
  bool is_member() const { return state.is_up(identity.id(), identity.incarnation()); }
  void send(NodeId to, peer::Message&& message) { outbox.messages.emplace_back(to, std::move(message)); }
  void log(LogLine::Level level, std::string text) { fx.log.push_back({level, std::move(text)}); }

  // Of the node itself: may be lost, is repeated by whoever needs it, and does no harm twice.
  void propose(Time now, cluster::CommandBody body);
  // Encoded, by the node or by others.
  void propose(Time now, std::string command);
  // People know nodes by their client ports.
  std::string name_of(NodeId node) const;
};

}  // namespace sd::control
