// Requests about nodes: which there are, and how the asked one is. It has neither an object cache nor several disks.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class NodeRequests {
 public:
  explicit NodeRequests(Call& call) : call_(call) {}

  void on(GetNodeList&);
  void on(StatSheep&);
  void on(Stat&);
  void on(NodeDetail&);
  void on(FlushDelCache&);
  void on(DeleteCache&);
  void on(CachePurge&);
  void on(GetCacheInfo&);
  void on(MdInfo&);

 private:
  Call& call_;
};

}  // namespace sd::client
