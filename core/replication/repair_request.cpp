#include "core/replication/repair_request.hpp"

#include "core/base/limits.hpp"

namespace sd {

peer::ObjectRequest whole_repair(const cluster::State& state, const cluster::Placement& placement, NodeId member,
                                 Oid oid) {
  peer::ObjectRequest request;
  request.op = peer::ObjectRequest::Op::repair;
  request.vid = oid.vid();
  request.generation = state.generation(oid.vid());
  request.oid = oid;
  request.length = limits::object_size;
  for (const NodeId other : placement.holders(state, oid, state.find(oid.vid())->copies))
    if (other != member && request.helpers.size() < peer::max_helpers) request.helpers.push_back(other);
  return request;
}

}  // namespace sd
