// What must hold of a node after every step: the invariants of each of its machines, of the state and of the change
// since the step before. Each machine's own file says which they are (core/raft/raft_invariants.hpp, ...).
//
// Usage: one object beside each Node, from its construction to its end; `check` after each call of the node. A broken
// invariant stops the process with a message that names it.
#pragma once
#include <memory>

#include "core/node/node.hpp"

namespace sd {

class NodeInvariants {
 public:
  NodeInvariants();
  ~NodeInvariants();
  NodeInvariants(NodeInvariants&&) noexcept;
  NodeInvariants& operator=(NodeInvariants&&) noexcept;
  void check(const Node& node);

 private:
  struct Past;
  std::unique_ptr<Past> past_;
};

}  // namespace sd
