#include "core/client/refused_requests.hpp"

#include <string>

namespace sd::client {

void RefusedRequests::on(Unsupported& request) {
  call_.fail(SdError::no_support, "request " + std::to_string(request.variant) + ": not supported by this version");
}

void RefusedRequests::on(Snapshot&) { call_.unsupported("snapshots"); }

void RefusedRequests::on(KillNode&) { call_.unsupported("stopping a node from afar"); }

void RefusedRequests::on(AlterClusterCopy&) { call_.unsupported("changing the number of copies"); }

void RefusedRequests::on(AlterVdiCopy&) { call_.unsupported("changing the number of copies"); }

void RefusedRequests::on(CompleteRecovery&) { call_.unsupported("ending recovery by hand"); }

void RefusedRequests::on(MdPlug&) { call_.unsupported("several disks in one node"); }

void RefusedRequests::on(MdUnplug&) { call_.unsupported("several disks in one node"); }

void RefusedRequests::on(Reweight&) { call_.unsupported("reweighting"); }

void RefusedRequests::on(GetLogLevel&) { call_.unsupported("log levels"); }

void RefusedRequests::on(SetLogLevel&) { call_.unsupported("log levels"); }

}  // namespace sd::client
