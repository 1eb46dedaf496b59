// The cluster log, membership, leases and recovery: what this node does as a member, and what it does besides when it
// leads.
#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/node/node_impl.hpp"
#include "core/peer/introduction.hpp"

namespace sd {

namespace {
constexpr Time proposal_repeat = milliseconds(500);
constexpr Time proposal_give_up = seconds(30);
// of this node's clients; below the number of outcomes the state remembers
constexpr std::size_t max_proposals = 32;
constexpr Time join_repeat = milliseconds(300);
constexpr std::size_t joins_at_once = 8;  // nodes that are asked by one that does not know who leads
constexpr Time refusal_counts = milliseconds(500);
constexpr std::ptrdiff_t max_strangers = 32;         // that are given the log at a time and are no members yet
constexpr std::size_t recovery_budget = 16;          // objects of one disk peered at once by the sweep
constexpr Time shutdown_grace = milliseconds(1500);  // for the others to learn of it from the leader
}  // namespace

// --- The log

void Node::Impl::settle_raft(Time now, Effects& fx) {
  const std::uint64_t before = cluster_state.applied;
  for (note_leader(now, fx); !raft_fx.messages.empty() || !raft_fx.committed.empty() || raft_fx.install_snapshot;
       note_leader(now, fx)) {
    auto messages = std::exchange(raft_fx.messages, {});
    auto committed = std::exchange(raft_fx.committed, {});
    auto snapshot = std::exchange(raft_fx.install_snapshot, {});
    for (auto& [to, message] : messages) {
      peer::RaftFrame frame;
      frame.to = to;
      raft::encode(message, frame.bytes);
      outbox.emplace_back(to, std::move(frame));
    }
    if (snapshot) {
      auto state = cluster::State::decode(*snapshot);
      if (!state) {
        fail("the cluster log holds a snapshot that cannot be read", fx);
        return;
      }
      cluster_state = std::move(*state);
    }
    for (auto& entry : committed) apply(now, entry, fx);
    if (raft->wants_compaction(now) && !committed.empty()) {
      std::string bytes;
      cluster_state.encode(bytes);
      raft->compact(now, cluster_state.applied, std::move(bytes), raft_fx);
    }
  }
  if (found_group != 0 && raft->applied_index() == raft->last_index()) found_anew(now, fx);
  if (cluster_state.applied != before) state_changed(now, fx);
}

void Node::Impl::apply(Time now, raft::Entry& entry, Effects& fx) {
  applied_term = entry.term;
  if (entry.kind != raft::Entry::Kind::command) {
    cluster_state.skip(entry.index);
    return;
  }
  const auto command = cluster::decode_command(entry.data);
  if (!command) {
    fail("the cluster log holds a command that this version does not know; upgrade this node", fx);
    return;
  }
  cluster_state.apply(entry.index, *command);
  // Only a node that is part of the cluster now is meant; one that reads an old log is not.
  if (std::holds_alternative<cluster::Shutdown>(command->body) && cluster_state.is_up(id, own_incarnation) &&
      exit_at == never)
    exit_at = now + shutdown_grace;
}

void Node::Impl::state_changed(Time now, Effects& fx) {
  const std::uint64_t index = cluster_state.epochs.empty() ? 0 : cluster_state.epochs.back().log_index;
  if (index != seen_epoch_index || placement.periods().size() != cluster_state.epochs.size()) {
    seen_epoch_index = index;
    placement.follow(cluster_state);
    if (cluster_state.epoch() != seen_epoch) {
      seen_epoch = cluster_state.epoch();
      std::string text = "epoch " + std::to_string(seen_epoch) + ":";
      for (const auto& m : placement.current().record.members) {
        const auto* member = cluster_state.member(m.id);
        text += " " + to_string(member->address) + (m.up ? "" : " (down)");
      }
      log(fx, LogLine::Level::info, std::move(text));
    }
    turn_away_old_disks(now);
  }
  // A node that is not a member in this incarnation knows the cluster only as it was.
  if (exit_at != never && !cluster_state.shut_down) exit_at = never;
  refresh(now, fx);
  gateway->on_state(now, gateway_fx);
  replica->on_state(now, cluster_state.is_up(id, own_incarnation), replica_fx);
  check_proposals(now);
}

// --- Leases

bool Node::Impl::may_serve(Time now) const {
  return phase == Phase::running && cluster_state.formatted && !cluster_state.shut_down &&
         cluster_state.is_up(id, own_incarnation) && (now < lease_until || SD_BUG(serve_without_lease));
}

// First in every call: nothing may be answered on the strength of a lease that ended before `now`.
void Node::Impl::refresh(Time now, Effects& fx) {
  if (!gateway) return;
  const bool may = may_serve(now);
  if (may == serving) return;
  SD_SOMETIMES(!may && now >= lease_until && phase == Phase::running, lease_lost);
  serving = may;
  log(fx, may ? LogLine::Level::info : LogLine::Level::warning,
      may ? "serving" : "not serving: " + status_at(now).trouble);
  gateway->set_serving(now, may, gateway_fx);
}

bool Node::Impl::may_grant(Time now, NodeId to, Incarnation incarnation) const {
  return leads() && leadership->may_grant(now, cluster_state, to, incarnation, raft->quorum_contact(now), applied_term);
}

void Node::Impl::ask_for_lease(Time now) {
  if (!cluster_state.is_up(id, own_incarnation)) return;
  if (raft->is_leader()) {
    // As long as from its last word with a majority: whoever leads next relies on that (see Leadership).
    if (may_grant(now, id, own_incarnation))
      lease_until = std::max(lease_until, std::min(now, raft->quorum_contact(now)) + options.lease);
    if (leadership) leadership->on_clean(id, clean_reported);
    return;
  }
  if (raft->leader() == 0 || now - lease_asked < options.lease / 6) return;
  lease_asked = now;
  peer::LeaseRequest request{own_incarnation, now, clean_reported, purge.done_disks(peer::max_purged)};
  outbox.emplace_back(raft->leader(), std::move(request));
}

// --- Leading

// Makes the leadership follow the log's: one object for each term in which this node leads.
void Node::Impl::note_election(Time now, Effects& fx) {
  if (leads()) return;
  leadership.reset();
  if (!raft->is_leader()) return;
  leadership.emplace(control::Leadership::Timing{options.lease, options.lease_margin, options.election_timeout_min},
                     elected());
  // What a follower noticed long ago says nothing about now.
  links.forget_refusals_before(now - std::min(now, refusal_counts));
  log(fx, LogLine::Level::info, "leading, term " + std::to_string(raft->term()));
}

void Node::Impl::lead(Time now, Effects& fx) {
  note_election(now, fx);
  if (!leadership) return;
  leadership->watch_absent(now, cluster_state, raft->config().voters, raft->config().learners);
  const auto* self = cluster_state.member(id);
  if ((phase == Phase::leaving || (self && self->draining)) && hand_over(now)) return;
  manage_voters(now);
  remove_silent(now, fx);
  expel_absent(now, fx);
  forget_gone(now, fx);
  forget_strangers(now, fx);
  mark_clean(now);
  if (phase == Phase::leaving && cluster_state.is_up(id, own_incarnation))
    propose_untracked(now, cluster::Remove{id, own_incarnation, true});
}

void Node::Impl::mark_clean(Time now) {
  // A disk that was deleted is forgotten once nobody that is up holds an object of it.
  for (const auto& [vid, vdi] : cluster_state.vdis) {
    if (!vdi.deleting) continue;
    if (purge.done(vid) && leadership->purged_by_others(cluster_state, id, vid))
      propose_untracked(now, cluster::PurgeVdi{vid});
  }
  if (cluster_state.epochs.size() >= 2 && leadership->all_clean(cluster_state))
    propose_untracked(now, cluster::MarkClean{cluster_state.epoch()});
}

// --- Joining

// At a start nothing of the log counts as applied until a leader says what is committed; and there is no leader until
// the voters find each other. So whoever the log let in has lived, and is called, committed or not: an address that is
// wrong costs a refused connection.
void Node::Impl::read_log() {
  logged_until = raft->last_index();
  for (std::uint64_t index = raft->snapshot_index() + 1; index <= logged_until; ++index) {
    const raft::Entry& entry = raft->entry(index);
    if (entry.kind != raft::Entry::Kind::command) continue;
    const auto command = cluster::decode_command(entry.data);
    const auto* join = command ? std::get_if<cluster::Join>(&command->body) : nullptr;
    if (!join) continue;
    const cluster::Member& member = join->member;
    logged_incarnations[member.id] = member.incarnation;
    if ((addresses.size() < limits::max_members || addresses.contains(member.id)) && !SD_BUG(call_nobody))
      addresses[member.id] = member.address;
  }
}

void Node::Impl::ask_to_join(Time now) {
  if (phase == Phase::leaving && cluster_state.is_up(id, own_incarnation) && !raft->is_leader() &&
      raft->leader() != 0 && now - join_asked >= join_repeat) {
    join_asked = now;
    propose_untracked(now, cluster::Remove{id, own_incarnation, true});
    return;
  }
  if (phase != Phase::running || cluster_state.is_up(id, own_incarnation) || now - join_asked < join_repeat) return;
  join_asked = now;
  peer::JoinRequest request{id,
                            own_incarnation,
                            options.address,
                            options.zone,
                            options.vnodes,
                            options.witness,
                            false,
                            shown_incarnations(incarnation_asked_for)};
  if (raft->is_leader()) {
    on_join_request(now, request);
    return;
  }
  if (raft->leader() != 0) {
    outbox.emplace_back(raft->leader(), request);
    return;
  }
  // Whoever votes knows who leads, if this log knows who votes. All others in turn, so that hundreds that start at one
  // time do not each call hundreds.
  for (const NodeId voter : raft->config().voters)
    if (voter != id) outbox.emplace_back(voter, request);
  std::vector<Endpoint> others;
  for (const Endpoint& seed : options.seeds)
    if (seed != options.address) others.push_back({seed.address, static_cast<std::uint16_t>(seed.port + 1)});
  for (const auto& [node, member] : cluster_state.members)
    if (const auto address = address_of(node); node != id && address) others.push_back(*address);
  for (const auto& [node, heard] : addresses)
    if (const auto address = address_of(node);
        node != id && address && raft->config().contains(node) && !cluster_state.member(node))
      others.push_back(*address);
  for (std::size_t i = 0; i < std::min(others.size(), joins_at_once); ++i)
    outbox_by_address.emplace_back(others[next_asked++ % others.size()], request);
}

void Node::Impl::on_join_request(Time now, peer::JoinRequest request) {
  if (request.id == 0 || !raft) return;
  if (!raft->is_leader()) {
    if (request.relayed || raft->leader() == 0 || raft->leader() == request.id) return;
    request.relayed = true;
    outbox.emplace_back(raft->leader(), request);
    return;
  }
  if (!leads()) return;  // elected just now: it asks again
  if (addresses.size() < limits::max_members || addresses.contains(request.id)) addresses[request.id] = request.address;
  if (cluster_state.is_up(request.id, request.incarnation)) return;
  const auto* known = cluster_state.member(request.id);
  if (known && request.id != id && !peer::follows(known->incarnation, request.incarnation, request.earlier)) {
    outbox.emplace_back(request.id, peer::KnownIncarnation{request.id, known->incarnation});
    return;
  }
  leadership->on_join_request(request.id);
  if (!raft->config().contains(request.id)) {
    if (raft->config().voters.size() + raft->config().learners.size() >= limits::max_members) return;
    // Anybody may ask. Who is let in makes room for the next; who never comes goes after a while.
    const auto stranger = [&](NodeId node) { return !cluster_state.member(node); };
    if (std::ranges::count_if(raft->config().learners, stranger) >= max_strangers) return;
    raft::Config next = raft->config();
    next.learners.insert(std::ranges::lower_bound(next.learners, request.id), request.id);
    raft->propose_config(now, std::move(next), raft_fx);
    return;
  }
  // Let in once it has (nearly) all of the log, so that it is of use at once. One that was let in before need not say
  // again that it holds some.
  if (known ? raft->match(request.id) + close_to_commit < raft->commit_index() : !holds_log(request.id)) return;
  if (!leadership->may_let_in(now, request.id)) return;
  cluster::Member member;
  member.id = request.id;
  member.incarnation = request.incarnation;
  member.address = request.address;
  member.zone = request.zone;
  member.vnodes = request.witness ? 0 : request.vnodes;
  member.witness = request.witness;
  propose_untracked(now, cluster::Join{member, known ? known->incarnation : 0});
}

// --- Proposals

// Of the node itself: may be lost, is repeated by whoever needs it, and does no harm twice.
void Node::Impl::propose_untracked(Time now, cluster::CommandBody body) {
  std::string bytes;
  cluster::encode({id, own_incarnation, 0, std::move(body)}, bytes);
  if (raft->is_leader())
    raft->propose(now, std::move(bytes), raft_fx);
  else if (raft->leader() != 0)
    outbox.emplace_back(raft->leader(), peer::Propose{std::move(bytes)});
}

// Of a client: repeated until it is applied, takes effect once.
std::uint64_t Node::Impl::propose(cluster::CommandBody body) {
  if (phase != Phase::running || proposals.size() >= max_proposals) return 0;
  const std::uint64_t number = next_proposal++;
  Proposal proposal;
  cluster::encode({id, own_incarnation, number, std::move(body)}, proposal.command);
  proposal.deadline = now_ + proposal_give_up;
  proposals.emplace(number, std::move(proposal));
  send_proposals(now_);
  return number;
}

void Node::Impl::send_proposals(Time now) {
  for (auto at = proposals.begin(); at != proposals.end();) {
    auto& [number, proposal] = *at;
    if (now >= proposal.deadline) {
      proposals_done.emplace_back(number, cluster::Result{Status::unavailable});
      at = proposals.erase(at);
      continue;
    }
    if (now >= proposal.send_at && (raft->is_leader() || raft->leader() != 0)) {
      proposal.send_at = now + proposal_repeat;
      if (raft->is_leader())
        raft->propose(now, proposal.command, raft_fx);
      else
        outbox.emplace_back(raft->leader(), peer::Propose{proposal.command});
    }
    ++at;
  }
}

void Node::Impl::check_proposals(Time) {
  for (auto at = proposals.begin(); at != proposals.end();) {
    if (const auto result = cluster_state.outcome(id, own_incarnation, at->first)) {
      proposals_done.emplace_back(at->first, *result);
      at = proposals.erase(at);
    } else {
      ++at;
    }
  }
}

// --- Recovery

void Node::Impl::recover(Time now) {
  if (!serving || cluster_state.recovery_off || cluster_state.epochs.size() < 2) return;
  if (gateway->recover(now, recovery_budget, adopts(), gateway_fx)) clean_reported = cluster_state.applied;
}

void Node::Impl::purge_deleted(Time now) {
  if (!cluster_state.is_up(id, own_incarnation)) return;
  std::vector<peer::ObjectRequest> requests;
  purge.tick(cluster_state, [&] { return store->objects(); }, requests);
  for (peer::ObjectRequest& request : requests) {
    request.id = purge_id;
    replica->on_request(now, id, std::move(request), true, replica_fx);
  }
}

}  // namespace sd
