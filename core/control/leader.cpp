#include "core/control/leader.hpp"

#include <algorithm>
#include <tuple>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/peer/introduction.hpp"

namespace sd::control {

namespace {
// entries that a member may lack when it is let in, or votes
constexpr std::uint64_t close_to_commit = 64;
constexpr Time refusal_counts = milliseconds(500);
constexpr std::ptrdiff_t max_strangers = 32;  // that are given the log at a time and are no members yet
}  // namespace

// --- Terms

void Leader::note_election(Time now) {
  if (leads()) return;
  leadership_.reset();
  if (!context_.raft->is_leader()) return;
  const Options& o = context_.options;
  leadership_.emplace(Leadership::Timing{o.lease, o.lease_margin, o.election_timeout_min}, elected());
  // What a follower noticed long ago says nothing about now.
  context_.links.forget_refusals_before(now - std::min(now, refusal_counts));
  context_.log(LogLine::Level::info, "leading, term " + std::to_string(context_.raft->term()));
}

void Leader::note_followed(Time now) {
  const NodeId leader = context_.raft->leader();
  const std::uint64_t term = context_.raft->term();
  if (leader != 0 && leader != context_.self() && (leader != followed_.id || term != followed_.term))
    followed_ = {leader, now, term};
}

// What a new leader knows of the leases that others gave. A leader gives them only while no other can have been
// elected. The last one's own lease ends with its last word with a majority, and that was an election timeout before
// this node was elected.
Leadership::Elected Leader::elected() const {
  const raft::Raft& raft = *context_.raft;
  Leadership::Elected elected{raft.term(), raft.leader_since(), 0, 0};
  if (followed_.term + 1 == raft.term()) {
    elected.earlier_leader = followed_.id;
    elected.earlier_bound = std::max(raft.earlier_contact_bound(), followed_.since);
  }
  return elected;
}

void Leader::lead(Time now) {
  note_election(now);
  if (!leadership_) return;
  const raft::Config& config = context_.raft->config();
  leadership_->watch_absent(now, context_.state, config.voters, config.learners);
  const auto* self = context_.state.member(context_.self());
  if ((context_.stage == Stage::leaving || (self && self->draining)) && hand_over(now)) return;
  manage_voters(now);
  remove_silent(now);
  expel_absent(now);
  forget_gone(now);
  forget_strangers(now);
  mark_clean(now);
  if (context_.stage == Stage::leaving && context_.is_member())
    context_.propose(now, cluster::Remove{context_.self(), context_.identity.incarnation(), true});
}

// To a voter that is to stay, if there is one that can take over at once.
bool Leader::hand_over(Time now) {
  for (const NodeId node : context_.raft->config().voters) {
    const auto* member = context_.state.member(node);
    if (node == context_.self() || !member || !member->up || member->draining) continue;
    if (context_.raft->hand_over(now, node, context_.fx.raft)) return true;
  }
  return false;
}

// --- Leases

bool Leader::may_grant(Time now, NodeId to, Incarnation incarnation) const {
  return leads() && leadership_->may_grant(now, context_.state, to, incarnation, context_.raft->quorum_contact(now),
                                           applied_term_);
}

void Leader::on_lease_request(Time now, NodeId from, peer::LeaseRequest&& request) {
  if (!may_grant(now, from, request.incarnation)) return;
  leadership_->on_granted(now, from, request.recovered, std::move(request.purged));
  context_.send(from, peer::LeaseGrant{request.incarnation, request.sent, context_.raft->commit_index()});
}

void Leader::on_own_clean(std::uint64_t clean) {
  if (leadership_) leadership_->on_clean(context_.self(), clean);
}

// --- Joining

void Leader::on_join_request(Time now, const peer::JoinRequest& request) {
  if (!leads()) return;  // elected just now: it asks again
  const cluster::State& state = context_.state;
  context_.book.hear(request.id, request.address);
  if (state.is_up(request.id, request.incarnation)) return;
  const auto* known = state.member(request.id);
  if (known && request.id != context_.self() &&
      !peer::follows(known->incarnation, request.incarnation, request.earlier)) {
    context_.send(request.id, peer::KnownIncarnation{request.id, known->incarnation});
    return;
  }
  leadership_->on_join_request(request.id);
  if (!context_.raft->config().contains(request.id)) return add_learner(now, request.id);
  // Let in once it has (nearly) all of the log, so that it is of use at once. One that was let in before need not say
  // again that it holds some.
  const raft::Raft& raft = *context_.raft;
  if (known ? raft.match(request.id) + close_to_commit < raft.commit_index() : !holds_log(request.id)) return;
  if (!leadership_->may_let_in(now, request.id)) return;
  cluster::Member member;
  member.id = request.id;
  member.incarnation = request.incarnation;
  member.address = request.address;
  member.zone = request.zone;
  member.vnodes = request.witness ? 0 : request.vnodes;
  member.witness = request.witness;
  context_.propose(now, cluster::Join{member, known ? known->incarnation : 0});
}

// Anybody may ask. Who is let in makes room for the next; who never comes goes after a while.
void Leader::add_learner(Time now, NodeId node) {
  const raft::Config& config = context_.raft->config();
  if (config.voters.size() + config.learners.size() >= limits::max_members) return;
  const auto stranger = [&](NodeId learner) { return !context_.state.member(learner); };
  if (std::ranges::count_if(config.learners, stranger) >= max_strangers) return;
  raft::Config next = config;
  next.learners.insert(std::ranges::lower_bound(next.learners, node), node);
  context_.raft->propose_config(now, std::move(next), context_.fx.raft);
}

void Leader::erase_learner(Time now, NodeId node) {
  raft::Config next = context_.raft->config();
  std::erase(next.learners, node);
  context_.raft->propose_config(now, std::move(next), context_.fx.raft);
}

// --- Removal

void Leader::remove_silent(Time now) {
  if (context_.state.shut_down) return;
  // Nobody listens where it listened: the process is gone, and its lease with it.
  const auto is_gone = [&](Endpoint address) {
    ++address.port;
    return context_.links.refused(address);
  };
  cluster::Remove remove;
  for (const auto& member : leadership_->silent(now, context_.state, context_.self(), is_gone)) {
    context_.log(LogLine::Level::warning, "removing " + to_string(context_.state.member(member.id)->address) +
                                              (member.gone ? ": its process is gone" : ": it is silent"));
    remove.with.emplace_back(member.id, member.incarnation);
  }
  if (remove.with.empty()) return;
  std::tie(remove.id, remove.incarnation) = remove.with.back();
  remove.with.pop_back();
  context_.propose(now, std::move(remove));
}

// --- Absence

void Leader::expel_absent(Time now) {
  if (context_.state.shut_down) return;
  for (const NodeId node : leadership_->to_expel(now, context_.state)) {
    const cluster::Member& member = *context_.state.member(node);
    context_.log(
        LogLine::Level::warning,
        to_string(member.address) + " has been away for longer than the grace time: others take its share of the data");
    context_.propose(now, cluster::Expel{node, member.incarnation});
  }
}

// Those that are gone for good first stop getting the log, then leave the list.
void Leader::forget_gone(Time now) {
  const raft::Raft& raft = *context_.raft;
  if (raft.config_index() > raft.commit_index()) return;
  for (const auto& [node, member] : context_.state.members) {
    if (!context_.state.is_forgettable(member) || raft.config().is_voter(node)) continue;
    if (raft.config().is_learner(node)) return erase_learner(now, node);
    if (!leadership_->may_forget(now, node)) continue;
    SD_SOMETIMES(true, member_forgotten);
    context_.log(LogLine::Level::info, "node " + std::to_string(node) + ", which was " + to_string(member.address) +
                                           ", is gone for good and leaves the list");
    context_.propose(now, cluster::Forget{node, member.incarnation});
  }
}

// A node that asked to be let in and was not heard since: a directory that is gone, an address that was wrong.
void Leader::forget_strangers(Time now) {
  constexpr Time patience = seconds(60);
  const raft::Raft& raft = *context_.raft;
  if (raft.config_index() > raft.commit_index()) return;
  for (const NodeId node : raft.config().learners) {
    if (leadership_->stranger_for(now, node) < patience || raft.contact(node, now) + patience > now) continue;
    context_.log(LogLine::Level::info,
                 "node " + std::to_string(node) + " asked to join and never came; it is forgotten");
    return erase_learner(now, node);
  }
}

// --- Voters

// Whether a member has (nearly) all of the log. What one has said nothing about yet it does not hold, however short the
// log is: with a vote, or a share of the data, it would be counted on without knowing which group it is in.
bool Leader::holds_log(NodeId node) const {
  const auto match = context_.raft->match(node);
  return (match > 0 || SD_BUG(promote_unheard)) && match + close_to_commit >= context_.raft->commit_index();
}

// One that fell silent just now is up in the cluster state until its lease is over, and no help to a majority.
bool Leader::hears(Time now, NodeId node) const {
  return context_.raft->contact(node, now) + context_.options.election_timeout_max > now;
}

cluster::VoterCandidate Leader::candidate(Time now, NodeId node, bool voter) const {
  cluster::VoterCandidate c;
  c.id = node;
  c.voter = voter;
  c.leads = node == context_.self();
  c.ready = holds_log(node);
  const auto* member = context_.state.member(node);
  if (member) {
    c.zone = member->zone;
    c.up = member->up && (hears(now, node) || SD_BUG(promote_unheard));
    c.draining = member->draining;
  }
  c.gone = !c.up && ((member && (member->left || context_.state.is_replaced(*member))) ||
                     leadership_->absent_for(now, node) >= context_.options.voter_patience);
  return c;
}

void Leader::manage_voters(Time now) {
  const raft::Config& config = context_.raft->config();
  if (context_.raft->config_index() > context_.raft->commit_index()) return;  // one change at a time
  std::vector<cluster::VoterCandidate> candidates;
  for (const NodeId node : config.voters) candidates.push_back(candidate(now, node, true));
  for (const NodeId node : config.learners) candidates.push_back(candidate(now, node, false));
  std::ranges::sort(candidates, {}, &cluster::VoterCandidate::id);
  const auto change = cluster::next_voter_change(candidates);
  if (!change) return;
  raft::Config next = config;
  auto& from = change->promote ? next.learners : next.voters;
  auto& to = change->promote ? next.voters : next.learners;
  std::erase(from, change->id);
  to.insert(std::ranges::lower_bound(to, change->id), change->id);
  context_.raft->propose_config(now, std::move(next), context_.fx.raft);
}

// --- The end of the past

void Leader::mark_clean(Time now) {
  const cluster::State& state = context_.state;
  // A disk that was deleted is forgotten once nobody that is up holds an object of it.
  for (const auto& [vid, vdi] : state.vdis) {
    if (!vdi.deleting) continue;
    if (context_.purge.done(vid) && leadership_->purged_by_others(state, context_.self(), vid))
      context_.propose(now, cluster::PurgeVdi{vdi.disk()});
  }
  if (state.epochs.size() >= 2 && leadership_->all_clean(state))
    context_.propose(now, cluster::MarkClean{state.epoch()});
}

}  // namespace sd::control
