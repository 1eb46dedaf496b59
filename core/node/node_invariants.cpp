#include "core/node/node_invariants.hpp"

#include <optional>

#include "core/base/assert.hpp"
#include "core/node/node_impl.hpp"
#include "core/raft/raft_invariants.hpp"
#include "core/store/store_invariants.hpp"

namespace sd {

// What the machines were like after the step before, as far as a change is judged by it.
struct NodeInvariants::Past {
  std::optional<raft::Observation> raft;
  std::optional<StoreObservation> store;

  void store_seen(const Node::Impl& n);
};

void NodeInvariants::Past::store_seen(const Node::Impl& n) {
  const StoreObservation seen = observe(*n.store);
  if (store) {
    const std::string broken = check_change(*store, seen);
    SD_ASSERT(broken.empty(), broken.c_str());
  }
  store = seen;
}

NodeInvariants::NodeInvariants() : past_(std::make_unique<Past>()) {}
NodeInvariants::~NodeInvariants() = default;
NodeInvariants::NodeInvariants(NodeInvariants&&) noexcept = default;
NodeInvariants& NodeInvariants::operator=(NodeInvariants&&) noexcept = default;

void NodeInvariants::check(const Node& node) {
  const Node::Impl& n = *node.impl_;
  if (!n.gateway) return;  // its machines do not exist yet
  const std::string broken_state = raft::check_state(n.control.raft());
  SD_ASSERT(broken_state.empty(), broken_state.c_str());
  const raft::Observation seen = raft::observe(n.control.raft());
  if (past_->raft) {
    const std::string broken_change = raft::check_change(*past_->raft, seen);
    SD_ASSERT(broken_change.empty(), broken_change.c_str());
  }
  past_->raft = seen;
  past_->store_seen(n);
  for (const std::string& broken : {check_state(*n.store), n.replica->check_state(), n.gateway->check_state(),
                                    n.collector->check_state(), n.peers.check_state(), n.control.check_state()})
    SD_ASSERT(broken.empty(), broken.c_str());
  n.clients.check_invariants();
}

}  // namespace sd
