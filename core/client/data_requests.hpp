// Requests about the data of a disk, by its name: reads, writes, flushes, discards and checks.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class DataRequests {
 public:
  explicit DataRequests(Call& call) : call_(call) {}

  void on(VdiRead& request);
  void on(VdiWrite& request);
  void on(FlushVdi& request);
  void on(VdiFlush& request);
  void on(VdiDiscard& request);
  void on(VdiCheck& request);

 private:
  Call& call_;
};

}  // namespace sd::client
