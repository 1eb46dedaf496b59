// What clients of this node ask the cluster log for: each is sent to the leader again and again until the state shows
// its outcome, and takes effect once. Given up after 30 s: then it may still happen, once.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/time.hpp"
#include "core/cluster/state.hpp"

namespace sd::control {

class Proposals {
 public:
  using Outcome = std::pair<std::uint64_t, cluster::Result>;

  // The number by which its outcome is told, in every incarnation from 1; 0: too many under way.
  std::uint64_t add(Time now, NodeId self, Incarnation incarnation, cluster::CommandBody body);
  // Those that are due: `reachable` says whether there is a leader to send to.
  void send(Time now, bool reachable, const std::function<void(const std::string& command)>& send);
  // Whoever asked is gone: it is not sent again. (It may be carried out yet, once.)
  void forget(std::uint64_t number) { proposals_.erase(number); }
  // The state has moved.
  void look(const cluster::State& state, NodeId self, Incarnation incarnation);
  std::vector<Outcome>& done() { return done_; }

  // Below the number of outcomes that the state remembers of each node.
  static constexpr std::size_t max_under_way = 32;
  std::size_t under_way() const { return proposals_.size(); }

 private:
  struct Proposal {
    std::string command;
    Time send_at = 0, deadline = 0;
  };
  std::map<std::uint64_t, Proposal> proposals_;
  std::uint64_t next_ = 1;
  std::vector<Outcome> done_;
};

}  // namespace sd::control
