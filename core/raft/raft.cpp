#include "core/raft/raft.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/raft/refusal.hpp"

namespace sd::raft {

Raft::Raft(Options options, BufferPool& pool, std::uint64_t random_seed)
    : options_(options), random_(random_seed), log_(pool) {
  SD_ASSERT(options_.id != 0, "a Raft node has an id");
  SD_ASSERT(options_.election_timeout_min > options_.heartbeat &&
                options_.election_timeout_max > options_.election_timeout_min,
            "heartbeats come more often than elections, and election timeouts differ");
  options_.max_append_entries = std::clamp<std::size_t>(options_.max_append_entries, 1, max_entries_per_message);
  options_.max_append_bytes = std::min<std::size_t>(options_.max_append_bytes, limits::max_peer_header / 2);
  options_.snapshot_chunk = std::clamp<std::size_t>(options_.snapshot_chunk, 1, max_snapshot_chunk);
  configs_.emplace_back(0, Config{});
}

void Raft::open(Time, Effects& out) { log_.open(out.disk); }

bool Raft::empty() const { return term_ == 0 && snapshot_.index == 0 && entries_.empty(); }

void Raft::load(Time now, Effects& out) {
  StoredState stored = log_.take();
  loaded_ = true;
  if (stored.group != 0) {
    options_.group = stored.group;
    group_stored_ = true;
  }
  term_ = stored.term;
  vote_ = stored.vote;
  snapshot_ = std::move(stored.snapshot);
  entries_ = std::move(stored.entries);
  configs_.front() = {snapshot_.index, snapshot_.config};
  for (const Entry& e : entries_) {
    if (e.kind == Entry::Kind::config) configs_.emplace_back(e.index, *config_from(e.data));
  }
  commit_ = applied_ = snapshot_.index;
  durable_index_ = last_index();
  if (snapshot_.index > 0) out.install_snapshot = snapshot_.data;
  if (empty()) return;
  // It may have acknowledged a leader just before it stopped, and that leader counts on it.
  heard_leader_ = now;
  reset_election_timer(now);
  if (sole_voter()) campaign(now, false, out);
}

void Raft::bootstrap(Time now, Effects& out) {
  SD_ASSERT(ready() && empty() && options_.group != 0, "only an empty node with a group's number bootstraps it");
  term_ = 1;
  vote_ = options_.id;
  save_hard_state();
  append_entry({.term = 1, .index = 1, .kind = Entry::Kind::config, .data = to_bytes(Config{{options_.id}, {}})});
  campaign(now, false, out);
  finish(now, out);
}

void Raft::adopt_group(std::uint64_t group) {
  if (options_.group == 0) options_.group = group;
}

// --- Inputs ---

void Raft::on_disk(Time now, DiskDone&& done, Effects& out) {
  if (done.tag >> 56 != tag_space >> 56 || corrupt()) return;
  log_.on_disk(now, std::move(done), out.disk);
  if (corrupt()) {
    role_ = Role::follower;
    leader_ = 0;
    held_.clear();
    peers_.clear();
    return;
  }
  if (!loaded_ && log_.ready()) load(now, out);
  if (loaded_) finish(now, out);
}

void Raft::on_message(Time now, Message&& m, Effects& out) {
  if (!ready() || options_.group == 0 || m.group != options_.group || m.from == 0 || m.from == options_.id ||
      m.term == 0)
    return;
  if (const auto why = why_refused(m, *this); !why.empty()) return refuse_message(m.from, why);
  using Type = Message::Type;
  if (m.type == Type::pre_vote) {
    on_pre_vote(now, m, out);
  } else if (m.type == Type::vote && hears_leader(now) && !(m.reject && role_ != Role::leader && m.term == term_ + 1)) {
    // The leader's lease: not even the term is taken over.
  } else {
    // A granted pre-vote carries the term asked about, which nobody is in yet.
    const bool hypothetical = m.type == Type::pre_vote_reply && !m.reject;
    if (m.term > term_ && !hypothetical) {
      const bool from_leader = m.type == Type::append || m.type == Type::snapshot;
      become_follower(now, m.term, from_leader ? m.from : 0);
    }
    switch (m.type) {
      case Type::pre_vote: break;
      case Type::pre_vote_reply:
      case Type::vote_reply: on_vote_reply(now, m, out); break;
      case Type::vote: on_vote(now, m, out); break;
      case Type::append: on_append(now, std::move(m), out); break;
      case Type::append_reply: on_append_reply(now, m, out); break;
      case Type::snapshot: on_snapshot(now, std::move(m), out); break;
      case Type::snapshot_reply: on_snapshot_reply(now, m, out); break;
      case Type::take_over: on_take_over(now, m, out); break;
    }
  }
  finish(now, out);
}

void Raft::refuse_message(NodeId from, std::string_view why) {
  ++refusals_.count;
  refusals_.last_from = from;
  refusals_.last_reason = why;
}

void Raft::tick(Time now, Effects& out) {
  if (!ready()) return;
  log_.tick(now, out.disk);
  if (role_ == Role::leader) {
    if (std::max(quorum_contact(now), leader_since_) + options_.election_timeout_max <= now)
      become_follower(now, term_, 0);
    else if (now >= heartbeat_deadline_)
      broadcast_heartbeat(now, out);
  } else if (now >= election_deadline_) {
    on_election_timeout(now, out);
  }
  if (log_.wants_rewrite()) rewrite_log();
  finish(now, out);
}

Time Raft::next_deadline() const {
  if (!ready()) return never;
  Time next = log_.next_deadline();
  if (role_ == Role::leader) {
    next = std::min(next, heartbeat_deadline_);
    if (!sole_voter())
      next = std::min(next, std::max(quorum_contact(never), leader_since_) + options_.election_timeout_max);
  } else {
    next = std::min(next, election_deadline_);
  }
  return next;
}

// What every input ends with: take in what became durable, hand out what became committed, start the next write.
void Raft::finish(Time now, Effects& out) {
  while (seen_durable_ < durable_ticket()) on_durable(now, out);
  emit_committed(out);
  log_.submit(out.disk);
}

std::uint64_t Raft::durable_ticket() const { return log_.durable(); }

void Raft::on_durable(Time now, Effects& out) {
  seen_durable_ = durable_ticket();
  while (!unsynced_.empty() && unsynced_.front().first <= seen_durable_) {
    durable_index_ = unsynced_.front().second;
    unsynced_.pop_front();
  }
  std::vector<Held> waiting;
  waiting.swap(held_);
  for (Held& h : waiting) {
    if (h.message.term != term_) continue;  // made in an older term: a lost message, as far as its receiver knows
    if (h.ticket > seen_durable_)
      held_.push_back(std::move(h));
    else if (h.to == options_.id)
      on_vote_reply(now, h.message, out);
    else
      out.messages.emplace_back(h.to, std::move(h.message));
  }
  if (role_ == Role::leader) advance_commit(now, out);
}

void Raft::emit_committed(Effects& out) {
  for (; applied_ < commit_; ++applied_) out.committed.push_back(entry(applied_ + 1));
}

// --- Roles ---

// Of the same term it drops a candidate's or leader's role; of a later one it forgets the vote as well.
void Raft::become_follower(Time now, Term term, NodeId leader) {
  SD_ASSERT(term >= term_, "terms only grow");
  if (role_ == Role::leader) heard_leader_ = now;  // others may still count on this leader's lease
  const bool was_active = role_ != Role::follower;
  role_ = Role::follower;
  leader_ = leader;
  votes_.clear();
  peers_.clear();
  uncommitted_bytes_ = 0;
  if (term > term_) {
    term_ = term;
    vote_ = 0;
    held_.clear();
    save_hard_state();
  }
  if (was_active || election_deadline_ == never) reset_election_timer(now);
}

void Raft::on_election_timeout(Time now, Effects& out) {
  leader_ = 0;
  if (!config().is_voter(options_.id)) {
    role_ = Role::follower;
    election_deadline_ = never;
    return;
  }
  campaign(now, !sole_voter(), out);
}

void Raft::campaign(Time now, bool pre, Effects& out, bool take_over) {
  took_over_ = take_over;
  leader_ = 0;
  votes_.clear();
  role_ = pre ? Role::pre_candidate : Role::candidate;
  if (!pre) {
    ++term_;
    vote_ = options_.id;
    held_.clear();
    save_hard_state();
  }
  reset_election_timer(now, pre);  // votes have to be stored first
  Message request = make(pre ? Message::Type::pre_vote : Message::Type::vote, pre ? term_ + 1 : term_);
  request.index = last_index();
  request.log_term = term_at(last_index());
  request.sent = now;
  request.reject = take_over;
  for (const NodeId to : config().voters) {
    if (to == options_.id) continue;
    if (pre)
      out.messages.emplace_back(to, request);
    else
      hold(to, Message(request), out);
  }
  Message own = make(pre ? Message::Type::pre_vote_reply : Message::Type::vote_reply, request.term);
  if (pre)
    on_vote_reply(now, own, out);
  else
    hold(options_.id, std::move(own), out);
}

// The leader of this term has stepped down, and said so to this node: no other could lead this term.
void Raft::on_take_over(Time now, const Message& m, Effects& out) {
  if (m.term != term_ || role_ != Role::follower || !config().is_voter(options_.id)) return;
  if (leader_ != 0 && leader_ != m.from) return;
  campaign(now, false, out, true);
}

bool Raft::hand_over(Time now, NodeId to, Effects& out) {
  if (!ready() || role_ != Role::leader) return false;
  NodeId best = 0;
  for (const auto& [id, peer] : peers_)
    if ((to == 0 || id == to) && config().is_voter(id) && peer.match == last_index() &&
        peer.contact + options_.election_timeout_min > now && (best == 0 || peers_.at(best).contact < peer.contact))
      best = id;
  if (best == 0) return false;
  out.messages.emplace_back(best, make(Message::Type::take_over, term_));
  become_follower(now, term_, 0);
  finish(now, out);
  return true;
}

void Raft::leader_gone(Time now, NodeId leader) {
  if (!ready() || leader == 0 || leader != leader_ || role_ != Role::follower) return;
  leader_ = 0;
  heard_leader_.reset();
  if (!config().is_voter(options_.id)) return;
  hurry_until_ = now + options_.election_timeout_max;
  reset_election_timer(now);
}

void Raft::commit_all(Time now, Effects& out) {
  SD_ASSERT(ready() && leader_ == 0 && !empty(), "a log is replaced only while it has no leader");
  commit_ = last_index();
  finish(now, out);
}

void Raft::found_anew(Time now, std::uint64_t group, Index index, std::string state, Effects& out) {
  SD_ASSERT(ready() && leader_ == 0 && applied_ == last_index() && index > last_index(),
            "a log is replaced once all of it is applied");
  become_follower(now, term_ + 1, 0);
  options_.group = group;
  durable_index_ = 0;
  unsynced_.clear();
  entries_.clear();
  configs_.clear();
  snapshot_ = {.index = index, .term = term_, .config = Config{{options_.id}, {}}, .data = std::move(state)};
  configs_.emplace_back(snapshot_.index, snapshot_.config);
  commit_ = applied_ = index;
  rewrite_log();
  campaign(now, false, out);
  finish(now, out);
}

void Raft::become_leader(Time now, Effects& out) {
  role_ = Role::leader;
  leader_ = options_.id;
  leader_since_ = now;
  votes_.clear();
  peers_.clear();
  uncommitted_bytes_ = 0;
  refresh_peers();
  append_entry({.term = term_, .index = last_index() + 1, .kind = Entry::Kind::noop, .data = {}});
  broadcast_heartbeat(now, out);
}

// --- Votes ---

bool Raft::hears_leader(Time now) const {
  if (role_ == Role::leader) return true;
  return heard_leader_ && now < *heard_leader_ + options_.election_timeout_min;
}

bool Raft::up_to_date(const Message& m) const {
  const Term last = term_at(last_index());
  return m.log_term > last || (m.log_term == last && m.index >= last_index());
}

void Raft::on_pre_vote(Time now, const Message& m, Effects& out) {
  if (hears_leader(now)) return;
  const bool grant = m.term > term_ && up_to_date(m);
  Message reply = make(Message::Type::pre_vote_reply, grant ? m.term : term_);
  reply.reject = !grant;
  reply.sent = m.sent;
  if (reply.term > 0) out.messages.emplace_back(m.from, std::move(reply));
}

void Raft::on_vote(Time now, const Message& m, Effects& out) {
  Message reply = make(Message::Type::vote_reply, term_);
  reply.sent = m.sent;
  const bool free = vote_ == 0 || SD_BUG(raft_vote_twice);
  const bool grant = m.term == term_ && leader_ == 0 && (free || vote_ == m.from) && up_to_date(m);
  SD_SOMETIMES(!grant, raft_vote_refused);
  if (!grant) {
    reply.reject = true;
    out.messages.emplace_back(m.from, std::move(reply));
    return;
  }
  if (vote_ != m.from) {
    vote_ = m.from;
    save_hard_state();
  }
  role_ = Role::follower;
  votes_.clear();
  reset_election_timer(now, false);
  hold(m.from, std::move(reply), out);
}

void Raft::on_vote_reply(Time now, const Message& m, Effects& out) {
  const bool pre = m.type == Message::Type::pre_vote_reply;
  if (role_ != (pre ? Role::pre_candidate : Role::candidate)) return;
  if (m.term != (pre && !m.reject ? term_ + 1 : term_)) return;
  if (!config().is_voter(m.from)) return;
  votes_[m.from] = !m.reject;
  const std::size_t majority = config().voters.size() / 2 + 1;
  const auto granted =
      static_cast<std::size_t>(std::count_if(votes_.begin(), votes_.end(), [](const auto& v) { return v.second; }));
  if (granted >= majority) {
    if (pre)
      campaign(now, false, out);
    else
      become_leader(now, out);
  } else if (votes_.size() - granted > config().voters.size() - majority) {
    role_ = Role::follower;  // lost; the election timer runs on
    votes_.clear();
    if (now < hurry_until_) reset_election_timer(now);
  }
}

// --- Small things ---

bool Raft::sole_voter() const { return config().voters.size() == 1 && config().voters.front() == options_.id; }

void Raft::reset_election_timer(Time now, bool hurry) {
  if (hurry && now < hurry_until_ && !heard_leader_) {
    election_deadline_ = now + 1 + random_.below(options_.heartbeat);
    return;
  }
  election_deadline_ = now + options_.election_timeout_min +
                       random_.below(options_.election_timeout_max - options_.election_timeout_min);
}

void Raft::save_hard_state() {
  if (!group_stored_) {
    log_.set_group(options_.group);
    group_stored_ = true;
  }
  log_.set_hard_state(term_, vote_);
}

Message Raft::make(Message::Type type, Term term) const {
  Message m;
  m.type = type;
  m.group = options_.group;
  m.term = term;
  m.from = options_.id;
  return m;
}

// Sends once everything recorded so far is durable. A repetition of a message that waits already is merged with it.
void Raft::hold(NodeId to, Message&& m, Effects& out) {
  if (to != options_.id && log_.ticket() <= durable_ticket()) {
    out.messages.emplace_back(to, std::move(m));
    return;
  }
  for (Held& h : held_) {
    if (h.to != to || h.message.type != m.type || h.message.term != m.term || h.message.reject != m.reject) continue;
    if (h.ticket != log_.ticket()) continue;
    h.message.index = std::max(h.message.index, m.index);
    h.message.sent = std::max(h.message.sent, m.sent);
    return;
  }
  held_.push_back({log_.ticket(), to, std::move(m)});
}

}  // namespace sd::raft
