// Recovery in the background, as this node takes part in it: the collector, the scrub, and what operators see.
#include <algorithm>

#include "core/base/sim_bug.hpp"
#include "core/node/node_impl.hpp"
#include "core/replication/repair_request.hpp"

namespace sd {

// To members, this one among them.
void Node::Impl::send_object_requests(Time now, std::vector<std::pair<NodeId, peer::ObjectRequest>>& requests) {
  const bool member = cluster_state.is_up(id, own_incarnation);
  for (auto& [to, request] : requests) {
    if (to == id)
      replica->on_request(now, id, std::move(request), member, replica_fx);
    else
      outbox.emplace_back(to, std::move(request));
  }
  requests.clear();
  replica->on_store(now, replica_fx);
}

void Node::Impl::recover_in_background(Time now) {
  collector->tick(now, serving && !cluster_state.recovery_off, collector_fx);
  scrub(now);
}

void Node::Impl::scrub(Time now) {
  if (!serving) return;
  const auto wanted = [&](Oid oid) {
    const auto* vdi = cluster_state.find(oid.vid());
    return vdi && !vdi->deleting && !SD_BUG(scrub_nothing);
  };
  const auto stored = [&] { return store->objects(); };
  const auto oid = scrubbing.next(now, stored, wanted, replica->stats().scanned_bytes);
  if (!oid) return;
  peer::ObjectRequest request = whole_repair(cluster_state, placement, id, *oid);
  request.id = scrub_id;
  replica->on_request(now, id, std::move(request), true, replica_fx);
}

void Node::Impl::fill_recovery_status(Time now, NodeStatus& status) const {
  RecoveryStatus& r = status.recovery;
  r.enabled = !cluster_state.recovery_off;
  const auto sweep = gateway->sweep();
  r.sweeping = cluster_state.epochs.size() > 1 && sweep.at < sweep.end;
  r.found = sweep.found;
  r.open = sweep.open;
  r.at = sweep.at;
  r.end = sweep.end;
  r.pulls = replica->pulling();
  const ReplicaStats& stats = replica->stats();
  r.pulled_objects = stats.pulled_objects;
  r.pulled_bytes = stats.pulled_bytes;
  r.repaired_blocks = stats.repaired_blocks;
  r.lost_blocks = stats.lost_blocks;
  r.collected = collector->done();
  const CollectorStats& collected = collector->stats();
  r.removed = collected.removed;
  r.leftovers = collected.leftovers;
  r.orphans = collected.orphans;
  r.kept = collected.kept;
  r.scrub_passes = scrubbing.passes();
  r.scrubbed_objects = scrubbing.objects();
  r.scrubbed_bytes = stats.scanned_bytes;
  r.scrub_left = scrubbing.left();
  r.unreadable_objects = replica->unreadable();
  r.rates = cluster_state.recovery_rates;
  r.busy = replica->throttle().busy(now);
}

}  // namespace sd
