#include "sim/figure8.hpp"

#include <algorithm>

#include "core/raft/test_cluster.hpp"

namespace sd::sim {

namespace {

using namespace sd::raft;

bool settles_with(TestCluster& c, NodeId id, bool voter) {
  const bool proposed = c.run_until([&] {
    Raft* leader = c.leader();
    if (!leader) return false;
    raft::Config next = leader->config();
    std::erase(next.learners, id);
    auto& list = voter ? next.voters : next.learners;
    list.insert(std::ranges::lower_bound(list, id), id);
    return c.propose_config(leader->id(), std::move(next));
  });
  return proposed && c.run_until([&] { return c.settled(); });
}

}  // namespace

std::string figure8() {
  TestCluster c(14);
  for (NodeId id = 1; id <= 3; ++id) c.start(id);
  c.run_for(milliseconds(100));
  c.bootstrap(1);
  for (NodeId id = 2; id <= 3; ++id)
    if (!settles_with(c, id, false) || !settles_with(c, id, true)) return "no group of three comes about";

  Raft& leader = *c.leader();
  const NodeId other = leader.id() == 1 ? 2 : 1;
  for (NodeId id = 1; id <= 3; ++id)
    if (id != leader.id()) c.crash(id);
  const auto old = c.propose(leader.id(), "of the older term");
  if (!old) return "a leader refuses a proposal";
  const Term term = leader.term();
  const auto answer = [&](Message::Type type, Index index) {
    Message m;
    m.type = type;
    m.group = c.group;
    m.from = other;
    m.term = term + 1;
    m.index = index;
    c.tell(leader.id(), std::move(m));
    c.run_for(milliseconds(20));
  };
  if (!c.run_until([&] { return leader.role() == Role::pre_candidate; }))
    return "a leader that hears nobody goes on leading";
  answer(Message::Type::pre_vote_reply, 0);
  answer(Message::Type::vote_reply, 0);
  if (!leader.is_leader() || leader.term() != term + 1) return "a candidate with a majority does not lead";
  answer(Message::Type::append_reply, *old);
  if (leader.commit_index() >= *old)
    return "a leader of term " + std::to_string(term + 1) + " counts copies of an entry of term " +
           std::to_string(term) + " as committed";
  answer(Message::Type::append_reply, *old + 1);
  if (leader.commit_index() != *old + 1) return "an entry of the leader's own term does not commit the older ones";
  return c.violation;
}

}  // namespace sd::sim
