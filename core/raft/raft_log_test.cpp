#include "core/raft/raft_log.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "core/raft/test_disk.hpp"

namespace sd::raft {
namespace {

Entry command(Term term, Index index, std::string data) {
  return {.term = term, .index = index, .kind = Entry::Kind::command, .data = std::move(data)};
}

// One log on one disk; operations complete at once unless a test holds them back.
struct Fixture {
  BufferPool pool;
  TestDisk disk{pool, 1};
  std::unique_ptr<RaftLog> log;
  std::vector<DiskOp> ops;

  void run() {
    while (!ops.empty()) {
      std::vector<DiskOp> batch;
      batch.swap(ops);
      for (const DiskOp& op : batch) {
        if (op.kind == DiskOp::Kind::write) {
          EXPECT_EQ(op.offset % 4096, 0u);
          EXPECT_EQ(op.slices.front().size() % 4096, 0u);
        }
        log->on_disk(0, disk.perform(op), ops);
      }
    }
  }
  void write() {
    log->submit(ops);
    run();
  }
  void open() {
    ops.clear();
    log = std::make_unique<RaftLog>(pool);
    log->open(ops);
    run();
  }
  StoredState reopened() {
    open();
    EXPECT_TRUE(log->ready()) << log->reason();
    return log->take();
  }
  // Group, hard state and entries 1..n of term 1, each in a frame of its own.
  void fill(Index n, std::size_t size = 10) {
    open();
    log->set_group(77);
    log->set_hard_state(1, 5);
    write();
    for (Index i = 1; i <= n; ++i) {
      log->append(command(1, i, std::string(size, static_cast<char>('a' + i % 26))));
      write();
    }
  }
};

TEST(RaftLog, starts_empty) {
  Fixture f;
  const StoredState s = f.reopened();
  EXPECT_EQ(s.term, 0u);
  EXPECT_TRUE(s.entries.empty());
  EXPECT_EQ(f.disk.bytes(0), nullptr);
}

TEST(RaftLog, keeps_what_was_recorded) {
  Fixture f;
  f.fill(5);
  f.log->truncate(4);
  f.log->append(command(2, 4, "other"));
  f.log->set_hard_state(3, 0);
  f.write();
  EXPECT_EQ(f.log->durable(), f.log->ticket());
  const StoredState s = f.reopened();
  EXPECT_EQ(s.group, 77u);
  EXPECT_EQ(s.term, 3u);
  EXPECT_EQ(s.vote, 0u);
  ASSERT_EQ(s.entries.size(), 4u);
  EXPECT_EQ(s.entries[3], command(2, 4, "other"));
}

TEST(RaftLog, gathers_records_while_a_write_is_under_way) {
  Fixture f;
  f.fill(1);
  f.log->append(command(1, 2, "x"));
  f.log->submit(f.ops);
  for (Index i = 3; i <= 50; ++i) {
    f.log->append(command(1, i, "x"));
    f.log->submit(f.ops);
  }
  EXPECT_EQ(f.ops.size(), 1u);
  const std::size_t before = f.disk.syncs;
  f.run();
  EXPECT_EQ(f.disk.syncs, before + 2);
  EXPECT_EQ(f.reopened().entries.size(), 50u);
}

TEST(RaftLog, nothing_is_durable_before_the_sync_completed) {
  Fixture f;
  f.fill(1);
  f.log->append(command(1, 2, "x"));
  const auto ticket = f.log->ticket();
  f.log->submit(f.ops);
  ASSERT_EQ(f.ops.size(), 1u);
  const DiskOp write = f.ops.front();
  f.ops.clear();
  f.log->on_disk(0, f.disk.perform(write), f.ops);
  ASSERT_EQ(f.ops.size(), 1u);
  EXPECT_EQ(f.ops.front().kind, DiskOp::Kind::sync);
  EXPECT_LT(f.log->durable(), ticket);
  f.run();
  EXPECT_GE(f.log->durable(), ticket);
}

TEST(RaftLog, rewriting_uses_the_files_in_turn_and_removes_the_old_one) {
  Fixture f;
  f.fill(3);
  const Snapshot snapshot{.index = 2, .term = 1, .config = {{5}, {6}}, .data = "state"};
  for (int round = 0; round < 3; ++round) {
    f.log->rewrite(77, 4, 5, snapshot, {command(1, 3, "c")});
    f.write();
    EXPECT_EQ(f.disk.bytes(0) == nullptr, round % 2 == 0);
    EXPECT_EQ(f.disk.bytes(1) == nullptr, round % 2 == 1);
  }
  f.log->append(command(4, 4, "d"));
  f.write();
  const StoredState s = f.reopened();
  EXPECT_EQ(s.snapshot.index, 2u);
  EXPECT_EQ(s.snapshot.data, "state");
  EXPECT_EQ(s.snapshot.config, snapshot.config);
  ASSERT_EQ(s.entries.size(), 2u);
  EXPECT_EQ(s.entries[1].data, "d");
}

TEST(RaftLog, an_unfinished_new_file_does_not_count) {
  for (std::size_t sectors = 0; sectors < 16; ++sectors) {
    Fixture f;
    f.fill(3);
    f.log->rewrite(77, 9, 0, {.index = 3, .term = 1, .config = {{5}, {}}, .data = std::string(7000, 's')}, {});
    f.log->submit(f.ops);
    ASSERT_EQ(f.ops.size(), 1u);
    f.disk.perform(f.ops.front());
    for (std::size_t s = 0; s < 16; ++s) {
      if (s != sectors) continue;
      f.disk.bytes(1)->replace(s * 512, 512, std::string(512, '\0'));  // this one sector was lost
    }
    const StoredState s = f.reopened();
    if (sectors * 512 < 7100) {
      EXPECT_EQ(s.term, 1u) << sectors;
      EXPECT_EQ(f.disk.bytes(1), nullptr);
    } else {
      EXPECT_EQ(s.term, 9u) << sectors;
    }
    f.log->append(command(9, s.term == 9 ? 4 : s.entries.size() + 1, "goes on"));
    f.write();
    EXPECT_EQ(f.reopened().entries.back().data, "goes on");
  }
}

TEST(RaftLog, a_torn_tail_is_cut_off_and_never_comes_back) {
  for (int seed = 0; seed < 200; ++seed) {
    Fixture f;
    f.disk = TestDisk(f.pool, static_cast<std::uint64_t>(seed));
    f.fill(4);
    f.log->append(command(1, 5, std::string(20'000, 'x')));
    f.log->submit(f.ops);
    f.disk.crash(true, f.ops);
    StoredState s = f.reopened();
    ASSERT_TRUE(s.entries.size() == 4 || s.entries.size() == 5);
    const Index next = s.entries.size() + 1;
    f.log->append(command(2, next, "new"));
    f.write();
    s = f.reopened();
    ASSERT_EQ(s.entries.size(), next);
    EXPECT_EQ(s.entries.back().data, "new");
    for (Index i = 0; i < 4; ++i) EXPECT_EQ(s.entries[i].data.size(), 10u);
  }
}

TEST(RaftLog, a_first_write_that_was_torn_leaves_an_empty_log) {
  for (int seed = 0; seed < 100; ++seed) {
    Fixture f;
    f.disk = TestDisk(f.pool, static_cast<std::uint64_t>(seed));
    f.open();
    f.log->set_hard_state(1, 5);
    for (Index i = 1; i < 20; ++i) f.log->append(command(1, i, std::string(300, 'q')));
    f.log->submit(f.ops);
    f.disk.crash(true, f.ops);
    const StoredState s = f.reopened();
    EXPECT_TRUE((s.term == 0 && s.entries.empty()) || (s.term == 1 && s.entries.size() == 19));
  }
}

// Every bit matters, except in the padding: either it is noticed, or nothing changed.
TEST(RaftLog, a_flipped_bit_is_damage_and_not_a_torn_tail) {
  Fixture f;
  f.fill(6);
  const std::string good = *f.disk.bytes(0);
  std::size_t refused = 0, unharmed = 0;
  for (std::size_t byte = 0; byte < good.size(); byte += (byte % 4096 < 120 ? 1 : 97)) {
    *f.disk.bytes(0) = good;
    (*f.disk.bytes(0))[byte] ^= static_cast<char>(1 << byte % 8);
    f.open();
    if (f.log->failed()) {
      EXPECT_FALSE(f.log->reason().empty());
      EXPECT_FALSE(f.log->ready());
      ++refused;
    } else {
      EXPECT_EQ(f.log->take().entries.size(), 6u) << byte;
      ++unharmed;
    }
  }
  EXPECT_GT(refused, 300u);
  EXPECT_GT(unharmed, 100u);
}

TEST(RaftLog, a_lost_frame_in_the_middle_is_damage) {
  Fixture f;
  f.fill(6);
  f.disk.bytes(0)->replace(3 * 4096, 4096, std::string(4096, '\0'));
  f.open();
  EXPECT_TRUE(f.log->failed());
}

TEST(RaftLog, damage_to_the_newer_file_never_brings_back_the_older) {
  Fixture f;
  f.fill(3);
  const std::string old = *f.disk.bytes(0);
  f.log->rewrite(77, 8, 5, {.index = 3, .term = 1, .config = {{5}, {}}, .data = "s"}, {});
  f.write();
  f.disk.perform({.kind = DiskOp::Kind::truncate,
                  .file = {FileKind::raft, 0, 0},
                  .tag = 0,
                  .offset = 0,
                  .length = 0,
                  .slices = {}});
  *f.disk.bytes(0) = old;  // the removal was undone
  EXPECT_EQ(f.reopened().term, 8u);
  EXPECT_EQ(f.disk.bytes(0), nullptr);
  f.disk.perform({.kind = DiskOp::Kind::truncate,
                  .file = {FileKind::raft, 0, 0},
                  .tag = 0,
                  .offset = 0,
                  .length = 0,
                  .slices = {}});
  *f.disk.bytes(0) = old;
  (*f.disk.bytes(1))[50] ^= 1;
  f.open();
  EXPECT_TRUE(f.log->failed());
}

TEST(RaftLog, a_full_disk_is_tried_again) {
  Fixture f;
  f.fill(1);
  f.disk.fail_writes = Status::no_space;
  f.log->append(command(1, 2, "x"));
  f.write();
  EXPECT_LT(f.log->durable(), f.log->ticket());
  ASSERT_NE(f.log->next_deadline(), never);
  f.disk.fail_writes = Status::ok;
  f.log->tick(f.log->next_deadline(), f.ops);
  f.run();
  EXPECT_EQ(f.log->durable(), f.log->ticket());
  EXPECT_EQ(f.reopened().entries.size(), 2u);
}

TEST(RaftLog, a_disk_error_ends_it) {
  Fixture f;
  f.fill(1);
  f.disk.fail_writes = Status::io_error;
  f.log->append(command(1, 2, "x"));
  f.write();
  EXPECT_TRUE(f.log->failed());
  EXPECT_LT(f.log->durable(), f.log->ticket());
  f.log->append(command(1, 3, "x"));
  f.write();
  EXPECT_TRUE(f.ops.empty());
}

TEST(RaftLog, asks_for_a_rewrite_when_the_file_has_grown) {
  Fixture f;
  f.fill(1);
  EXPECT_FALSE(f.log->wants_rewrite());
  for (int i = 0; i < 300; ++i) {
    f.log->append(command(1, 2, std::string(60'000, 'x')));
    f.log->truncate(2);
    f.write();
  }
  EXPECT_TRUE(f.log->wants_rewrite());
  f.log->rewrite(77, 1, 5, {}, {command(1, 1, "a")});
  f.write();
  EXPECT_FALSE(f.log->wants_rewrite());
  EXPECT_EQ(f.reopened().entries.size(), 1u);
}

}  // namespace
}  // namespace sd::raft
