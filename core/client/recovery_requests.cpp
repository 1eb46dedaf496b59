#include "core/client/recovery_requests.hpp"

#include <algorithm>
#include <utility>

namespace sd::client {

void RecoveryRequests::on(EnableRecover&) { switch_recovery(true); }

void RecoveryRequests::on(DisableRecover&) { switch_recovery(false); }

void RecoveryRequests::on(GetRecovery&) {
  const cluster::State& state = call_.backend.state();
  const std::uint32_t recovering = state.formatted && state.epochs.size() > 1 ? state.epoch() : 0;
  call_.done(Data{bincode::to_bytes(recovering)});
}

void RecoveryRequests::on(SetThrottle& request) { set_throttle({request.busy, request.idle}); }

// The reference counts objects of 4 MB in an interval of milliseconds, whether clients work or not.
void RecoveryRequests::on(SetRecovery& request) {
  const std::uint64_t interval = std::max<std::uint64_t>(request.queue_work_interval, 1);
  const std::uint64_t rate =
      request.throttling
          ? std::max<std::uint64_t>(1, std::uint64_t{request.max_exec_count} * limits::object_size * 1000 / interval)
          : 0;
  set_throttle({rate, rate});
}

void RecoveryRequests::on(NodeRecovery&) {
  const NodeStatus status = call_.backend.status();
  const RecoveryStatus& r = status.recovery;
  const cluster::State& state = call_.backend.state();
  RecoveryReport report;
  report.id = status.id;
  report.epoch = state.epoch();
  report.clean_epoch = state.epochs.empty() ? 0 : state.epochs.front().epoch;
  report.enabled = r.enabled;
  report.sweeping = r.sweeping;
  report.collected = r.collected;
  report.busy = r.busy;
  report.found = r.found;
  report.open = r.open;
  report.at = r.at;
  report.end = r.end;
  report.pulls = r.pulls;
  report.pulled_objects = r.pulled_objects;
  report.pulled_bytes = r.pulled_bytes;
  report.repaired_blocks = r.repaired_blocks;
  report.lost_blocks = r.lost_blocks;
  report.removed = r.removed;
  report.leftovers = r.leftovers;
  report.orphans = r.orphans;
  report.kept = r.kept;
  report.scrub_passes = r.scrub_passes;
  report.scrubbed_objects = r.scrubbed_objects;
  report.scrubbed_bytes = r.scrubbed_bytes;
  report.scrub_left = r.scrub_left;
  report.unreadable_objects = r.unreadable_objects;
  report.rate_busy = r.rates.busy;
  report.rate_idle = r.rates.idle;
  call_.done(Data{bincode::to_bytes(report)});
}

void RecoveryRequests::switch_recovery(bool enabled) {
  if (!call_.usable()) return;
  Waiting waiting;
  waiting.what = enabled ? "switching recovery on" : "switching recovery off";
  call_.propose(cluster::SwitchRecovery{enabled}, std::move(waiting));
}

void RecoveryRequests::set_throttle(cluster::RecoveryRates rates) {
  if (!call_.usable()) return;
  Waiting waiting;
  waiting.what = "set the throttle of recovery";
  call_.propose(cluster::SetThrottle{rates}, std::move(waiting));
}

}  // namespace sd::client
