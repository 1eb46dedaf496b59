// No bytes from outside end a node: what breaks the rules of Raft is refused, and nothing of it is taken over.
#include "core/raft/refusal.hpp"

#include <gtest/gtest.h>

#include "core/raft/raft_invariants.hpp"
#include "core/raft/test_disk.hpp"

namespace sd::raft {
namespace {

constexpr std::uint64_t group = 9;

// One follower, 1, of a group of three; 2 leads term 5. The test is the rest of the world.
struct Follower {
  BufferPool pool;
  TestDisk disk{pool, 1};
  std::unique_ptr<Raft> raft;
  Time now = seconds(10);
  std::vector<std::pair<NodeId, Message>> sent;
  std::vector<Entry> applied;
  std::optional<std::string> installed;
  Options options{.id = 1, .group = group};

  Follower() {
    options.readable_command = [](std::string_view command) { return !command.starts_with("unknown"); };
    options.readable_snapshot = [](std::string_view state) { return state.starts_with("state"); };
    start();
  }
  void start() {
    raft = std::make_unique<Raft>(options, pool, 1);
    Effects out;
    raft->open(now, out);
    perform(out);
    EXPECT_TRUE(raft->ready()) << raft->reason();
  }
  // Disks are quick, and every step keeps the invariants.
  void perform(Effects& out) {
    for (int rounds = 0; rounds < 20; ++rounds) {
      for (auto& m : std::exchange(out.messages, {})) sent.push_back(std::move(m));
      for (auto& e : std::exchange(out.committed, {})) applied.push_back(std::move(e));
      if (auto snapshot = std::exchange(out.install_snapshot, {})) installed = std::move(snapshot);
      auto disk_ops = std::exchange(out.disk, {});
      if (disk_ops.empty()) break;
      for (const DiskOp& op : disk_ops) raft->on_disk(now, disk.perform(op), out);
    }
    EXPECT_EQ(raft->ready() ? check_state(*raft) : "", "");
  }
  void tell(Message m) {
    sent.clear();
    const Observation before = observe(*raft);
    Effects out;
    // As it comes from the wire.
    std::string bytes;
    encode(m, bytes);
    auto decoded = decode(std::as_bytes(std::span(bytes)));
    ASSERT_TRUE(decoded);
    raft->on_message(now, std::move(*decoded), out);
    perform(out);
    EXPECT_EQ(check_change(before, observe(*raft)), "");
  }
  // Nothing changes, nothing is said, and the reason is counted.
  void expect_refused(Message m, std::string_view why) {
    const auto count = raft->refusals().count;
    const Observation before = observe(*raft);
    tell(std::move(m));
    EXPECT_EQ(raft->refusals().count, count + 1) << why;
    EXPECT_EQ(raft->refusals().last_reason, why);
    EXPECT_TRUE(sent.empty());
    EXPECT_EQ(observe(*raft), before);
  }
  // The honest leader goes on, and is understood.
  void expect_alive() {
    Message m = append(raft->term(), raft->last_index(), raft->term_at(raft->last_index()),
                       {{raft->term(), raft->last_index() + 1, Entry::Kind::command, "more"}});
    if (raft->leader() != 0) m.from = raft->leader();
    m.commit = raft->last_index() + 1;
    const auto count = raft->refusals().count;
    tell(std::move(m));
    EXPECT_EQ(raft->refusals().count, count);
    ASSERT_FALSE(sent.empty());
    EXPECT_FALSE(sent.back().second.reject);
    EXPECT_EQ(sent.back().second.index, raft->last_index());
    EXPECT_EQ(raft->commit_index(), raft->last_index());
  }

  Message message(Message::Type type, Term term) const {
    Message m;
    m.type = type;
    m.group = group;
    m.term = term;
    m.from = 2;
    m.sent = now;
    return m;
  }
  Message append(Term term, Index index, Term log_term, std::vector<Entry> entries = {}) const {
    Message m = message(Message::Type::append, term);
    m.index = index;
    m.log_term = log_term;
    m.entries = std::move(entries);
    return m;
  }
  Message snapshot(Term term, Index index, Term log_term, std::string data) const {
    Message m = message(Message::Type::snapshot, term);
    m.index = index;
    m.log_term = log_term;
    m.config = {{1, 2, 3}, {}};
    m.snapshot_size = data.size();
    m.snapshot = std::move(data);
    return m;
  }
  // The log 1/1 2/1 3/4 4/5 5/5, of which three are committed.
  void fill() {
    Message m = append(5, 0, 0,
                       {{1, 1, Entry::Kind::config, to_bytes({{1, 2, 3}, {}})},
                        {1, 2, Entry::Kind::noop, ""},
                        {4, 3, Entry::Kind::command, "c"},
                        {5, 4, Entry::Kind::noop, ""},
                        {5, 5, Entry::Kind::command, "e"}});
    m.commit = 3;
    tell(std::move(m));
    ASSERT_EQ(raft->commit_index(), 3u);
    ASSERT_EQ(raft->last_index(), 5u);
  }
};

TEST(RaftRefusal, EntriesOfOlderTermsBehindTheCommitIndex) {
  Follower f;
  f.fill();
  // Were 3 equal, 4 and 5 would be dropped for entries of a term before that of 3.
  f.expect_refused(
      f.append(
          5, 1, 1,
          {{1, 2, Entry::Kind::noop, ""}, {1, 3, Entry::Kind::command, "c"}, {1, 4, Entry::Kind::command, "other"}}),
      "it contradicts what is committed");
  f.expect_alive();
  // And when everything is committed they would be put behind the last one.
  f.expect_refused(f.append(6, 5, 1, {{1, 6, Entry::Kind::noop, ""}, {1, 7, Entry::Kind::noop, ""}}),
                   "it contradicts what is committed");
  f.expect_alive();
}

TEST(RaftRefusal, AnotherPastForWhatIsCommitted) {
  Follower f;
  f.fill();
  f.expect_refused(f.append(6, 3, 3), "it contradicts what is committed");
  f.expect_refused(f.append(6, 2, 2, {{4, 3, Entry::Kind::command, "c"}}), "it contradicts what is committed");
  EXPECT_EQ(f.raft->term(), 5u) << "not even its term is taken over";
  f.expect_refused(f.snapshot(6, 3, 5, "state"), "it contradicts what is committed");
  f.expect_refused(f.snapshot(6, 9, 3, "state"), "it contradicts what is committed");
  f.expect_alive();
}

TEST(RaftRefusal, TheBeginningOfALogHasNoTerm) {
  Follower f;
  // Nothing is committed.
  f.expect_refused(f.append(5, 0, 1), "only the beginning of a log has no term");
  f.expect_refused(f.append(5, 0, 5, {{5, 1, Entry::Kind::noop, ""}}), "only the beginning of a log has no term");
  f.expect_refused(f.append(5, 1, 0), "only the beginning of a log has no term");
  f.fill();
  f.expect_refused(f.append(5, 0, 1), "only the beginning of a log has no term");
  f.expect_alive();
}

TEST(RaftRefusal, EntriesThatNoLeaderWrites) {
  Follower f;
  f.fill();
  const auto one = [&](Entry e) { return f.append(5, 5, 5, {std::move(e)}); };
  const std::string_view term = "an entry is of a term that cannot stand there";
  f.expect_refused(one({4, 6, Entry::Kind::noop, ""}), term);
  f.expect_refused(one({6, 6, Entry::Kind::noop, ""}), term);
  f.expect_refused(one({5, 6, Entry::Kind::noop, "data"}), "an entry without a command has data");
  f.expect_refused(one({5, 6, Entry::Kind::config, "data"}), "an entry holds no configuration that can be read");
  f.expect_refused(f.append(5, 5, 6), "its log is of a later term than its sender");
  f.expect_alive();
}

TEST(RaftRefusal, ACommandThatTheStateMachineCannotRead) {
  Follower f;
  f.fill();
  f.expect_refused(f.append(5, 5, 5, {{5, 6, Entry::Kind::command, "unknown"}}),
                   "an entry holds a command that is unknown");
  f.expect_alive();
  f.start();
  EXPECT_EQ(f.raft->last_index(), 6u) << "nothing of it was stored";
  EXPECT_EQ(f.raft->entry(6).data, "more");
}

TEST(RaftRefusal, ALeaderDoesNotProposeWhatNobodyCouldRead) {
  Follower f;
  Effects out;
  f.raft->bootstrap(f.now, out);
  f.perform(out);
  ASSERT_TRUE(f.raft->is_leader());
  EXPECT_FALSE(f.raft->propose(f.now, "unknown", out));
  EXPECT_TRUE(f.raft->propose(f.now, "known", out));
}

TEST(RaftRefusal, ASnapshotThatCannotBeReadIsNotStored) {
  Follower f;
  f.fill();
  const Observation before = observe(*f.raft);
  f.tell(f.snapshot(5, 9, 5, "rubbish"));
  EXPECT_EQ(f.raft->refusals().last_reason, "its snapshot cannot be read");
  EXPECT_FALSE(f.installed);
  EXPECT_TRUE(f.sent.empty());
  EXPECT_EQ(observe(*f.raft), before);
  // It is not asked for again, and not looked at again.
  f.tell(f.snapshot(5, 9, 5, "rubbish"));
  EXPECT_EQ(f.raft->refusals().count, 1u);
  EXPECT_TRUE(f.sent.empty());
  // The log that it would have replaced is still there.
  f.start();
  EXPECT_EQ(f.raft->last_index(), 5u);
  // The next one, in two parts, is taken.
  Message part = f.snapshot(5, 12, 5, "state of twelve");
  part.snapshot.resize(7);
  f.tell(part);
  ASSERT_EQ(f.sent.size(), 1u);
  EXPECT_EQ(f.sent.front().second.hint, 7u);
  part.snapshot_offset = 7;
  part.snapshot = "f twelve";
  f.tell(part);
  EXPECT_EQ(f.installed, "state of twelve");
  f.expect_alive();
}

TEST(RaftRefusal, SnapshotsOfNothing) {
  Follower f;
  f.fill();
  f.expect_refused(f.snapshot(5, 0, 0, "state"), "its snapshot replaces nothing");
  f.expect_refused(f.snapshot(5, 9, 0, "state"), "its snapshot replaces nothing");
  Message m = f.snapshot(5, 9, 5, "state");
  m.config = {};
  f.expect_refused(m, "its snapshot replaces nothing");
  m = f.snapshot(5, 9, 5, "state");
  m.snapshot_offset = 1;
  f.expect_refused(m, "a part of its snapshot lies outside of it");
  m.snapshot_offset = ~0ull;
  f.expect_refused(m, "a part of its snapshot lies outside of it");
  m = f.snapshot(5, 9, 5, "state");
  m.snapshot_size = max_snapshot + 1;
  f.expect_refused(m, "a part of its snapshot lies outside of it");
}

TEST(RaftRefusal, ATermBeyondReachBarsNobody) {
  Follower f;
  f.fill();
  for (const auto type : {Message::Type::append_reply, Message::Type::vote_reply, Message::Type::append,
                          Message::Type::vote, Message::Type::pre_vote, Message::Type::take_over}) {
    Message m = f.message(type, 1ull << 62);
    m.reject = true;
    f.expect_refused(m, "its term is far beyond that of this group");
    m.term = 5 + max_term_jump + 1;
    f.expect_refused(m, "its term is far beyond that of this group");
  }
  f.expect_alive();
  // One that comes to a group late may be far behind.
  Follower fresh;
  fresh.tell(fresh.append(max_term_jump + 7, 0, 0));
  EXPECT_EQ(fresh.raft->term(), max_term_jump + 7);
}

TEST(RaftRefusal, ASecondLeaderOfOneTerm) {
  Follower f;
  f.fill();
  Message m = f.append(5, 5, 5);
  m.from = 3;
  f.expect_refused(m, "another node leads its term");
  m = f.snapshot(5, 9, 5, "state");
  m.from = 3;
  f.expect_refused(m, "another node leads its term");
  // Nor does anybody but the leader hand its term over.
  m = f.message(Message::Type::take_over, 5);
  m.from = 3;
  f.tell(m);
  EXPECT_EQ(f.raft->role(), Role::follower);
  f.expect_alive();
}

// A leader of the past may hold what lost. It is no liar, and is told.
TEST(RaftRefusal, ALeaderOfThePastIsTold) {
  Follower f;
  f.fill();
  f.tell(f.append(4, 2, 1, {{2, 3, Entry::Kind::command, "lost"}}));
  EXPECT_EQ(f.raft->refusals().count, 0u);
  ASSERT_EQ(f.sent.size(), 1u);
  EXPECT_TRUE(f.sent.front().second.reject);
  EXPECT_EQ(f.sent.front().second.term, 5u);
}

// Above the largest snapshot a node goes on with the log that it has.
TEST(RaftRefusal, AStateThatIsTooLargeForASnapshot) {
  Follower f;
  f.fill();
  Effects out;
  f.raft->compact(f.now, 3, std::string(max_snapshot + 1, 's'), out);
  f.perform(out);
  EXPECT_EQ(f.raft->snapshot_index(), 0u);
  f.raft->compact(f.now, 3, "state", out);
  f.perform(out);
  EXPECT_EQ(f.raft->snapshot_index(), 3u);
  f.expect_alive();
}

}  // namespace
}  // namespace sd::raft
