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

// Reads every object of this node, one after the other, and repairs what is damaged from the other members. The rate is
// kept from object to object: after one of so many bytes comes a pause as long as these may take.
void Node::Impl::scrub(Time now) {
  Scrub& s = scrubbing;
  if (options.scrub_rate == 0 || !serving || now < s.next_at) return;
  if (s.under_way) {
    if (now - s.object_began < seconds(60)) return;
    s.under_way = false;  // its answer is lost with a generation; the next pass comes by again
  }
  if (s.left.empty()) {
    if (s.pass_began != 0 && now - s.pass_began < options.scrub_every) return;
    s.pass_began = now;
    s.left = store->objects();
    std::ranges::reverse(s.left);
    if (s.left.empty()) ++s.passes;
  }
  while (!s.left.empty()) {
    const Oid oid = s.left.back();
    s.left.pop_back();
    const auto* vdi = cluster_state.find(oid.vid());
    if (!vdi || vdi->deleting || SD_BUG(scrub_nothing)) continue;
    peer::ObjectRequest request = whole_repair(cluster_state, placement, id, oid);
    request.id = scrub_id;
    s.under_way = true;
    s.oid = oid;
    s.object_began = now;
    s.bytes_before = replica->stats().scanned_bytes;
    replica->on_request(now, id, std::move(request), true, replica_fx);
    return;
  }
  ++s.passes;
}

void Node::Impl::on_scrubbed(const peer::ObjectReply& reply) {
  Scrub& s = scrubbing;
  if (!s.under_way) return;
  s.under_way = false;
  if (reply.status == Status::ok || reply.status == Status::damaged) ++s.objects;
  const std::uint64_t bytes = replica->stats().scanned_bytes - s.bytes_before;
  s.next_at = s.object_began + bytes * seconds(1) / options.scrub_rate;
  if (s.left.empty()) ++s.passes;
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
  r.scrub_passes = scrubbing.passes;
  r.scrubbed_objects = scrubbing.objects;
  r.scrubbed_bytes = stats.scanned_bytes;
  r.scrub_left = scrubbing.left.size() + scrubbing.under_way;
  r.unreadable_objects = replica->unreadable();
  r.rates = cluster_state.recovery_rates;
  r.busy = replica->throttle().busy(now);
}

}  // namespace sd
