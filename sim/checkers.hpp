// What must hold of all nodes together, watched from outside while they run:
//
// - One leader for each term of the cluster log.
// - One history: nodes that have applied the same index hold the same state, byte for byte; one configuration for each
//   epoch follows.
// - At any instant of true time at most one running node both owns a disk, as far as it knows, and would serve it.
// - A node's terms, commits and applied entries never go back within an incarnation.
// - At the end: no buffer, stream or disk operation is left over, and every acting member of every object holds an
//   equal, complete copy, as a store finds it that is opened on what the disk holds.
//
// Not checked here: what guests read (device_model.hpp). With bad disks the copies of the node that has one are not
// compared.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/node/node.hpp"

namespace sd::sim {

class World;
class NodeMachine;

// The copies, of a world at rest whose processes are gone; `state` is what they agreed on. Empty if all is well.
std::string compare_copies(World& world, const cluster::State& state, const std::vector<NodeId>& ids);

class Checkers {
 public:
  explicit Checkers(World& world) : world_(world) {}

  void after_step(const NodeMachine& machine, std::uint32_t step);
  void on_fatal(const NodeMachine& machine);

 private:
  struct Seen {
    std::uint64_t applied = 0, term = 0, commit = 0;
    std::uint32_t incarnation = 0;
  };
  struct AtIndex {
    std::uint64_t digest = 0;
    std::uint32_t node = 0;
  };
  void check_state(const NodeMachine& machine, Seen& seen);
  void check_one_server(const NodeMachine& machine, const NodeStatus& status);

  World& world_;
  std::vector<Seen> seen_;
  std::map<std::uint64_t, AtIndex> states_;         // by applied index
  std::map<std::uint64_t, std::uint32_t> leaders_;  // by term
  std::string scratch_;
};

}  // namespace sd::sim
