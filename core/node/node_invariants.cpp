#include "core/node/node_invariants.hpp"

#include <optional>

#include "core/base/assert.hpp"
#include "core/node/node_impl.hpp"
#include "core/raft/raft_invariants.hpp"

namespace sd {

// What the machines were like after the step before, as far as a change is judged by it.
struct NodeInvariants::Past {
  std::optional<raft::Observation> raft;
};

NodeInvariants::NodeInvariants() : past_(std::make_unique<Past>()) {}
NodeInvariants::~NodeInvariants() = default;
NodeInvariants::NodeInvariants(NodeInvariants&&) noexcept = default;
NodeInvariants& NodeInvariants::operator=(NodeInvariants&&) noexcept = default;

void NodeInvariants::check(const Node& node) {
  const Node::Impl& n = *node.impl_;
  if (!n.gateway) return;  // its machines do not exist yet
  const std::string broken_state = raft::check_state(*n.raft);
  SD_ASSERT(broken_state.empty(), broken_state.c_str());
  const raft::Observation seen = raft::observe(*n.raft);
  if (past_->raft) {
    const std::string broken_change = raft::check_change(*past_->raft, seen);
    SD_ASSERT(broken_change.empty(), broken_change.c_str());
  }
  past_->raft = seen;
  SD_ASSERT(!n.leadership || n.leads(), "a leadership ends with its term");
  SD_ASSERT(n.addresses.size() <= limits::max_members, "only so many addresses are remembered");
  n.gateway->check_invariants();
  n.service.check_invariants();
}

}  // namespace sd
