#include "core/control/proposals.hpp"

#include "core/cluster/state.hpp"

namespace sd::control {

namespace {
constexpr Time repeat = milliseconds(500);
constexpr Time give_up = seconds(30);
}  // namespace

std::uint64_t Proposals::add(Time now, NodeId self, Incarnation incarnation, cluster::CommandBody body) {
  if (proposals_.size() >= max_under_way) return 0;
  const std::uint64_t number = next_++;
  Proposal proposal;
  cluster::encode({self, incarnation, number, std::move(body)}, proposal.command);
  proposal.deadline = now + give_up;
  proposals_.emplace(number, std::move(proposal));
  return number;
}

void Proposals::send(Time now, bool reachable, const std::function<void(const std::string&)>& send) {
  for (auto at = proposals_.begin(); at != proposals_.end();) {
    auto& [number, proposal] = *at;
    if (now >= proposal.deadline) {
      done_.emplace_back(number, cluster::Result{Status::unavailable});
      at = proposals_.erase(at);
      continue;
    }
    if (now >= proposal.send_at && reachable) {
      proposal.send_at = now + repeat;
      send(proposal.command);
    }
    ++at;
  }
}

void Proposals::look(const cluster::State& state, NodeId self, Incarnation incarnation) {
  for (auto at = proposals_.begin(); at != proposals_.end();) {
    if (const auto result = state.outcome(self, incarnation, at->first)) {
      done_.emplace_back(at->first, *result);
      at = proposals_.erase(at);
    } else {
      ++at;
    }
  }
}

}  // namespace sd::control
