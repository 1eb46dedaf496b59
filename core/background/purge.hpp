// Removing a node's own objects of disks that were deleted. A deleted disk keeps its number until every member has said
// that it holds nothing of it any more.
//
// Call `tick` only as a member in this incarnation: the node's view of the cluster log then includes everything that it
// stored, so a disk that looks deleted is. The caller hands the requests to its own replica, and their answers back.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "core/base/ids.hpp"
#include "core/cluster/state.hpp"
#include "core/peer/message.hpp"

namespace sd {

class Purge {
 public:
  // `stored`: the objects of this node, asked for until none is of a deleted disk. `busy`: the node still works on
  // something that was asked of the disk before it was deleted, which may store an object yet. The requests, at most
  // `at_once` of a disk under way, have no id yet.
  void tick(const cluster::State& state, const std::function<std::vector<Oid>()>& stored,
            const std::function<bool(Vid)>& busy, std::vector<peer::ObjectRequest>& out);
  void on_removed(Vid vid);

  // This node holds nothing of that disk any more.
  bool done(Vid vid) const;
  // Such disks, by number, at most so many.
  std::vector<Vid> done_disks(std::size_t most) const;

  static constexpr std::uint32_t at_once = 64;

 private:
  struct Disk {
    std::vector<Oid> left;
    std::uint32_t under_way = 0;
    bool done = false;
  };
  std::map<Vid, Disk> disks_;
};

}  // namespace sd
