// Recovery in the background, as this node takes part in it.
#include "core/node/node_impl.hpp"

namespace sd {

// To members, this one among them.
void Node::Impl::send_object_requests(Time now, std::vector<std::pair<NodeId, peer::ObjectRequest>>& requests) {
  const bool member = cluster_state.is_up(id, incarnation);
  for (auto& [to, request] : requests) {
    if (to == id) replica->on_request(now, id, std::move(request), member, replica_fx);
    else outbox.emplace_back(to, std::move(request));
  }
  requests.clear();
  replica->on_store(now, replica_fx);
}

}  // namespace sd
