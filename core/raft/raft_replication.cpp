// The log's part of Raft: proposing, copying to the other members, committing, snapshots.
#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <functional>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/raft/raft.hpp"

namespace sd::raft {

// --- The log ---

Term Raft::term_at(Index index) const {
  SD_ASSERT(index >= snapshot_.index && index <= last_index(), "the log holds the entry asked for");
  return index == snapshot_.index ? snapshot_.term : entries_[index - snapshot_.index - 1].term;
}

const Entry& Raft::entry(Index index) const {
  SD_ASSERT(index > snapshot_.index && index <= last_index(), "the log holds the entry asked for");
  return entries_[index - snapshot_.index - 1];
}

void Raft::append_entry(Entry&& e) {
  SD_ASSERT(e.index == last_index() + 1 && e.term >= term_at(last_index()),
            "entries follow each other, and their terms never fall");
  log_.append(e);
  const bool is_config = e.kind == Entry::Kind::config;
  if (is_config) configs_.emplace_back(e.index, *config_from(e.data));
  if (role_ == Role::leader) uncommitted_bytes_ += e.data.size();
  entries_.push_back(std::move(e));
  note_unsynced();
  if (is_config && role_ == Role::leader) refresh_peers();
}

// What has been recorded last becomes durable with the ticket of now.
void Raft::note_unsynced() {
  if (!unsynced_.empty() && unsynced_.back().first == log_.ticket())
    unsynced_.back().second = last_index();
  else
    unsynced_.emplace_back(log_.ticket(), last_index());
}

void Raft::truncate_from(Index from) {
  SD_SOMETIMES(true, raft_conflict);
  SD_ASSERT(from > commit_, "committed entries are never dropped");
  entries_.resize(from - snapshot_.index - 1);
  while (configs_.back().first >= from) configs_.pop_back();
  durable_index_ = std::min(durable_index_, from - 1);
  for (auto& [ticket, index] : unsynced_) index = std::min(index, from - 1);
  log_.truncate(from);
}

void Raft::rewrite_log() {
  log_.rewrite(options_.group, term_, vote_, snapshot_, entries_);
  group_stored_ = true;
  note_unsynced();
}

bool Raft::wants_compaction(Time now) const {
  const Index gain = applied_ - snapshot_.index;  // entries that would go
  if (!ready() || gain <= options_.snapshot_threshold) return false;
  if (gain > 4 * options_.snapshot_threshold) return true;
  return std::none_of(peers_.begin(), peers_.end(), [&](const auto& p) {
    return p.second.state == Peer::State::snapshot && p.second.contact + options_.election_timeout_max > now;
  });
}

void Raft::compact(Time now, Index through, std::string state, Effects& out) {
  if (!ready() || through <= snapshot_.index || state.size() > max_snapshot) return;
  SD_ASSERT(through <= applied_, "only what was applied is compacted");
  snapshot_.term = term_at(through);
  entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(through - snapshot_.index));
  while (configs_.size() > 1 && configs_[1].first <= through) configs_.pop_front();
  snapshot_.index = through;
  snapshot_.config = configs_.front().second;
  snapshot_.data = std::move(state);
  rewrite_log();
  finish(now, out);
}

std::optional<Index> Raft::propose(Time now, std::string command, Effects& out) {
  if (!ready() || role_ != Role::leader || command.size() > max_entry_data) return std::nullopt;
  if (last_index() - commit_ >= options_.max_uncommitted ||
      uncommitted_bytes_ + command.size() > options_.max_uncommitted_bytes)
    return std::nullopt;
  // the caller does not compact
  if (entries_.size() >= options_.snapshot_threshold + options_.max_uncommitted) return std::nullopt;
  if (options_.readable_command && !options_.readable_command(command)) return std::nullopt;
  const Index index = last_index() + 1;
  append_entry({.term = term_, .index = index, .kind = Entry::Kind::command, .data = std::move(command)});
  broadcast(now, out);
  finish(now, out);
  return index;
}

bool Raft::propose_config(Time now, Config next, Effects& out) {
  if (!ready() || role_ != Role::leader || !well_formed(next) || !one_step_apart(config(), next)) return false;
  // A change may start only from a configuration that is committed, by a leader that has committed in its own term:
  // else two leaders could each start from a different one, with majorities that do not meet.
  if ((config_index() > commit_ || term_at(commit_) != term_) && !SD_BUG(raft_config_early)) return false;
  append_entry({.term = term_, .index = last_index() + 1, .kind = Entry::Kind::config, .data = to_bytes(next)});
  broadcast(now, out);
  advance_commit(now, out);
  finish(now, out);
  return true;
}

// --- The leader ---

void Raft::refresh_peers() {
  const Config& c = config();
  std::erase_if(peers_, [&](const auto& p) { return !c.contains(p.first); });
  for (const auto* ids : {&c.voters, &c.learners}) {
    for (const NodeId id : *ids) {
      if (id == options_.id || peers_.contains(id)) continue;
      peers_[id].next = last_index() + 1;
    }
  }
}

Time Raft::quorum_contact(Time now) const {
  if (role_ != Role::leader) return 0;
  boost::container::small_vector<Time, 8> contacts;  // asked after every step
  for (const NodeId id : config().voters) contacts.push_back(contact(id, now));
  SD_ASSERT(!contacts.empty(), "a leader has voters");
  const auto middle = contacts.begin() + static_cast<std::ptrdiff_t>(contacts.size() / 2);
  std::nth_element(contacts.begin(), middle, contacts.end(), std::greater<>());
  return *middle;
}

Time Raft::contact(NodeId peer, Time now) const {
  if (role_ != Role::leader) return 0;
  if (peer == options_.id) return now;
  const auto p = peers_.find(peer);
  return p == peers_.end() ? 0 : p->second.contact;
}

Index Raft::match(NodeId peer) const {
  if (role_ != Role::leader) return 0;
  if (peer == options_.id) return durable_index_;
  const auto p = peers_.find(peer);
  return p == peers_.end() ? 0 : p->second.match;
}

void Raft::advance_commit(Time now, Effects& out) {
  std::vector<Index> matches;
  for (const NodeId id : config().voters) matches.push_back(match(id));
  const std::size_t half = matches.size() / 2;
  if (SD_BUG(raft_learner_counts))
    for (const NodeId id : config().learners) matches.push_back(match(id));
  const auto middle = matches.begin() + static_cast<std::ptrdiff_t>(half);
  std::nth_element(matches.begin(), middle, matches.end(), std::greater<>());
  const Index index = *middle;
  if (index <= commit_) return;
  // Copies of an older term's entry prove nothing: a later leader may still replace it (Raft paper, 5.4.2).
  if (term_at(index) != term_ && !SD_BUG(raft_commit_old_term)) return;
  const bool config_committed = config_index() > commit_ && config_index() <= index;
  for (Index i = commit_ + 1; i <= index; ++i) uncommitted_bytes_ -= std::min(uncommitted_bytes_, entry(i).data.size());
  commit_ = index;
  broadcast_commit(now, out);
  // it has led itself out of the group
  if (config_committed && !config().is_voter(options_.id)) become_follower(now, term_, 0);
}

void Raft::broadcast(Time now, Effects& out) {
  for (auto& [id, peer] : peers_) send_what_is_due(now, id, peer, out);
}

void Raft::broadcast_heartbeat(Time now, Effects& out) {
  heartbeat_deadline_ = now + options_.heartbeat;
  for (auto& [id, peer] : peers_) {
    if (peer.state == Peer::State::snapshot)
      send_chunk(now, id, peer, false, out);
    else
      send_append(now, id, peer, true, out);
  }
}

// So that the others apply soon what has just been committed.
void Raft::broadcast_commit(Time now, Effects& out) {
  for (auto& [id, peer] : peers_) {
    if (peer.state == Peer::State::replicate) send_append(now, id, peer, true, out);
  }
}

// As much as the window allows.
void Raft::send_what_is_due(Time now, NodeId to, Peer& peer, Effects& out) {
  if (peer.state == Peer::State::probe) {
    if (!peer.probing) send_append(now, to, peer, false, out);
    return;
  }
  while (peer.state == Peer::State::replicate && peer.next <= last_index() &&
         peer.inflight.size() < options_.max_inflight)
    send_append(now, to, peer, false, out);
}

// The entries from peer.next on. A heartbeat goes even if there is nothing to send, or enough is under way, and then
// carries none: so that it is answered at once by a peer whose disk is slow, or full.
void Raft::send_append(Time now, NodeId to, Peer& peer, bool heartbeat, Effects& out) {
  if (peer.next <= snapshot_.index) {
    peer.state = Peer::State::snapshot;
    peer.inflight.clear();
    peer.snapshot_index = snapshot_.index;
    peer.snapshot_offset = 0;
    return send_chunk(now, to, peer, true, out);
  }
  Message m = make(Message::Type::append, term_);
  m.index = peer.next - 1;
  m.log_term = term_at(m.index);
  m.commit = commit_;
  m.sent = now;
  const bool window_full =
      peer.state == Peer::State::replicate ? peer.inflight.size() >= options_.max_inflight : peer.probing;
  std::size_t bytes = 0;
  for (Index i = peer.next; i <= last_index() && !(heartbeat && window_full); ++i) {
    const Entry& e = entry(i);
    bytes += e.data.size() + 16;
    if (m.entries.size() >= options_.max_append_entries || (!m.entries.empty() && bytes > options_.max_append_bytes))
      break;
    m.entries.push_back(e);
  }
  if (peer.state == Peer::State::probe) {
    if (!peer.probing) {
      peer.probed = now;
      peer.probe_end = m.index + m.entries.size();
    }
    peer.probing = true;
  } else if (!m.entries.empty()) {
    peer.next += m.entries.size();
    peer.inflight.push_back(peer.next - 1);
  }
  out.messages.emplace_back(to, std::move(m));
}

// Without data it is a heartbeat that asks how much has arrived.
void Raft::send_chunk(Time now, NodeId to, Peer& peer, bool data, Effects& out) {
  if (peer.snapshot_index != snapshot_.index) {  // compacted again meanwhile
    peer.snapshot_index = snapshot_.index;
    peer.snapshot_offset = 0;
  }
  Message m = make(Message::Type::snapshot, term_);
  m.index = snapshot_.index;
  m.log_term = snapshot_.term;
  m.commit = commit_;
  m.sent = now;
  m.config = snapshot_.config;
  m.snapshot_offset = peer.snapshot_offset;
  m.snapshot_size = snapshot_.data.size();
  if (data) {
    m.snapshot = snapshot_.data.substr(peer.snapshot_offset, options_.snapshot_chunk);
    peer.chunk_sent = now;
  }
  out.messages.emplace_back(to, std::move(m));
}

void Raft::on_append_reply(Time now, const Message& m, Effects& out) {
  if (role_ != Role::leader || m.term != term_) return;
  const auto it = peers_.find(m.from);
  if (it == peers_.end() || m.index > last_index() || m.sent > now) return;
  Peer& peer = it->second;
  peer.contact = std::max(peer.contact, m.sent);
  if (m.reject) {
    // An old one says nothing about what matches by now.
    if (peer.state == Peer::State::snapshot || m.index >= peer.next) return;
    if (m.index <= peer.match && !forget_lost_entries(peer, m)) return;
    peer.state = Peer::State::probe;
    peer.probing = false;
    peer.inflight.clear();
    peer.next = std::clamp(m.hint + 1, peer.match + 1, m.index);
    send_what_is_due(now, m.from, peer, out);
    return;
  }
  peer.match_sent = std::max(peer.match_sent, m.sent);
  if (m.index > peer.match) {
    peer.match = m.index;
    std::erase_if(peer.inflight, [&](Index last) { return last <= m.index; });
  }
  peer.next = std::max(peer.next, peer.match + 1);
  if (peer.state == Peer::State::snapshot) {
    if (peer.match < peer.snapshot_index) return;
    peer.state = Peer::State::probe;
  }
  // A follower whose disk cannot keep up takes no entries, and says so by what it acknowledges. It is asked again after
  // the next heartbeat: a window of appends at once would bring as many answers, and each of them the next window.
  const bool probe_is_answered = m.sent > peer.probed || (m.sent == peer.probed && m.index >= peer.probe_end);
  if (peer.state == Peer::State::probe && probe_is_answered) {
    // The follower's log goes on from what it matched: entries that it has not synced yet are sent again, which is
    // harmless.
    peer.state = Peer::State::replicate;
    peer.probing = false;
    peer.inflight.clear();
    peer.next = peer.match + 1;
  }
  advance_commit(now, out);
  // advance_commit may have ended the leadership, and with it the peers.
  const auto still = peers_.find(m.from);
  if (still != peers_.end()) send_what_is_due(now, m.from, still->second, out);
}

// A peer that rejects what it acknowledged has lost the end of its log (another disk, an older copy of its files).
// What it held counts no longer, or it would be asked for ever to go on from there. An answer that was overtaken looks
// the same; then a few entries are sent twice.
bool Raft::forget_lost_entries(Peer& peer, const Message& reject) {
  if (reject.index == 0 || reject.sent <= peer.match_sent) return false;
  peer.match = std::min({peer.match, reject.hint, reject.index - 1});
  return true;
}

void Raft::on_snapshot_reply(Time now, const Message& m, Effects& out) {
  if (role_ != Role::leader || m.term != term_) return;
  const auto it = peers_.find(m.from);
  if (it == peers_.end() || m.sent > now) return;
  Peer& peer = it->second;
  peer.contact = std::max(peer.contact, m.sent);
  if (peer.state != Peer::State::snapshot || m.index != peer.snapshot_index || m.hint > snapshot_.data.size()) return;
  // An answer to what was sent before the part that is under way is old, or repeated. Were each answered by another
  // part, answers and parts would beget each other. An answer to that part itself says nothing new if it tells of no
  // progress; one to a heartbeat sent after it says that the part was lost.
  if (m.sent < peer.chunk_sent || (m.sent == peer.chunk_sent && m.hint == peer.snapshot_offset)) return;
  peer.snapshot_offset = m.hint;
  send_chunk(now, m.from, peer, true, out);
}

// --- The follower ---

// The leader learns what is durable; what is not yet is acknowledged when it is.
void Raft::acknowledge(const Message& m, Index index, Effects& out) {
  Message reply = make(Message::Type::append_reply, term_);
  reply.index = index;
  reply.sent = m.sent;
  const bool heartbeat = m.type == Message::Type::append && m.entries.empty();
  if (index > durable_index_ && !heartbeat) return hold(m.from, std::move(reply), out);
  // The answer to a heartbeat does not wait for a slow disk. That this term may not be durable yet does no harm:
  // entries of this term are stored behind it, and a node that restarts keeps the leader's lease anyway.
  reply.index = std::min(index, durable_index_);
  out.messages.emplace_back(m.from, std::move(reply));
}

// Whoever leads a term that is over.
void Raft::tell_past_leader(const Message& m, Effects& out) {
  Message reply = make(Message::Type::append_reply, term_);
  reply.reject = true;
  reply.index = m.index;
  out.messages.emplace_back(m.from, std::move(reply));
}

void Raft::refuse_append(const Message& m, Effects& out) {
  Message reply = make(Message::Type::append_reply, term_);
  reply.reject = true;
  reply.index = m.index;
  reply.sent = m.sent;
  reply.hint = last_index();
  if (m.index <= last_index()) {
    // Skip all entries of the conflicting term at once.
    const Term bad = term_at(m.index);
    Index hint = m.index - 1;
    while (hint > commit_ && term_at(hint) == bad) --hint;
    reply.hint = hint;
  }
  out.messages.emplace_back(m.from, std::move(reply));
}

void Raft::on_append(Time now, Message&& m, Effects& out) {
  if (m.term < term_) return tell_past_leader(m, out);
  become_follower(now, term_, m.from);
  heard_leader_ = now;
  reset_election_timer(now);
  // the disk cannot keep up; the leader repeats them
  if (log_.pending_bytes() > options_.max_uncommitted_bytes) m.entries.clear();

  const Index end = m.index + m.entries.size();
  Index at = m.index;
  if (at < commit_) {
    at = std::min(end, commit_);  // committed entries are equal to every later leader's
  } else if (at > last_index() || term_at(at) != m.log_term) {
    refuse_append(m, out);
    return;
  }
  for (; at < end; ++at) {
    Entry& e = m.entries[at - m.index];
    if (e.index <= last_index()) {
      if (term_at(e.index) == e.term) continue;
      truncate_from(e.index);
    }
    append_entry(std::move(e));
  }
  commit_ = std::max(commit_, std::min(m.commit, end));
  acknowledge(m, end, out);
}

void Raft::on_snapshot(Time now, Message&& m, Effects& out) {
  if (m.term < term_) return tell_past_leader(m, out);
  become_follower(now, term_, m.from);
  heard_leader_ = now;
  reset_election_timer(now);

  if (m.index <= commit_) return acknowledge(m, m.index, out);
  if (m.index <= last_index() && term_at(m.index) == m.log_term) {
    commit_ = m.index;  // the log has it all
    return acknowledge(m, m.index, out);
  }

  if (!incoming_ || !incoming_->is_of(m)) incoming_ = Incoming(m);
  if (incoming_->unreadable) return;  // an answer would ask for it again
  std::string& arrived = incoming_->snapshot.data;
  if (m.snapshot_offset == arrived.size()) arrived.append(m.snapshot);
  if (arrived.size() < incoming_->size) {
    Message reply = make(Message::Type::snapshot_reply, term_);
    reply.index = m.index;
    reply.hint = arrived.size();
    reply.sent = m.sent;
    out.messages.emplace_back(m.from, std::move(reply));
    return;
  }
  if (options_.readable_snapshot && !options_.readable_snapshot(arrived)) {
    incoming_->unreadable = true;
    arrived = {};
    return refuse_message(m.from, "its snapshot cannot be read");
  }
  install_snapshot(out);
  acknowledge(m, m.index, out);
}

// The snapshot that has arrived replaces the log.
void Raft::install_snapshot(Effects& out) {
  durable_index_ = std::min(durable_index_, commit_);  // the rest of this log may differ from the leader's
  unsynced_.clear();
  snapshot_ = std::move(incoming_->snapshot);
  incoming_.reset();
  entries_.clear();
  configs_.clear();
  configs_.emplace_back(snapshot_.index, snapshot_.config);
  commit_ = applied_ = snapshot_.index;
  SD_SOMETIMES(true, raft_snapshot);
  out.install_snapshot = snapshot_.data;
  out.committed.clear();  // the snapshot holds them
  rewrite_log();
}

}  // namespace sd::raft
