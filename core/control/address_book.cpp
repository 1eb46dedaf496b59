#include "core/control/address_book.hpp"

#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"
#include "core/cluster/state.hpp"

namespace sd::control {

void AddressBook::read_log(const raft::Raft& raft) {
  logged_until_ = raft.last_index();
  for (std::uint64_t index = raft.snapshot_index() + 1; index <= logged_until_; ++index) {
    const raft::Entry& entry = raft.entry(index);
    if (entry.kind != raft::Entry::Kind::command) continue;
    const auto command = cluster::decode_command(entry.data);
    const auto* join = command ? std::get_if<cluster::Join>(&command->body) : nullptr;
    if (!join) continue;
    logged_[join->member.id] = join->member.incarnation;
    if (!SD_BUG(call_nobody)) hear(join->member.id, join->member.address);
  }
}

void AddressBook::hear(NodeId node, const Endpoint& client) {
  if (heard_.size() < limits::max_members || heard_.contains(node)) heard_[node] = client;
}

std::optional<Endpoint> AddressBook::address_of(const cluster::State& state, NodeId node) const {
  Endpoint found;
  const auto* member = state.member(node);
  if (member) found = member->address;
  // One that is not up may have come back with another address.
  if (const auto at = heard_.find(node); at != heard_.end() && (!member || !member->up)) found = at->second;
  if (found == Endpoint{}) return {};
  ++found.port;
  return found;
}

Incarnation AddressBook::known_incarnation(const cluster::State& state, NodeId node) const {
  if (state.applied < logged_until_)
    if (const auto at = logged_.find(node); at != logged_.end()) return at->second;
  const auto* member = state.member(node);
  return member ? member->incarnation : 0;
}

void AddressBook::introduced(NodeId node, const std::vector<Incarnation>& earlier) {
  if (introduced_.size() < limits::max_members || introduced_.contains(node)) introduced_[node] = earlier;
}

std::vector<Incarnation> AddressBook::past_of(NodeId node) const {
  const auto at = introduced_.find(node);
  return at == introduced_.end() ? std::vector<Incarnation>{} : at->second;
}

std::string AddressBook::check_state() const {
  if (heard_.size() > limits::max_members || introduced_.size() > limits::max_members)
    return "only so many addresses are remembered";
  return {};
}

}  // namespace sd::control
