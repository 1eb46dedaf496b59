#include "core/client/node_requests.hpp"

#include <string>

#include "core/client/cluster_view.hpp"

namespace sd::client {

void NodeRequests::on(GetNodeList&) { call_.done(NodeList{node_list(call_.backend.state(), call_.backend.status())}); }

void NodeRequests::on(StatSheep&) {
  const NodeStatus status = call_.backend.status();
  call_.done(
      NodeInfo{static_cast<std::uint32_t>(members_up(call_.backend.state())), status.space_total, status.space_free});
}

void NodeRequests::on(Stat&) {
  StatSheep same;
  on(same);
}

void NodeRequests::on(NodeDetail&) {
  const NodeStatus s = call_.backend.status();
  NodeReport report;
  report.id = s.id;
  report.incarnation = starts_of(s.incarnation);
  if (const cluster::Member* member = call_.backend.state().member(s.id)) {
    report.address = to_string(member->address);
    report.zone = member->zone;
    report.vnodes = member->vnodes;
  }
  report.open = s.open;
  report.member = s.member;
  report.has_lease = s.has_lease;
  report.serving = s.serving;
  report.leader = s.leader;
  report.leader_id = s.leader_id;
  report.term = s.term;
  report.commit_index = s.commit_index;
  report.applied_index = s.applied_index;
  report.last_index = s.last_index;
  report.epoch = call_.backend.state().epoch();
  report.objects = s.objects;
  report.journal_used = s.journal_used;
  report.dirty_bytes = s.dirty_bytes;
  report.space_free = s.space_free;
  report.space_total = s.space_total;
  report.nbd_connections = s.nbd_connections;
  report.client_connections = s.client_connections;
  report.peer_links = s.peer_links;
  report.reads = s.reads;
  report.writes = s.writes;
  report.flushes = s.flushes;
  report.read_bytes = s.read_bytes;
  report.write_bytes = s.write_bytes;
  report.buffers = s.buffers;
  report.trouble = s.trouble;
  report.voter = s.voter;
  report.waits_for = waits_for(call_.backend);
  call_.done(Data{bincode::to_bytes(report)});
}

// There is no object cache: it is always empty.
void NodeRequests::on(FlushDelCache&) { call_.done(Success{}); }

void NodeRequests::on(DeleteCache&) { call_.done(Success{}); }

void NodeRequests::on(CachePurge&) { call_.done(Success{}); }

void NodeRequests::on(GetCacheInfo&) { call_.done(Data{}); }

// No disks but the data directory's.
void NodeRequests::on(MdInfo&) { call_.done(Data{std::string(8, '\0')}); }

}  // namespace sd::client
