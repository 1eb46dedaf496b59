// Requests that this version does not support: each is refused by what it would need.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class RefusedRequests {
 public:
  explicit RefusedRequests(Call& call) : call_(call) {}

  void on(Unsupported& request);
  void on(Snapshot&);
  void on(KillNode&);
  void on(AlterClusterCopy&);
  void on(AlterVdiCopy&);
  void on(CompleteRecovery&);
  void on(MdPlug&);
  void on(MdUnplug&);
  void on(Reweight&);
  void on(GetLogLevel&);
  void on(SetLogLevel&);

 private:
  Call& call_;
};

}  // namespace sd::client
