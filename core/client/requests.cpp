#include "core/client/requests.hpp"

#include <type_traits>

#include "core/client/cluster_requests.hpp"
#include "core/client/data_requests.hpp"
#include "core/client/disk_requests.hpp"
#include "core/client/node_requests.hpp"
#include "core/client/object_requests.hpp"
#include "core/client/recovery_requests.hpp"
#include "core/client/refused_requests.hpp"

namespace sd::client {

namespace {

// A request that belongs to none of them, or to two, does not compile.
struct Families : ClusterRequests,
                  DataRequests,
                  DiskRequests,
                  NodeRequests,
                  ObjectRequests,
                  RecoveryRequests,
                  RefusedRequests {
  explicit Families(Call& call)
      : ClusterRequests(call),
        DataRequests(call),
        DiskRequests(call),
        NodeRequests(call),
        ObjectRequests(call),
        RecoveryRequests(call),
        RefusedRequests(call) {}
  using ClusterRequests::on;
  using DataRequests::on;
  using DiskRequests::on;
  using NodeRequests::on;
  using ObjectRequests::on;
  using RecoveryRequests::on;
  using RefusedRequests::on;
};

}  // namespace

void perform(Call& call, Session::Request& request) {
  if (call.header.proto_ver > own_version)
    return call.fail(SdError::ver_mismatch, "this daemon speaks protocol versions up to 16; update it");
  if (request.malformed) return call.fail(SdError::invalid_parms, "the request is malformed");
  Families families(call);
  std::visit(
      [&]<typename T>(T& body) {
        if (T::number >= first_own_variant && !call.own() && !std::is_same_v<T, Unsupported>)
          call.fail(SdError::no_support, {});
        else
          families.on(body);
      },
      request.request);
}

}  // namespace sd::client
