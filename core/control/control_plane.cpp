#include "core/control/control_plane.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"

namespace sd::control {

namespace {
constexpr Time shutdown_grace = milliseconds(1500);  // for the others to learn of it from the leader
}  // namespace

// --- Life

void ControlPlane::open(Time now, BufferPool& pool, std::uint64_t random_seed) {
  raft::Options r;
  r.id = context_.self();
  r.election_timeout_min = context_.options.election_timeout_min;
  r.election_timeout_max = context_.options.election_timeout_max;
  r.heartbeat = context_.options.heartbeat;
  r.snapshot_threshold = context_.options.snapshot_threshold;
  r.readable_command = [](std::string_view bytes) { return cluster::decode_command(bytes).has_value(); };
  r.readable_snapshot = [](std::string_view bytes) { return cluster::State::decode(bytes).has_value(); };
  context_.raft = std::make_unique<raft::Raft>(r, pool, random_seed);
  context_.raft->open(now, context_.fx.raft);
}

void ControlPlane::run(Time now, Random& random) {
  context_.stage = Stage::running;
  missed_at_ = now + 2 * context_.options.lease;
  raft::Raft& raft = *context_.raft;
  context_.book.read_log(raft);
  if (!raft.empty() || !(context_.options.local_only || context_.options.seeds.empty())) return;
  std::uint64_t group = 0;
  while (group == 0) group = random.next();
  raft.adopt_group(group);
  raft.bootstrap(now, context_.fx.raft);
}

void ControlPlane::leave() {
  context_.stage = Stage::leaving;
  joining_.hurry();
}

// --- The log

bool ControlPlane::settle(Time now) {
  raft::Raft& raft = *context_.raft;
  raft::Effects& fx = context_.fx.raft;
  const std::uint64_t before = context_.state.applied;
  for (note_leader(now); !fx.messages.empty() || !fx.committed.empty() || fx.install_snapshot; note_leader(now)) {
    auto messages = std::exchange(fx.messages, {});
    auto committed = std::exchange(fx.committed, {});
    auto snapshot = std::exchange(fx.install_snapshot, {});
    for (auto& [to, message] : messages) {
      peer::RaftFrame frame;
      frame.to = to;
      raft::encode(message, frame.bytes);
      context_.send(to, std::move(frame));
    }
    if (snapshot) {
      auto state = cluster::State::decode(*snapshot);
      if (!state) {
        context_.fx.fatal = "the cluster log holds a snapshot that cannot be read";
        return false;
      }
      context_.state = std::move(*state);
    }
    for (auto& entry : committed) apply(entry, now);
    if (raft.wants_compaction(now) && !committed.empty()) {
      std::string bytes;
      context_.state.encode(bytes);
      raft.compact(now, context_.state.applied, std::move(bytes), fx);
    }
  }
  if (found_group_ != 0 && raft.applied_index() == raft.last_index()) found_anew(now);
  if (context_.state.applied == before) return false;
  note_applied();
  // A node that is not a member in this incarnation knows the cluster only as it was.
  if (!context_.state.shut_down) exit_at_ = never;
  return true;
}

void ControlPlane::apply(raft::Entry& entry, Time now) {
  leader_.on_applied(entry.term);
  if (entry.kind != raft::Entry::Kind::command) {
    context_.state.skip(entry.index);
    return;
  }
  const auto command = cluster::decode_command(entry.data);
  if (!command) {
    context_.fx.fatal = "the cluster log holds a command that this version does not know; upgrade this node";
    return;
  }
  context_.state.apply(entry.index, *command);
  // Only a node that is part of the cluster now is meant; one that reads an old log is not.
  if (std::holds_alternative<cluster::Shutdown>(command->body) && context_.is_member() && exit_at_ == never)
    exit_at_ = now + shutdown_grace;
}

// Called whenever the log may have moved: a change of the leader is acted on at once.
void ControlPlane::note_leader(Time now) {
  const NodeId leader = context_.raft->leader();
  leader_.note_followed(now);
  if (leader_.began() && !leader_.leads()) leader_.lead(now);  // deposed, or elected again in a later term
  if (leader == noted_leader_) return;
  noted_leader_ = leader;
  if (context_.stage < Stage::running) return;
  if (leader == 0) log_no_leader();
  if (context_.raft->is_leader() != leader_.began()) leader_.lead(now);
  context_.fx.hurry = true;  // it may wait for a word of ours
}

void ControlPlane::on_gone(Time now, const Endpoint& peer) {
  if (!opened() || context_.stage < Stage::running) return;
  const NodeId leader = context_.raft->leader();
  if (leader != 0 && leader != context_.self() && address_of(leader) == peer) context_.raft->leader_gone(now, leader);
  if (context_.raft->is_leader()) context_.fx.hurry = true;
}

void ControlPlane::on_raft(Time now, NodeId from, const peer::RaftFrame& frame) {
  if (!context_.raft->ready() || frame.to != context_.self()) return;
  auto message = raft::decode(std::as_bytes(std::span(frame.bytes.data(), frame.bytes.size())));
  if (!message || message->from != from) return;
  // A node that waits to be let in learns from the first leader that contacts it which cluster it is.
  // (Not from a candidate: it may ask at an address where another node used to be, for a group that is no more.)
  const bool leads = message->type == raft::Message::Type::append || message->type == raft::Message::Type::snapshot;
  if (leads && context_.raft->group() == 0 && !context_.options.local_only && !context_.options.seeds.empty())
    context_.raft->adopt_group(message->group);
  context_.raft->on_message(now, std::move(*message), context_.fx.raft);
}

// --- Steps

void ControlPlane::tick(Time now) {
  ask_for_lease(now);
  leader_.note_election(now);
  if (const auto wanted = joining_.ask(now)) on_join_request(now, *wanted);
  joining_.ask_to_leave(now);
  leader_.lead(now);
  send_proposals(now);
}

bool ControlPlane::misses_leader(Time now) {
  if (now < missed_at_) return false;
  missed_at_ = never;
  return context_.raft->leader() == 0;
}

void ControlPlane::log_no_leader() {
  const auto& voters = context_.raft->config().voters;
  if (voters.empty()) return;
  std::string text = "no leader: " + std::to_string(voters.size() / 2 + 1) + " of the voters have to reach each other:";
  for (const NodeId voter : voters) text += " " + name_of(voter);
  context_.log(LogLine::Level::warning, std::move(text));
}

// One line in ten seconds, however many there are: whoever sends them must not fill the disk with it.
void ControlPlane::tell_refusals(Time now) {
  const raft::Refusals& seen = context_.raft->refusals();
  if (seen.count == refusals_.told || now < refusals_.next) return;
  context_.log(LogLine::Level::warning, "refused " + std::to_string(seen.count - refusals_.told) +
                                            " messages about the log, the last one from " + name_of(seen.last_from) +
                                            ": " + std::string(seen.last_reason));
  refusals_ = {seen.count, now + seconds(10)};
}

// --- Leases

bool ControlPlane::may_serve(Time now) const {
  return context_.stage == Stage::running && context_.state.formatted && !context_.state.shut_down &&
         context_.is_member() && (now < lease_until_ || SD_BUG(serve_without_lease));
}

void ControlPlane::ask_for_lease(Time now) {
  if (!context_.is_member()) return;
  const raft::Raft& raft = *context_.raft;
  const Incarnation incarnation = context_.identity.incarnation();
  if (raft.is_leader()) {
    // As long as from its last word with a majority: whoever leads next relies on that (see Leadership).
    if (leader_.may_grant(now, context_.self(), incarnation))
      lease_until_ = std::max(lease_until_, std::min(now, raft.quorum_contact(now)) + context_.options.lease);
    leader_.on_own_clean(clean_);
    return;
  }
  if (raft.leader() == 0 || now - lease_asked_ < context_.options.lease / 6) return;
  send_lease_request(now);
}

void ControlPlane::send_lease_request(Time now) {
  lease_asked_ = now;
  context_.send(context_.raft->leader(), peer::LeaseRequest{context_.identity.incarnation(), now, clean_,
                                                            context_.purge.done_disks(peer::max_purged)});
}

bool ControlPlane::is_current(Time now, Time since) const {
  // While a leader may grant leases there is no other, and what it has committed is all there is.
  const raft::Raft& raft = *context_.raft;
  if (leader_.may_grant(now, context_.self(), context_.identity.incarnation()) &&
      raft.applied_index() == raft.commit_index())
    return true;
  return current_as_of_ >= since;
}

void ControlPlane::ask_current(Time now) {
  constexpr Time pause = milliseconds(10);
  if (context_.raft->is_leader() || context_.raft->leader() == 0 || now - lease_asked_ < pause) return;
  send_lease_request(now);
}

void ControlPlane::note_applied() {
  if (context_.state.applied >= read_index_.committed) current_as_of_ = std::max(current_as_of_, read_index_.sent);
}

void ControlPlane::on_lease_request(Time now, NodeId from, peer::LeaseRequest&& request) {
  if (context_.stage >= Stage::running) leader_.on_lease_request(now, from, std::move(request));
}

void ControlPlane::on_lease_grant(Time now, const peer::LeaseGrant& grant) {
  if (grant.incarnation != context_.identity.incarnation() || grant.sent > now) return;
  lease_until_ = std::max(lease_until_, (SD_BUG(lease_from_grant) ? now : grant.sent) + context_.options.lease);
  // One that is waited for is not replaced: under a steady stream of commands none would ever be reached.
  if (read_index_.sent <= current_as_of_ || grant.committed <= context_.state.applied) {
    read_index_ = {grant.sent, grant.committed};
    note_applied();
  }
}

// --- Joining

void ControlPlane::on_join_request(Time now, peer::JoinRequest request) {
  if (request.id == 0 || context_.stage != Stage::running) return;
  const raft::Raft& raft = *context_.raft;
  if (raft.is_leader()) return leader_.on_join_request(now, request);
  if (request.relayed || raft.leader() == 0 || raft.leader() == request.id) return;
  request.relayed = true;
  context_.send(raft.leader(), std::move(request));
}

// One member takes the disks whose owner is gone, so that recovery reaches them: the leader, unless it holds no data
// and never should.
bool ControlPlane::adopts() const {
  const auto* leader = context_.state.member(context_.raft->leader());
  if (!leader) return false;
  if (!leader->witness) return context_.raft->is_leader();
  for (const auto& [node, member] : context_.state.members)
    if (member.up && !member.witness) return node == context_.self();
  return false;
}

// --- Proposals

std::uint64_t ControlPlane::propose(Time now, cluster::CommandBody body) {
  if (context_.stage != Stage::running) return 0;
  const std::uint64_t number = proposals_.add(now, context_.self(), context_.identity.incarnation(), std::move(body));
  if (number != 0) send_proposals(now);
  return number;
}

void ControlPlane::send_proposals(Time now) {
  const bool reachable = context_.raft->is_leader() || context_.raft->leader() != 0;
  proposals_.send(now, reachable, [&](const std::string& command) { context_.propose(now, command); });
}

void ControlPlane::on_propose(Time now, peer::Propose&& proposal) {
  if (context_.stage >= Stage::running && context_.raft->is_leader() && cluster::decode_command(proposal.command))
    context_.raft->propose(now, std::move(proposal.command), context_.fx.raft);
}

// --- Going on without a majority

std::string ControlPlane::force_new_configuration(Time now, Random& random) {
  if (context_.stage != Stage::running || context_.raft->empty()) return "this node is not part of a cluster";
  if (context_.raft->leader() != 0) return "the cluster has a leader, so its majority is not lost";
  if (now < leader_.followed_since() + context_.options.lease || now < lease_until_)
    return "the leader was heard just now; wait until it is sure to be gone";
  context_.raft->commit_all(now, context_.fx.raft);
  while (found_group_ == 0 || found_group_ == context_.raft->group()) found_group_ = random.next();
  return {};
}

// The index jumps ahead, so that no version of the old log, however late it turns up, is above one of the new.
void ControlPlane::found_anew(Time now) {
  constexpr std::uint64_t jump = 1u << 20;
  raft::Raft& raft = *context_.raft;
  const std::uint64_t group = std::exchange(found_group_, 0);
  if (raft.leader() != 0) return;  // just in time
  context_.log(LogLine::Level::warning,
               "an operator has given up the majority of the voters: this node goes on alone, under a new cluster log");
  const std::uint64_t index = context_.state.applied + jump;
  context_.state.found_anew(index, context_.self(), raft.group());
  std::string bytes;
  context_.state.encode(bytes);
  raft.found_anew(now, group, index, std::move(bytes), context_.fx.raft);
  lease_until_ = 0;
  context_.fx.introduce_anew = true;
}

// --- For operators and checkers

std::vector<NodeId> ControlPlane::unreachable_voters() const {
  std::vector<NodeId> missing;
  if (!opened() || context_.raft->leader() != 0) return missing;
  for (const NodeId node : context_.raft->config().voters) {
    if (node == context_.self()) continue;
    const auto address = address_of(node);
    if (!address || !context_.links.up(*address)) missing.push_back(node);
  }
  return missing;
}

std::string ControlPlane::check_state() const {
  if (leader_.began() && !leader_.leads()) return "a leadership ends with its term";
  return context_.book.check_state();
}

}  // namespace sd::control
