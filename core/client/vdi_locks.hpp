// The locks of LockVdi: known to this node alone, as in the reference. They outlive the connections that took them.
#pragma once
#include <map>

#include "core/cluster/state.hpp"

namespace sd::client {

class VdiLocks {
 public:
  // Takes a lock, exclusive (type 0) or shared, if those that are held allow it. Locks of disks that are gone go too.
  bool take(Vid vid, std::uint32_t type, const cluster::State& state);
  void release(Vid vid) { locks_.erase(vid); }

 private:
  std::map<Vid, std::uint32_t> locks_;  // their types
};

}  // namespace sd::client
