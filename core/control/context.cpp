#include "core/control/context.hpp"

namespace sd::control {

void Context::propose(Time now, cluster::CommandBody body) {
  std::string bytes;
  cluster::encode({identity.id(), identity.incarnation(), 0, std::move(body)}, bytes);
  propose(now, std::move(bytes));
}

void Context::propose(Time now, std::string command) {
  if (raft->is_leader())
    raft->propose(now, std::move(command), fx.raft);
  else if (raft->leader() != 0)
    send(raft->leader(), peer::Propose{std::move(command)});
}

std::string Context::name_of(NodeId node) const {
  auto address = book.address_of(state, node);
  if (!address) return "node " + id_text(node);
  --address->port;
  return to_string(*address);
}

}  // namespace sd::control
