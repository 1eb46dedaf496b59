#include "core/client/cluster_requests.hpp"

#include <algorithm>
#include <utility>

#include "core/client/cluster_check.hpp"
#include "core/client/cluster_view.hpp"

namespace sd::client {

namespace {
constexpr const char* store_name = "plain";
}  // namespace

void ClusterRequests::on(MakeFs& request) {
  const cluster::State& state = call_.backend.state();
  const bool force = call_.own() && (request.flags & format_force) != 0;
  if (state.formatted && !force)
    return call_.fail(SdError::invalid_parms,
                      "the cluster is formatted already; --force formats it again, and loses every VDI");
  if (request.copy_policy != 0) return call_.unsupported("erasure coding");
  if ((request.flags & static_cast<std::uint16_t>(~format_force)) != 0 || (request.flags != 0 && !call_.own()))
    return call_.unsupported("flags of format");
  if (!request.store.empty() && request.store != store_name)
    return call_.fail(SdError::no_store, "the only store is called 'plain'");
  const std::uint8_t copies = request.copies == 0 ? call_.backend.default_copies() : request.copies;
  if (copies > limits::max_copies)
    return call_.fail(SdError::invalid_parms, "at most " + std::to_string(limits::max_copies) + " copies are possible");
  const std::size_t zones = storing_zones(state, false);
  if (zones == 0)
    return call_.fail(SdError::halt, "no node that stores data is up; start some, or wait until they have joined");
  if (copies > zones)
    return call_.fail(SdError::halt, std::to_string(copies) + " copies need nodes in as many zones, and nodes in " +
                                         std::to_string(zones) + " are up; start more nodes or ask for fewer copies");
  Waiting waiting;
  waiting.what = "format";
  const std::uint64_t uuid = call_.backend.random().next();
  call_.propose(cluster::Format{uuid, copies, force}, std::move(waiting));
}

void ClusterRequests::on(ShutdownCluster&) {
  Waiting waiting;
  waiting.what = "shutdown";
  call_.propose(cluster::Shutdown{}, std::move(waiting));
}

void ClusterRequests::on(StatCluster&) {
  using State = ReferenceClusterInfo::State;
  const cluster::State& state = call_.backend.state();
  ReferenceClusterInfo info;
  info.epoch = state.epoch();
  info.nr_copies = state.copies;
  info.status = !state.formatted                   ? State::wait_for_format
                : state.shut_down                  ? State::shutdown
                : waits_for(call_.backend).empty() ? State::ok
                                                   : State::wait_for_join;
  info.default_store = store_name;
  info.nodes = node_list(state, call_.backend.status());
  call_.done(Data{encode(info)});
}

void ClusterRequests::on(GetClusterInfo&) {
  StatCluster same;
  on(same);
}

void ClusterRequests::on(GetStoreList&) { call_.done(Data{bincode::to_bytes(std::vector<std::string>{store_name})}); }

// The store leaves nothing behind that would need it.
void ClusterRequests::on(Cleanup&) { call_.done(Success{}); }

void ClusterRequests::on(ClusterStatus&) {
  const cluster::State& state = call_.backend.state();
  const NodeStatus status = call_.backend.status();
  ClusterReport report;
  report.formatted = state.formatted;
  report.shut_down = state.shut_down;
  report.uuid = state.uuid;
  report.copies = state.copies;
  report.epoch = state.epoch();
  report.clean_epoch = state.epochs.empty() ? 0 : state.epochs.front().epoch;
  for (const auto& [vid, vdi] : state.vdis) {
    if (vdi.deleting) continue;
    ++report.vdis;
    report.vdi_bytes += vdi.size;
  }
  report.node = status.id;
  report.leader = status.leader_id;
  report.term = status.term;
  report.serving = status.serving;
  report.trouble = status.trouble;
  const std::vector<NodeId> voters = call_.backend.voters(), awaited = state.missing();
  for (const auto& [id, member] : state.members)
    report.nodes.push_back({id, starts_of(member.incarnation), to_string(member.address), member.zone, member.vnodes,
                            member.up, id == status.leader_id, member.placed, member.draining, state.is_drained(id),
                            member.witness, std::ranges::binary_search(voters, id),
                            std::ranges::binary_search(awaited, id)});
  report.grace_ms = state.grace_ms;
  report.waits_for = waits_for(call_.backend);
  call_.done(Data{bincode::to_bytes(report)});
}

void ClusterRequests::on(ClusterCheck&) {
  call_.done(Data{bincode::to_bytes(check_cluster(call_.backend.state(), call_.backend.status()))});
}

void ClusterRequests::on(NodeDrain& request) {
  const cluster::Member* member = call_.backend.state().member(request.id);
  if (!member) return call_.fail(SdError::not_found, "no node has this id; `dog node list` shows those there are");
  Waiting waiting;
  waiting.what = (request.on ? "drain " : "undrain ") + to_string(member->address);
  call_.propose(cluster::Drain{request.id, request.on}, std::move(waiting));
}

void ClusterRequests::on(GraceTime& request) {
  Waiting waiting;
  waiting.what = "set the grace time";
  call_.propose(cluster::SetGrace{request.milliseconds}, std::move(waiting));
}

void ClusterRequests::on(RecoverForce& request) {
  if (request.new_configuration) {
    if (const std::string why = call_.backend.force_new_configuration(); !why.empty())
      return call_.fail(SdError::invalid_parms, why);
    return call_.done(Success{});
  }
  if (call_.backend.status().leader_id == 0)
    return call_.fail(SdError::again, "no leader: a majority of the voters cannot be reached");
  Waiting waiting;
  waiting.what = "give up the nodes that are down";
  call_.propose(cluster::GiveUp{}, std::move(waiting));
}

}  // namespace sd::client
