// Requests about the cluster as a whole: its format, its end, its members, and how it is.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class ClusterRequests {
 public:
  explicit ClusterRequests(Call& call) : call_(call) {}

  void on(MakeFs& request);
  void on(ShutdownCluster&);
  void on(StatCluster&);
  void on(GetClusterInfo&);
  void on(GetStoreList&);
  void on(Cleanup&);
  void on(ClusterStatus&);
  void on(ClusterCheck&);
  void on(NodeDrain& request);
  void on(GraceTime& request);
  void on(RecoverForce& request);

 private:
  Call& call_;
};

}  // namespace sd::client
