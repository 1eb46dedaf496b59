// Requests about recovery: whether it goes on, how fast, and how far it is at the asked node.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class RecoveryRequests {
 public:
  explicit RecoveryRequests(Call& call) : call_(call) {}

  void on(EnableRecover&);
  void on(DisableRecover&);
  void on(GetRecovery&);
  void on(SetThrottle& request);
  void on(SetRecovery& request);
  void on(NodeRecovery&);

 private:
  void switch_recovery(bool enabled);
  void set_throttle(cluster::RecoveryRates rates);

  Call& call_;
};

}  // namespace sd::client
