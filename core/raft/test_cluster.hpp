// A group of Raft nodes in a world of its own: a clock, a network that drops, delays, repeats and reorders, disks that
// forget, crashes and partitions, all drawn from a seed. After every step it checks the invariants of Raft; the first
// one broken is kept in `violation`.
//
// Checked: each node's own invariants and steps, one leader per term, that a new leader holds everything committed
// (leader completeness), that all nodes hand out the same entries in the same order, each once, that snapshots equal
// the history they replace, that no two nodes hold the leader's lease at once and no voter breaks it, that equal
// indices and terms mean equal logs (log matching, at the moment of writing and of all nodes that ever lived), and that
// the configuration in effect is the newest in the log. Clocks run at the same speed, from different starting points.
#pragma once
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/crc32c.hpp"
#include "core/raft/raft.hpp"
#include "core/raft/raft_invariants.hpp"
#include "core/raft/test_disk.hpp"

namespace sd::raft {

struct Faults {
  std::uint64_t drop_percent = 0;
  std::uint64_t repeat_percent = 0;
  Time delay_max = milliseconds(5);
  std::uint64_t stall_percent = 0;  // of disk operations, for up to 400 ms
};

class TestCluster {
 public:
  struct Node {
    NodeId id = 0;
    std::unique_ptr<Raft> raft;  // none while down
    TestDisk disk;
    Time clock_offset = 0;
    bool disk_stands_still = false;
    std::uint64_t incarnation = 0;
    std::vector<DiskOp> under_way;
    Index applied = 0;
    std::uint32_t hash = 0;              // of everything applied
    Observation last;                    // of this incarnation
    std::map<Index, Term> log{};         // as of the last step, behind the snapshot
    std::optional<Time> heard_leader{};  // by its own clock; none once it knows that the leader's process is gone
    bool observed = false;
    std::optional<Observation> before_crash;
  };

  BufferPool pool;
  Random random;
  Faults faults;
  Time now = seconds(1);
  std::string violation;
  std::map<NodeId, Node> nodes;
  std::set<std::pair<NodeId, NodeId>> cut;                  // from, to
  std::map<Index, std::pair<Term, std::uint32_t>> history;  // committed: term, and the hash up to here
  // every entry that any log ever held: the term of the one before it, and its bytes
  std::map<std::pair<Index, Term>, std::pair<Term, std::uint32_t>> written;
  std::map<Term, NodeId> leaders;
  std::size_t leader_changes = 0;
  std::size_t snapshots_installed = 0;
  std::size_t delivered = 0;
  std::uint64_t group = 9;
  bool small_limits = false;             // every limit of Options is drawn, and may be as small as it can be
  std::function<void(Options&)> limits;  // sets some by hand
  std::size_t snapshot_threshold = 50;
  std::size_t state_padding = 0;  // makes snapshots larger

  explicit TestCluster(std::uint64_t seed) : random(seed) {}
  ~TestCluster() { nodes.clear(), events_ = {}; }

  void start(NodeId id) {
    Node& n = nodes
                  .try_emplace(id, Node{.id = id,
                                        .raft = nullptr,
                                        .disk = TestDisk(pool, random.next()),
                                        .under_way = {},
                                        .last = {},
                                        .before_crash = {}})
                  .first->second;
    n.clock_offset = random.below(seconds(1000));
    ++n.incarnation;
    n.applied = 0;
    n.hash = 0;
    n.observed = false;
    n.log.clear();
    n.heard_leader.reset();
    Options options{.id = id, .group = group};
    options.snapshot_threshold = snapshot_threshold;
    if (small_limits) {
      options.max_append_entries = 1 + random.below(4);
      options.max_append_bytes = 1 + random.below(500);
      options.max_inflight = 1 + random.below(3);
      options.max_uncommitted = 1 + random.below(12);
      options.max_uncommitted_bytes = 600 + random.below(8000);
      options.snapshot_chunk = 1 + random.below(40);
      options.snapshot_threshold = 1 + random.below(snapshot_threshold);
    }
    if (limits) limits(options);
    n.raft = std::make_unique<Raft>(options, pool, random.next());
    Effects out;
    n.raft->open(local(n), out);
    perform(n, out);
  }
  void bootstrap(NodeId id) {
    Node& n = nodes.at(id);
    Effects out;
    n.raft->bootstrap(local(n), out);
    perform(n, out);
  }
  void crash(NodeId id, bool power = true) {
    Node& n = nodes.at(id);
    if (!n.raft) return;
    n.before_crash.reset();
    if (n.observed) n.before_crash = n.last;
    n.raft.reset();
    n.disk.crash(power, n.under_way);
    n.under_way.clear();
  }
  void isolate(NodeId id) {
    for (const auto& [other, n] : nodes) {
      if (other != id) cut.insert({id, other}), cut.insert({other, id});
    }
  }
  void heal() { cut.clear(); }

  // The leader of the highest term.
  Raft* leader() {
    Raft* best = nullptr;
    for (auto& [id, n] : nodes) {
      if (n.raft && n.raft->is_leader() && (!best || n.raft->term() > best->term())) best = n.raft.get();
    }
    return best;
  }
  std::optional<Index> propose(NodeId id, std::string command) {
    Node& n = nodes.at(id);
    Effects out;
    const auto index = n.raft->propose(local(n), std::move(command), out);
    perform(n, out);
    return index;
  }
  bool propose_config(NodeId id, Config config) {
    Node& n = nodes.at(id);
    Effects out;
    const bool ok = n.raft->propose_config(local(n), std::move(config), out);
    perform(n, out);
    return ok;
  }
  bool hand_over(NodeId id) {
    Node& n = nodes.at(id);
    Effects out;
    const bool ok = n.raft->hand_over(local(n), 0, out);
    perform(n, out);
    return ok;
  }
  void leader_gone(NodeId id, NodeId leader) {
    Node& n = nodes.at(id);
    if (n.raft->leader() == leader && n.raft->role() == Role::follower) n.heard_leader.reset();
    n.raft->leader_gone(local(n), leader);
  }
  // Hands a message to a node, whatever the network thinks.
  void tell(NodeId id, Message&& m) {
    Node& n = nodes.at(id);
    Effects out;
    n.raft->on_message(local(n), std::move(m), out);
    perform(n, out);
  }
  Time local(const Node& n) const { return now + n.clock_offset; }

  void run_for(Time duration) {
    const Time end = now + duration;
    while (violation.empty()) {
      Time next = events_.empty() ? never : events_.top().at;
      for (const auto& [id, n] : nodes) {
        if (!n.raft) continue;
        const Time deadline = n.raft->next_deadline();
        if (deadline != never) next = std::min(next, std::max(now, deadline - n.clock_offset));
      }
      if (next > end) break;
      now = next;
      if (!events_.empty() && events_.top().at <= now) {
        Event e = std::move(const_cast<Event&>(events_.top()));
        events_.pop();
        handle(std::move(e));
        continue;
      }
      for (auto& [id, n] : nodes) {
        if (!n.raft || n.raft->next_deadline() > local(n)) continue;
        Effects out;
        n.raft->tick(local(n), out);
        perform(n, out);
        if (n.raft->next_deadline() <= local(n)) broken(n, "a tick moves the deadline");
      }
    }
    if (violation.empty()) now = end;
  }
  // Runs until `done()` or the time is over.
  template <typename F>
  bool run_until(F&& done, Time at_most = seconds(20)) {
    const Time end = now + at_most;
    while (!done()) {
      if (now >= end || !violation.empty()) return false;
      run_for(milliseconds(10));
    }
    return true;
  }
  // All members of the leader's configuration are up and have applied everything.
  bool settled() {
    Raft* l = leader();
    if (!l || l->commit_index() != l->last_index()) return false;
    for (const auto* ids : {&l->config().voters, &l->config().learners}) {
      for (const NodeId id : *ids) {
        const Node& n = nodes.at(id);
        if (!n.raft || n.applied != l->commit_index() || n.raft->term() != l->term()) return false;
      }
    }
    return true;
  }

 private:
  struct Event {
    Time at;
    std::uint64_t sequence;
    NodeId node;
    std::uint64_t incarnation;  // disk completions only
    std::uint64_t tag;
    std::string message;
    bool operator<(const Event& o) const { return at != o.at ? at > o.at : sequence > o.sequence; }
  };

  void broken(const Node& n, const std::string& what) {
    if (violation.empty()) violation = "node " + std::to_string(n.id) + ": " + what;
  }

  void handle(Event&& e) {
    Node& n = nodes.at(e.node);
    if (!n.raft) return;
    Effects out;
    if (e.incarnation != 0) {
      if (e.incarnation != n.incarnation) return;
      const auto op =
          std::find_if(n.under_way.begin(), n.under_way.end(), [&](const DiskOp& o) { return o.tag == e.tag; });
      DiskDone done = n.disk.perform(*op);
      n.under_way.erase(op);
      n.raft->on_disk(local(n), std::move(done), out);
    } else {
      auto m = decode(std::as_bytes(std::span(e.message.data(), e.message.size())));
      if (!m) return broken(n, "a message that was encoded can be decoded");
      ++delivered;
      const auto [type, from, handed_over] = std::tuple(m->type, m->from, m->reject);
      const NodeId vote = n.raft->vote();
      n.raft->on_message(local(n), std::move(*m), out);
      keeps_faith(n, type, from, handed_over, vote);
    }
    perform(n, out);
  }

  // The leader's lease, seen from a voter: whoever follows a leader votes for no other until it has not heard from that
  // leader for the smallest election timeout, unless the leader itself has handed over.
  void keeps_faith(Node& n, Message::Type type, NodeId from, bool handed_over, NodeId vote_before) {
    if (!n.raft->ready()) return;
    if ((type == Message::Type::append || type == Message::Type::snapshot) && n.raft->leader() == from)
      n.heard_leader = local(n);
    if (type != Message::Type::vote || n.raft->vote() != from || vote_before == from || handed_over) return;
    if (n.heard_leader && local(n) < *n.heard_leader + Options{}.election_timeout_min)
      broken(n, "a voter keeps faith with the leader that it heard");
  }

  // Log matching. A step changes only the end of a log, so only what is new there is looked at.
  void judge_log(Node& n) {
    const Raft& r = *n.raft;
    const auto same = [&](Index i) {
      const auto known = n.log.find(i);
      return known != n.log.end() && known->second == r.term_at(i);
    };
    Index i = r.last_index();
    for (; i > r.snapshot_index() && !same(i); --i) {
      const Entry& e = r.entry(i);
      const std::uint32_t bytes = crc32c(e.data.data(), e.data.size(), static_cast<std::uint32_t>(e.kind));
      const auto [at, first] = written.try_emplace({i, e.term}, r.term_at(i - 1), bytes);
      if (!first && at->second != std::pair(r.term_at(i - 1), bytes))
        return broken(n, "equal indices and terms mean equal entries, and equal logs before them");
      n.log[i] = e.term;
    }
    n.log.erase(n.log.upper_bound(r.last_index()), n.log.end());
    n.log.erase(n.log.begin(), n.log.upper_bound(r.snapshot_index()));

    for (i = r.last_index(); i > r.snapshot_index() && r.entry(i).kind != Entry::Kind::config; --i) continue;
    const bool in_log = i > r.snapshot_index();
    if (in_log ? r.config_index() != i || r.config() != *config_from(r.entry(i).data)
               : r.config_index() > r.snapshot_index())
      broken(n, "the configuration in effect is the newest in the log");
  }

  void send(NodeId from, NodeId to, const Message& m) {
    if (!nodes.contains(to) || cut.contains({from, to}) || random.below(100) < faults.drop_percent) return;
    std::string bytes;
    encode(m, bytes);
    const bool twice = random.below(100) < faults.repeat_percent;
    if (twice) events_.push({now + random.below(faults.delay_max) + 1, ++sequence_, to, 0, 0, bytes});
    events_.push({now + random.below(faults.delay_max) + 1, ++sequence_, to, 0, 0, std::move(bytes)});
  }

  void perform(Node& n, Effects& out) {
    apply(n, out);
    for (auto& [to, m] : out.messages) send(n.id, to, m);
    for (DiskOp& op : out.disk) {
      const bool stall = random.below(100) < faults.stall_percent;
      const Time at =
          n.disk_stands_still ? never - 1 : now + 1 + random.below(stall ? milliseconds(400) : milliseconds(2));
      events_.push({at, ++sequence_, n.id, n.incarnation, op.tag, {}});
      n.under_way.push_back(std::move(op));
    }
    out.disk.clear();
    observe_node(n);
    if (n.applied == n.raft->commit_index() && n.raft->wants_compaction(local(n))) {
      Effects more;
      const std::string state =
          std::to_string(n.applied) + ":" + std::to_string(n.hash) + ":" + std::string(state_padding, 'p');
      n.raft->compact(local(n), n.applied, state, more);
      perform(n, more);
    }
  }

  void apply(Node& n, Effects& out) {
    if (out.install_snapshot) {
      n.applied = std::stoull(*out.install_snapshot);
      n.hash =
          static_cast<std::uint32_t>(std::stoul(out.install_snapshot->substr(out.install_snapshot->find(':') + 1)));
      ++snapshots_installed;
      if (!history.contains(n.applied) || history[n.applied].second != n.hash)
        broken(n, "a snapshot equals the history it replaces");
    }
    for (const Entry& e : out.committed) {
      if (e.index != n.applied + 1) return broken(n, "committed entries come in order, each once");
      n.applied = e.index;
      n.hash = crc32c(e.data.data(), e.data.size(), n.hash);
      n.hash = crc32c(&e.term, sizeof e.term, n.hash);
      const auto [it, first] = history.try_emplace(e.index, e.term, n.hash);
      if (!first && it->second != std::pair(e.term, n.hash)) return broken(n, "all nodes commit the same entries");
    }
  }

  void observe_node(Node& n) {
    if (n.raft->corrupt()) return broken(n, "no disk was damaged, and yet: " + n.raft->reason());
    if (!n.raft->ready()) return;
    if (const std::string what = check_state(*n.raft); !what.empty()) return broken(n, what);
    const Observation o = observe(*n.raft);
    std::string what;
    if (n.observed)
      what = check_change(n.last, o);
    else if (n.before_crash)
      what = check_restart(*n.before_crash, o);
    if (!what.empty()) return broken(n, what);
    judge_log(n);
    if (o.role == Role::leader && (!n.observed || n.last.role != Role::leader)) new_leader(n);
    n.last = o;
    n.observed = true;
  }

  void new_leader(Node& n) {
    ++leader_changes;
    const auto [it, first] = leaders.try_emplace(n.raft->term(), n.id);
    if (!first && it->second != n.id) return broken(n, "one leader in a term");
    for (auto at = history.rbegin(); at != history.rend(); ++at) {
      if (at->first > n.raft->last_index()) return broken(n, "a leader holds everything committed");
      if (at->first <= n.raft->snapshot_index()) break;
      if (n.raft->term_at(at->first) != at->second.first) return broken(n, "a leader holds everything committed");
    }
    for (const auto& [id, other] : nodes) {
      if (id == n.id || !other.raft || !other.raft->is_leader()) continue;
      const Time contact = other.raft->quorum_contact(local(other));
      if (contact != 0 && contact + Options{}.election_timeout_min > local(other))
        return broken(n, "one holder of the leader's lease");
    }
  }

  std::priority_queue<Event> events_;
  std::uint64_t sequence_ = 0;
};

}  // namespace sd::raft
