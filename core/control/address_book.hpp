// Where other nodes are, and which incarnation of each is known: from the cluster state, from what they said
// themselves, and from the log that was there at the start.
//
// Promise: at most limits::max_members of each are kept, whoever says what.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/ids.hpp"
#include "core/cluster/state.hpp"
#include "core/raft/raft.hpp"

namespace sd::control {

class AddressBook {
 public:
  // At a start nothing of the log counts as applied until a leader says what is committed; and there is no leader until
  // the voters find each other. So whoever the log let in has lived, and is called, committed or not: an address that
  // is wrong costs a refused connection.
  void read_log(const raft::Raft& raft);

  // A node said, or was said, to be there (client port).
  void hear(NodeId node, const Endpoint& client);
  // The peer port of a node, if it is known. The cluster state's address comes first.
  std::optional<Endpoint> address_of(const cluster::State& state, NodeId node) const;
  const std::map<NodeId, Endpoint>& heard() const { return heard_; }

  // The incarnation of a member by the newest entry that is known, committed or not; 0: none.
  Incarnation known_incarnation(const cluster::State& state, NodeId node) const;

  // A node introduced itself with these earlier incarnations.
  void introduced(NodeId node, const std::vector<Incarnation>& earlier);
  void forget_introduction(NodeId node) { introduced_.erase(node); }
  // What it said then; empty if nothing.
  std::vector<Incarnation> past_of(NodeId node) const;

  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  std::map<NodeId, Endpoint> heard_;
  std::map<NodeId, std::vector<Incarnation>> introduced_;
  // Of members in entries that were there at the start and may not be committed, up to this index.
  std::map<NodeId, Incarnation> logged_;
  std::uint64_t logged_until_ = 0;
};

}  // namespace sd::control
