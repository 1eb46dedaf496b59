// Raft in words: core/raft/testdata/*.txt. The commands are those of class GoldenWorld.
#include "core/base/golden_test.hpp"

#include "core/raft/golden_world.hpp"
#include "core/raft/raft_log.hpp"

namespace sd::raft {
namespace {

constexpr std::uint64_t group = 9;

std::string text(const std::vector<NodeId>& ids) {
  std::string s;
  for (const NodeId id : ids) s += " " + std::to_string(id);
  return s;
}
std::string text(const Config& c) {
  return (c.voters.empty() ? " nobody" : " voters" + text(c.voters)) +
         (c.learners.empty() ? "" : ", learners" + text(c.learners));
}
std::string at(Index index, Term term) { return std::to_string(index) + "/" + std::to_string(term); }

std::string text(const Entry& e) {
  std::string s = at(e.index, e.term) + " ";
  if (e.kind == Entry::Kind::noop) return s + "noop";
  if (e.kind == Entry::Kind::config) return s + "config(" + text(*config_from(e.data)).substr(1) + ")";
  return s + "\"" + e.data + "\"";
}

const char* name(Message::Type type) {
  switch (type) {
    case Message::Type::pre_vote: return "pre_vote";
    case Message::Type::pre_vote_reply: return "pre_vote_reply";
    case Message::Type::vote: return "vote";
    case Message::Type::vote_reply: return "vote_reply";
    case Message::Type::append: return "append";
    case Message::Type::append_reply: return "append_reply";
    case Message::Type::snapshot: return "snapshot";
    case Message::Type::snapshot_reply: return "snapshot_reply";
    case Message::Type::take_over: return "take_over";
  }
  return "?";
}

// Only the fields that the type uses.
std::string text(const Message& m) {
  std::string s = std::string(name(m.type)) + " term=" + std::to_string(m.term);
  switch (m.type) {
    case Message::Type::pre_vote:
    case Message::Type::vote:
      return s + " last=" + at(m.index, m.log_term) + (m.reject ? " the leader stepped down" : "");
    case Message::Type::pre_vote_reply:
    case Message::Type::vote_reply: return s + (m.reject ? " refused" : " granted");
    case Message::Type::append:
      s += " after=" + at(m.index, m.log_term) + " commit=" + std::to_string(m.commit);
      for (const Entry& e : m.entries) s += " [" + text(e) + "]";
      return s;
    case Message::Type::append_reply:
      return s + (m.reject ? " rejects=" + std::to_string(m.index) + " hint=" + std::to_string(m.hint)
                           : " durable=" + std::to_string(m.index));
    case Message::Type::snapshot:
      return s + " of=" + at(m.index, m.log_term) + " bytes=" + std::to_string(m.snapshot_offset) + "+" +
             std::to_string(m.snapshot.size()) + " of " + std::to_string(m.snapshot_size) + text(m.config);
    case Message::Type::snapshot_reply:
      return s + " of=" + std::to_string(m.index) + " arrived=" + std::to_string(m.hint);
    case Message::Type::take_over: return s;
  }
  return s;
}

const char* name(Role role) {
  switch (role) {
    case Role::follower: return "follower";
    case Role::pre_candidate: return "pre_candidate";
    case Role::candidate: return "candidate";
    case Role::leader: return "leader";
  }
  return "?";
}

std::string text(const DiskOp& op) {
  const std::string file = "raft/" + std::to_string(op.file.id);
  switch (op.kind) {
    case DiskOp::Kind::read: return "read " + file;
    case DiskOp::Kind::write:
      return "write " + file + " at " + std::to_string(op.offset) + ", " + std::to_string(op.length) + " bytes";
    case DiskOp::Kind::sync: return "sync " + file;
    case DiskOp::Kind::sync_directory: return "sync directory";
    case DiskOp::Kind::truncate: return "truncate " + file + " at " + std::to_string(op.offset);
    case DiskOp::Kind::remove: return "remove " + file;
    default: return "?";
  }
}

std::pair<NodeId, NodeId> ends(const std::string& link) {
  return {std::stoull(link), std::stoull(link.substr(link.find("->") + 2))};
}

}  // namespace

// --- What a node does ---

void GoldenWorld::perform(Node& n, Effects& out) {
  say_what_changed(n);
  for (auto& [to, m] : std::exchange(out.messages, {})) {
    const bool lost = cut_.contains(n.id) || cut_.contains(to);
    say(n, "-> " + std::to_string(to) + " " + text(m) + (lost ? " (lost)" : ""));
    if (!lost) wire_.push_back({n.id, to, std::move(m)});
  }
  if (const auto state = std::exchange(out.install_snapshot, {})) {
    n.state = *state;
    say(n, "starts from the state \"" + n.state + "\"");
  }
  for (const Entry& e : std::exchange(out.committed, {})) {
    if (e.kind == Entry::Kind::command) n.state += e.data;
    say(n, "applies " + text(e));
  }
  for (DiskOp& op : std::exchange(out.disk, {})) {
    if (n.slow) say(n, "disk waits: " + text(op));
    n.under_way.push_back(std::move(op));
  }
  if (!n.slow) complete(n, false);
}

void GoldenWorld::complete(Node& n, bool one) {
  while (n.raft && !n.under_way.empty()) {
    const DiskOp op = n.under_way.front();
    n.under_way.erase(n.under_way.begin());
    say(n, "disk " + text(op));
    Effects out;
    n.raft->on_disk(now_, n.disk.perform(op), out);
    perform(n, out);
    if (one) break;
  }
}

void GoldenWorld::say_what_changed(Node& n) {
  if (n.raft->corrupt()) return say(n, "takes no further part: " + n.raft->reason());
  if (!n.raft->ready()) return;
  const Observation is = observe(*n.raft);
  std::string broken = check_state(*n.raft);
  if (n.seen && broken.empty()) broken = check_change(*n.seen, is);
  if (!broken.empty()) {
    say(n, "BROKEN: " + broken);
    if (violation_.empty()) violation_ = broken;
  }
  const Observation was = n.seen.value_or(Observation{});
  std::string s;
  const auto tell = [&](bool changed, const std::string& what) {
    if (changed) s += (s.empty() ? "" : ", ") + what;
  };
  tell(!n.seen || is.role != was.role, name(is.role));
  tell(is.term != was.term, "term " + std::to_string(is.term));
  tell(is.vote != was.vote && is.vote != 0, "votes for " + std::to_string(is.vote));
  tell(is.leader != was.leader, is.leader == 0 ? "knows no leader" : "led by " + std::to_string(is.leader));
  tell(is.snapshot != was.snapshot, "log begins after " + std::to_string(is.snapshot));
  tell(is.last != was.last || is.last_term != was.last_term, "log ends with " + at(is.last, is.last_term));
  tell(is.durable != was.durable, "durable to " + std::to_string(is.durable));
  tell(is.commit != was.commit, "committed to " + std::to_string(is.commit));
  tell(n.raft->config() != n.config, "members:" + text(n.raft->config()));
  if (!s.empty()) say(n, "is now: " + s);
  n.seen = is;
  n.config = n.raft->config();
}

// --- Commands ---

void GoldenWorld::add_nodes(const Words& words) {
  Config config;
  auto* list = &config.voters;
  for (std::size_t i = 2; i < words.size(); ++i) {
    if (words[i] == "voters" || words[i] == "learners")
      list = words[i] == "voters" ? &config.voters : &config.learners;
    else
      list->push_back(std::stoull(words[i]));
  }
  for (NodeId id = 1; id <= std::stoull(words[1]); ++id) {
    Node& n = nodes_.try_emplace(id, Node{.id = id, .disk = TestDisk(pool_, id)}).first->second;
    if (config.contains(id)) {
      RaftLog log(pool_);
      std::vector<DiskOp> ops;
      log.open(ops);
      const auto perform_all = [&] {
        while (!ops.empty())
          for (const DiskOp& op : std::exchange(ops, {})) log.on_disk(now_, n.disk.perform(op), ops);
      };
      perform_all();
      log.rewrite(group, 1, 0, {.index = 1, .term = 1, .config = config, .data = "."}, {});
      log.submit(ops);
      perform_all();
    }
    start(n);
  }
  said_.str("");  // how a node starts is shown by `restart`
}

// Nothing of it is told: election.txt and catch_up.txt do.
void GoldenWorld::elect(Node& n) {
  for (int i = 0; i < 3; ++i) {
    Effects out;
    now_ = std::max(now_, n.raft->next_deadline());
    n.raft->tick(now_, out);
    perform(n, out);
    deliver("");
  }
  said_.str("");
  state();
}

void GoldenWorld::start(Node& n) {
  Options options{.id = n.id, .group = group};
  options.snapshot_threshold = 2;
  options.snapshot_chunk = 8;
  options.max_inflight = 2;
  options.max_append_entries = 3;
  options.readable_command = [](std::string_view command) { return !command.starts_with("?"); };
  options.readable_snapshot = [](std::string_view state) { return state.starts_with("."); };
  n.raft = std::make_unique<Raft>(options, pool_, n.id);
  n.seen.reset();
  n.config = {};
  n.state = ".";
  Effects out;
  n.raft->open(now_, out);
  perform(n, out);
}

void GoldenWorld::deliver(const std::string& link) {
  const auto hand_over_one = [&](std::size_t i) {
    OnTheWire w = std::move(wire_[i]);
    wire_.erase(wire_.begin() + static_cast<std::ptrdiff_t>(i));
    said_ << w.from << " -> " << w.to << " " << text(w.message) << "\n";
    Node& n = nodes_.at(w.to);
    if (!n.raft) {
      said_ << "  nobody is there\n";
      return;
    }
    const auto refused = n.raft->refusals().count;
    indent_ = 2;
    Effects out;
    n.raft->on_message(now_, std::move(w.message), out);
    if (n.raft->refusals().count != refused) say(n, "refuses it: " + std::string(n.raft->refusals().last_reason));
    perform(n, out);
    indent_ = 0;
  };
  if (link.empty()) {
    for (int limit = 0; !wire_.empty() && limit < 500; ++limit) hand_over_one(0);
    return;
  }
  const auto [from, to] = ends(link);
  std::size_t count = 0;
  for (const OnTheWire& w : wire_) count += w.from == from && w.to == to;
  for (; count > 0; --count) {
    const auto it = std::ranges::find_if(wire_, [&](const OnTheWire& w) { return w.from == from && w.to == to; });
    hand_over_one(static_cast<std::size_t>(it - wire_.begin()));
  }
}

void GoldenWorld::drop(const std::string& link) {
  const auto [from, to] = ends(link);
  std::erase_if(wire_, [&](const OnTheWire& w) {
    if (w.from != from || w.to != to) return false;
    said_ << w.from << " -> " << w.to << " " << text(w.message) << " is lost\n";
    return true;
  });
}

void GoldenWorld::propose(Node& n, const Words& words) {
  const int times = words.size() > 4 ? std::stoi(words[4]) : 1;
  for (int i = 0; i < times; ++i) {
    Effects out;
    const auto index = n.raft->propose(now_, words[2], out);
    if (!index) say(n, "refuses the proposal");
    perform(n, out);
  }
}

void GoldenWorld::change_members(Node& n, const std::string& role, NodeId who) {
  Config next = n.raft->config();
  std::erase(next.voters, who);
  std::erase(next.learners, who);
  if (role == "+voter") next.voters.push_back(who);
  if (role == "+learner") next.learners.push_back(who);
  std::ranges::sort(next.voters);
  std::ranges::sort(next.learners);
  Effects out;
  if (!n.raft->propose_config(now_, next, out)) say(n, "refuses the change");
  perform(n, out);
}

void GoldenWorld::tell(Node& n, const Words& words) {
  Message m;
  m.group = group;
  m.sent = now_;
  for (int type = 0; type <= static_cast<int>(Message::Type::take_over); ++type)
    if (words[2] == name(static_cast<Message::Type>(type))) m.type = static_cast<Message::Type>(type);
  m.reject = words.back() == "reject";
  for (std::size_t i = 3; i + 1 < words.size(); ++i) {
    const std::string& key = words[i];
    const std::string& value = words[i + 1];
    if (key == "from") m.from = std::stoull(value);
    if (key == "term") m.term = std::stoull(value);
    if (key == "commit") m.commit = std::stoull(value);
    if (key == "hint") m.hint = std::stoull(value);
    if (key == "index") {
      m.index = std::stoull(value);
      if (value.find('/') != std::string::npos) m.log_term = std::stoull(value.substr(value.find('/') + 1));
    }
    if (key == "state") {
      m.snapshot = value;
      m.snapshot_size = value.size();
      m.config = n.raft->config();
    }
    if (key == "entries") {
      for (++i; i < words.size(); ++i)
        m.entries.push_back({std::stoull(words[i]), m.index + m.entries.size() + 1, Entry::Kind::command,
                             words[i].substr(words[i].find(':') + 1)});
    }
  }
  wire_.push_back({m.from, n.id, std::move(m)});
  deliver(std::to_string(wire_.back().from) + "->" + words[1]);
}

void GoldenWorld::state() {
  for (const auto& [id, n] : nodes_) {
    if (!n.raft || !n.raft->ready()) {
      say(n, n.raft ? "does not take part" : "is down");
      continue;
    }
    const Raft& r = *n.raft;
    say(n, std::string(name(r.role())) + " of term " + std::to_string(r.term()) + ", vote " + std::to_string(r.vote()) +
               ", leader " + std::to_string(r.leader()) + ", log " + std::to_string(r.snapshot_index()) + ".." +
               at(r.last_index(), r.term_at(r.last_index())) + ", durable " + std::to_string(r.durable_index()) +
               ", committed " + std::to_string(r.commit_index()) + ", state \"" + n.state + "\"," + text(r.config()));
  }
}

void GoldenWorld::log(const Node& n) {
  const Raft& r = *n.raft;
  say(n, "snapshot " + at(r.snapshot_index(), r.term_at(r.snapshot_index())));
  for (Index i = r.snapshot_index() + 1; i <= r.last_index(); ++i) say(n, text(r.entry(i)));
}

std::string GoldenWorld::run(const Words& w) {
  said_.str("");
  const std::string& what = w[0];
  Effects out;
  if (what == "add-nodes") {
    add_nodes(w);
  } else if (what == "campaign" || what == "heartbeat" || what == "tick") {
    Node& n = node(w[1]);
    if (what != "tick" && n.raft->next_deadline() != never) now_ = std::max(now_, n.raft->next_deadline());
    n.raft->tick(now_, out);
    perform(n, out);
  } else if (what == "elect") {
    elect(node(w[1]));
  } else if (what == "cut") {
    cut_.insert(node(w[1]).id);
    std::erase_if(wire_, [&](const OnTheWire& m) { return cut_.contains(m.from) || cut_.contains(m.to); });
  } else if (what == "heal") {
    cut_.erase(node(w[1]).id);
  } else if (what == "wait") {
    now_ += milliseconds(std::stoull(w[1]));
  } else if (what == "propose") {
    propose(node(w[1]), w);
  } else if (what == "members") {
    change_members(node(w[1]), w[2], std::stoull(w[3]));
  } else if (what == "deliver") {
    deliver(w.size() > 1 ? w[1] : "");
  } else if (what == "drop") {
    drop(w[1]);
  } else if (what == "slow-disk") {
    node(w[1]).slow = true;
  } else if (what == "complete-disk") {
    complete(node(w[1]), w.size() > 2);
  } else if (what == "fast-disk") {
    node(w[1]).slow = false;
    complete(node(w[1]), false);
  } else if (what == "crash") {
    Node& n = node(w[1]);
    n.raft.reset();
    n.disk.stop(w[2] == "kept");
    n.under_way.clear();
  } else if (what == "tear") {
    std::string& bytes = *node(w[1]).disk.bytes(0);
    std::fill(bytes.end() - 4096, bytes.end(), '\0');
  } else if (what == "cut-log") {
    node(w[1]).disk.bytes(0)->resize(std::stoull(w[2]));
  } else if (what == "restart") {
    start(node(w[1]));
  } else if (what == "compact") {
    Node& n = node(w[1]);
    n.raft->compact(now_, n.raft->applied_index(), n.state, out);
    perform(n, out);
  } else if (what == "hand-over") {
    Node& n = node(w[1]);
    if (!n.raft->hand_over(now_, std::stoull(w[2]), out)) say(n, "does not hand over");
    perform(n, out);
  } else if (what == "leader-gone") {
    node(w[1]).raft->leader_gone(now_, std::stoull(w[2]));
    say_what_changed(node(w[1]));
  } else if (what == "tell") {
    tell(node(w[1]), w);
  } else if (what == "state") {
    state();
  } else if (what == "log") {
    log(node(w[1]));
  } else {
    return "no such command";
  }
  return said_.str();
}

namespace {

TEST(RaftGolden, Files) {
  run_golden(std::string(SD_SOURCE_DIR) + "/core/raft/testdata", 15, [] {
    auto world = std::make_shared<GoldenWorld>();
    return GoldenCommand([world](const std::vector<std::string>& lines) {
      std::string said;
      for (const std::string& line : lines) said += world->run(words_of(line));
      EXPECT_EQ(world->violation(), "");
      return said.empty() ? "ok" : said;
    });
  });
}

}  // namespace
}  // namespace sd::raft
