// What must hold of all nodes together, watched from outside while they run:
//
// - One leader for each term of the cluster log.
// - One history: nodes that have applied the same index hold the same state, byte for byte; one configuration for each epoch follows.
// - A node's terms, commits and applied entries never go back within a life.
// - At the end: no buffer, stream or disk operation is left over.
//
// Not checked here: what guests read (device_model.hpp); at most one node serving a VDI at any instant, which the guests' view implies.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/ids.hpp"

namespace sd::sim {

class World;
class NodeMachine;

class Checkers {
 public:
  explicit Checkers(World& world) : world_(world) {}

  void after_step(const NodeMachine& machine, std::uint32_t step);
  void on_death(const NodeMachine& machine);
  void on_fatal(const NodeMachine& machine);

 private:
  struct Seen {
    std::uint64_t applied = 0, term = 0, commit = 0;
    std::uint32_t life = 0;
  };
  struct AtIndex {
    std::uint64_t digest = 0;
    std::uint32_t node = 0;
  };
  void check_state(const NodeMachine& machine, Seen& seen);

  World& world_;
  std::vector<Seen> seen_;
  std::map<std::uint64_t, AtIndex> states_;             // by applied index
  std::map<std::uint64_t, std::uint32_t> leaders_;      // by term
  std::string scratch_;
};

}  // namespace sd::sim
