#include "sim/reconfiguration.hpp"

#include <algorithm>

#include "core/raft/test_cluster.hpp"

namespace sd::sim {

namespace {

using namespace sd::raft;

Config with_role(Config config, NodeId id, bool voter) {
  std::erase(config.voters, id);
  std::erase(config.learners, id);
  auto& list = voter ? config.voters : config.learners;
  list.insert(std::ranges::lower_bound(list, id), id);
  return config;
}

bool settles_with(TestCluster& c, NodeId id, bool voter) {
  const bool proposed = c.run_until([&] {
    Raft* leader = c.leader();
    return leader && c.propose_config(leader->id(), with_role(leader->config(), id, voter));
  });
  return proposed && c.run_until([&] { return c.settled(); });
}

void separate(TestCluster& c, NodeId a, NodeId b) {
  c.cut.insert({a, b});
  c.cut.insert({b, a});
}

// As run_until, in steps so small that nothing of note happens between two of them.
template <typename F>
bool step_until(TestCluster& c, F&& done) {
  for (int steps = 0; steps < 200'000; ++steps) {
    if (done()) return true;
    if (!c.violation.empty()) return false;
    c.run_for(microseconds(50));
  }
  return false;
}

}  // namespace

std::string early_reconfiguration() {
  constexpr NodeId fifth = 5;
  TestCluster c(21);
  for (NodeId id = 1; id <= fifth; ++id) c.start(id);
  c.run_for(milliseconds(100));
  c.bootstrap(1);
  for (NodeId id = 2; id <= fifth; ++id)
    if (!settles_with(c, id, false) || (id != fifth && !settles_with(c, id, true)))
      return "no group of four voters and a learner comes about";

  // The first leader gives the learner a vote, but only the learner hears of it.
  const NodeId first = c.leader()->id();
  std::vector<NodeId> others;
  for (NodeId id = 1; id < fifth; ++id)
    if (id != first) others.push_back(id);
  for (const NodeId id : others) separate(c, first, id), separate(c, fifth, id);
  if (!c.propose_config(first, with_role(c.leader()->config(), fifth, true)))
    return "a leader refuses a change that may be made";

  // The three others elect a second leader; one of them does not hear that it was elected.
  NodeId second = 0, deaf = 0;
  const bool voted = step_until(c, [&] {
    for (const NodeId voter : others) {
      const Raft& r = *c.nodes.at(voter).raft;
      if (r.vote() == 0 || r.vote() == voter || r.vote() == first || r.term() <= c.nodes.at(first).raft->term())
        continue;
      second = r.vote();
      deaf = voter;
      return true;
    }
    return false;
  });
  if (!voted) return "three of four voters elect nobody";
  c.cut.insert({second, deaf});
  // its vote was lost; nothing to see
  if (!step_until(c, [&] { return c.nodes.at(second).raft->is_leader(); })) return "";
  const Config before = c.nodes.at(second).raft->config();
  Config without_first = before;
  std::erase(without_first.voters, first);
  without_first.learners.insert(std::ranges::lower_bound(without_first.learners, first), first);
  if (!c.propose_config(second, without_first)) return "";
  c.run_for(milliseconds(100));

  // The first leader comes back with the deaf voter and its own new one.
  c.cut.clear();
  for (const NodeId id : others)
    if (id != deaf) separate(c, first, id), separate(c, fifth, id), separate(c, deaf, id);
  c.run_for(seconds(20));
  return c.violation.empty() ? "a leader that has committed nothing in its term changes the voters" : c.violation;
}

}  // namespace sd::sim
