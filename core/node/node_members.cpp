// Members that come and go, as their leader sees them: who is taken out, whose share others get, and who votes.
#include <algorithm>
#include <tuple>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/cluster/voters.hpp"
#include "core/node/node_impl.hpp"

namespace sd {

void Node::Impl::log_no_leader(Effects& fx) {
  std::string text =
      "no leader: " + std::to_string(raft->config().voters.size() / 2 + 1) + " of the voters have to reach each other:";
  for (const NodeId voter : raft->config().voters) text += " " + name_of(voter);
  log(fx, LogLine::Level::warning, std::move(text));
}

// One line in ten seconds, however many there are: whoever sends them must not fill the disk with it.
void Node::Impl::tell_refusals(Time now, Effects& fx) {
  const raft::Refusals& seen = raft->refusals();
  if (seen.count == refusals.told || now < refusals.next) return;
  log(fx, LogLine::Level::warning,
      "refused " + std::to_string(seen.count - refusals.told) + " messages about the log, the last one from " +
          name_of(seen.last_from) + ": " + std::string(seen.last_reason));
  refusals = {seen.count, now + seconds(10)};
}

// Called whenever the log may have moved: a change of the leader is acted on at once.
void Node::Impl::note_leader(Time now, Effects& fx) {
  const NodeId leader = raft->leader();
  if (leader != 0 && leader != id && (leader != last_leader.id || raft->term() != last_leader.term))
    last_leader = {leader, now, raft->term()};
  if (leadership && !leads()) lead(now, fx);  // deposed, or elected again in a later term
  if (leader == noted_leader) return;
  noted_leader = leader;
  if (phase < Phase::running) return;
  if (leader == 0) log_no_leader(fx);
  if (raft->is_leader() != leadership.has_value()) lead(now, fx);
  housekeeping_at = std::min(housekeeping_at, now);  // it may wait for a word of ours
}

// Somebody's peer port says that nobody listens there.
void Node::Impl::note_gone(Time now, const Endpoint& peer) {
  if (!raft || phase < Phase::running) return;
  const NodeId leader = raft->leader();
  if (leader != 0 && leader != id && address_of(leader) == peer) raft->leader_gone(now, leader);
  if (raft->is_leader()) housekeeping_at = std::min(housekeeping_at, now);
}

// --- Removal

// What a new leader knows of the leases that others gave. A leader gives them only while no other can have been
// elected. The last one's own lease ends with its last word with a majority, and that was an election timeout before
// this node was elected.
control::Leadership::Elected Node::Impl::elected() const {
  control::Leadership::Elected elected{raft->term(), raft->leader_since(), 0, 0};
  if (last_leader.term + 1 == raft->term()) {
    elected.earlier_leader = last_leader.id;
    elected.earlier_bound = std::max(raft->earlier_contact_bound(), last_leader.since);
  }
  return elected;
}

void Node::Impl::remove_silent(Time now, Effects& fx) {
  if (cluster_state.shut_down) return;
  // Nobody listens where it listened: the process is gone, and its lease with it.
  const auto is_gone = [&](Endpoint address) {
    ++address.port;
    return links.refused(address);
  };
  cluster::Remove remove;
  for (const auto& member : leadership->silent(now, cluster_state, id, is_gone)) {
    log(fx, LogLine::Level::warning,
        "removing " + to_string(cluster_state.member(member.id)->address) +
            (member.gone ? ": its process is gone" : ": it is silent"));
    remove.with.emplace_back(member.id, member.incarnation);
  }
  if (remove.with.empty()) return;
  std::tie(remove.id, remove.incarnation) = remove.with.back();
  remove.with.pop_back();
  propose_untracked(now, std::move(remove));
}

// --- Absence

void Node::Impl::expel_absent(Time now, Effects& fx) {
  if (cluster_state.shut_down) return;
  for (const NodeId node : leadership->to_expel(now, cluster_state)) {
    const cluster::Member& member = *cluster_state.member(node);
    log(fx, LogLine::Level::warning,
        to_string(member.address) + " has been away for longer than the grace time: others take its share of the data");
    propose_untracked(now, cluster::Expel{node, member.incarnation});
  }
}

// Those that are gone for good first stop getting the log, then leave the list.
void Node::Impl::forget_gone(Time now, Effects& fx) {
  if (raft->config_index() > raft->commit_index()) return;
  for (const auto& [node, member] : cluster_state.members) {
    if (!cluster_state.is_forgettable(member) || raft->config().is_voter(node)) continue;
    if (raft->config().is_learner(node)) {
      raft::Config next = raft->config();
      std::erase(next.learners, node);
      raft->propose_config(now, std::move(next), raft_fx);
      return;
    }
    if (!leadership->may_forget(now, node)) continue;
    SD_SOMETIMES(true, member_forgotten);
    log(fx, LogLine::Level::info,
        "node " + std::to_string(node) + ", which was " + to_string(member.address) +
            ", is gone for good and leaves the list");
    propose_untracked(now, cluster::Forget{node, member.incarnation});
  }
}

// A node that asked to be let in and was not heard since: a directory that is gone, an address that was wrong.
void Node::Impl::forget_strangers(Time now, Effects& fx) {
  constexpr Time patience = seconds(60);
  if (raft->config_index() > raft->commit_index()) return;
  for (const NodeId node : raft->config().learners) {
    if (leadership->stranger_for(now, node) < patience || raft->contact(node, now) + patience > now) continue;
    log(fx, LogLine::Level::info, "node " + std::to_string(node) + " asked to join and never came; it is forgotten");
    raft::Config next = raft->config();
    std::erase(next.learners, node);
    raft->propose_config(now, std::move(next), raft_fx);
    return;
  }
}

// --- Voters

// Whether a member has (nearly) all of the log. What one has said nothing about yet it does not hold, however short the
// log is: with a vote, or a share of the data, it would be counted on without knowing which group it is in.
bool Node::Impl::holds_log(NodeId node) const {
  const auto match = raft->match(node);
  return (match > 0 || SD_BUG(promote_unheard)) && match + close_to_commit >= raft->commit_index();
}

// One that fell silent just now is up in the cluster state until its lease is over, and no help to a majority.
bool Node::Impl::hears(Time now, NodeId node) const {
  return raft->contact(node, now) + options.election_timeout_max > now;
}

void Node::Impl::manage_voters(Time now) {
  const raft::Config& config = raft->config();
  if (raft->config_index() > raft->commit_index()) return;  // one change at a time
  std::vector<cluster::VoterCandidate> candidates;
  const auto add = [&](NodeId node, bool voter) {
    cluster::VoterCandidate c;
    c.id = node;
    c.voter = voter;
    c.leads = node == id;
    c.ready = holds_log(node);
    const auto* member = cluster_state.member(node);
    if (member) {
      c.zone = member->zone;
      c.up = member->up && (hears(now, node) || SD_BUG(promote_unheard));
      c.draining = member->draining;
    }
    c.gone = !c.up && ((member && (member->left || cluster_state.is_replaced(*member))) ||
                       leadership->absent_for(now, node) >= options.voter_patience);
    candidates.push_back(c);
  };
  for (const NodeId node : config.voters) add(node, true);
  for (const NodeId node : config.learners) add(node, false);
  std::ranges::sort(candidates, {}, &cluster::VoterCandidate::id);
  const auto change = cluster::next_voter_change(candidates);
  if (!change) return;
  raft::Config next = config;
  auto& from = change->promote ? next.learners : next.voters;
  auto& to = change->promote ? next.voters : next.learners;
  std::erase(from, change->id);
  to.insert(std::ranges::lower_bound(to, change->id), change->id);
  raft->propose_config(now, std::move(next), raft_fx);
}

// To a voter that is to stay, if there is one that can take over at once.
bool Node::Impl::hand_over(Time now) {
  for (const NodeId node : raft->config().voters) {
    const auto* member = cluster_state.member(node);
    if (node == id || !member || !member->up || member->draining) continue;
    if (raft->hand_over(now, node, raft_fx)) return true;
  }
  return false;
}

// One member takes the disks whose owner is gone, so that recovery reaches them: the leader, unless it holds no data
// and never should.
bool Node::Impl::adopts() const {
  const auto* leader = cluster_state.member(raft->leader());
  if (!leader) return false;
  if (!leader->witness) return raft->is_leader();
  for (const auto& [node, member] : cluster_state.members)
    if (member.up && !member.witness) return node == id;
  return false;
}

// --- Going on without a majority

std::string Node::Impl::force_new_configuration() {
  if (phase != Phase::running || raft->empty()) return "this node is not part of a cluster";
  if (raft->leader() != 0) return "the cluster has a leader, so its majority is not lost";
  if (now_ < last_leader.since + options.lease || now_ < lease_until)
    return "the leader was heard just now; wait until it is sure to be gone";
  raft->commit_all(now_, raft_fx);
  while (found_group == 0 || found_group == raft->group()) found_group = rng.next();
  return {};
}

// The index jumps ahead, so that no version of the old log, however late it turns up, is above one of the new.
void Node::Impl::found_anew(Time now, Effects& fx) {
  constexpr std::uint64_t jump = 1u << 20;
  const std::uint64_t group = std::exchange(found_group, 0);
  if (raft->leader() != 0) return;  // just in time
  log(fx, LogLine::Level::warning,
      "an operator has given up the majority of the voters: this node goes on alone, under a new cluster log");
  const std::uint64_t index = cluster_state.applied + jump;
  cluster_state.found_anew(index, id, raft->group());
  std::string bytes;
  cluster_state.encode(bytes);
  raft->found_anew(now, group, index, std::move(bytes), raft_fx);
  lease_until = 0;
  state_changed(now, fx);
  // No connection that introduced itself as one of the old log goes on, and none that is about to.
  links_for(fx).introduce_anew(now);
}

// --- For operators

std::vector<NodeId> Node::Impl::voters() const { return raft ? raft->config().voters : std::vector<NodeId>{}; }

// People know nodes by their client ports.
std::string Node::Impl::name_of(NodeId node) const {
  auto address = address_of(node);
  if (!address) return Backend::name_of(node);
  --address->port;
  return to_string(*address);
}

std::vector<NodeId> Node::Impl::unreachable_voters() const {
  std::vector<NodeId> missing;
  if (!raft || raft->leader() != 0) return missing;
  for (const NodeId node : raft->config().voters) {
    if (node == id) continue;
    const auto address = address_of(node);
    if (!address || !links.up(*address)) missing.push_back(node);
  }
  return missing;
}

}  // namespace sd
