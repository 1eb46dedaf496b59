#include "core/control/joining.hpp"

#include <algorithm>

namespace sd::control {

namespace {
constexpr Time repeat = milliseconds(300);
constexpr std::size_t at_once = 8;  // nodes that are asked by one that does not know who leads
}  // namespace

peer::JoinRequest Joining::request() const {
  const Options& o = context_.options;
  return {context_.self(), context_.identity.incarnation(), o.address, o.zone, o.vnodes, o.witness,
          false,           context_.identity.shown()};
}

std::optional<peer::JoinRequest> Joining::ask(Time now) {
  if (context_.stage != Stage::running || context_.is_member() || now - asked_ < repeat) return {};
  asked_ = now;
  peer::JoinRequest wanted = request();
  if (context_.raft->is_leader()) return wanted;
  if (context_.raft->leader() != 0)
    context_.send(context_.raft->leader(), std::move(wanted));
  else
    ask_around(wanted);
  return {};
}

// Whoever votes knows who leads, if this log knows who votes. All others in turn, so that hundreds that start at one
// time do not each call hundreds.
void Joining::ask_around(const peer::JoinRequest& request) {
  const NodeId self = context_.self();
  const raft::Config& config = context_.raft->config();
  for (const NodeId voter : config.voters)
    if (voter != self) context_.send(voter, request);
  std::vector<Endpoint> others;
  for (const Endpoint& seed : context_.options.seeds)
    if (seed != context_.options.address) others.push_back({seed.address, static_cast<std::uint16_t>(seed.port + 1)});
  const auto add = [&](NodeId node) {
    if (const auto address = context_.book.address_of(context_.state, node); node != self && address)
      others.push_back(*address);
  };
  for (const auto& [node, member] : context_.state.members) add(node);
  for (const auto& [node, heard] : context_.book.heard())
    if (config.contains(node) && !context_.state.member(node)) add(node);
  for (std::size_t i = 0; i < std::min(others.size(), at_once); ++i)
    context_.outbox.by_address.emplace_back(others[next_++ % others.size()], request);
}

void Joining::ask_to_leave(Time now) {
  if (context_.stage != Stage::leaving || !context_.is_member() || context_.raft->is_leader() ||
      context_.raft->leader() == 0 || now - asked_ < repeat)
    return;
  asked_ = now;
  context_.propose(now, cluster::Remove{context_.self(), context_.identity.incarnation(), true});
}

}  // namespace sd::control
