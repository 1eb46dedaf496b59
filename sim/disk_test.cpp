#include "sim/disk.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sd::sim {
namespace {

constexpr FileId journal{FileKind::journal, 0, 0};

struct Fixture {
  explicit Fixture(std::uint64_t seed = 1) : decisions(seed), disk(pool, decisions, {}) {}

  DiskDone run(DiskOp op) {
    const auto started = disk.start(now, std::move(op));
    now = started.done_at;
    return disk.finish(started.slot);
  }
  DiskOp write_op(FileId file, std::uint64_t offset, std::size_t size, char fill) {
    DiskOp op;
    op.kind = DiskOp::Kind::write;
    op.file = file;
    op.offset = offset;
    op.slices.push_back(pool.copy_of(std::string(size, fill)));
    return op;
  }
  Status write(FileId file, std::uint64_t offset, std::size_t size, char fill) {
    return run(write_op(file, offset, size, fill)).status;
  }
  static DiskOp simple(DiskOp::Kind kind, FileId file) {
    DiskOp op;
    op.kind = kind;
    op.file = file;
    return op;
  }
  Status sync(FileId file) { return run(simple(DiskOp::Kind::sync, file)).status; }
  Status sync_directory(FileId file) { return run(simple(DiskOp::Kind::sync_directory, file)).status; }
  Status remove(FileId file) { return run(simple(DiskOp::Kind::remove, file)).status; }
  std::string read(FileId file, std::uint64_t offset, std::uint32_t length) {
    DiskOp op = simple(DiskOp::Kind::read, file);
    op.offset = offset;
    op.length = length;
    const DiskDone done = run(std::move(op));
    return done.status == Status::ok ? std::string(done.data.text()) : "missing";
  }

  BufferPool pool;
  Decisions decisions;
  SimDisk disk;
  Time now = 0;
};

TEST(SimDisk, ReadsBackWhatWasWrittenAndStopsAtTheEnd) {
  Fixture f;
  EXPECT_EQ(f.read(journal, 0, 10), "missing");
  EXPECT_EQ(f.write(journal, 4090, 20, 'a'), Status::ok);
  EXPECT_EQ(f.read(journal, 4088, 100), std::string(2, '\0') + std::string(20, 'a'));
}

TEST(SimDisk, SyncedDataSurvivesEveryPowerLoss) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Fixture f(seed);
    f.write(journal, 0, 8192, 'a');
    f.sync(journal);
    f.sync_directory(journal);
    f.disk.power_lost();
    EXPECT_EQ(f.read(journal, 0, 8192), std::string(8192, 'a'));
  }
}

TEST(SimDisk, UnsyncedSectorsSurviveWholeOrNotAtAll) {
  std::set<int> survivors;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Fixture f(seed);
    f.write(journal, 0, 8192, 'a');
    f.sync(journal);
    f.sync_directory(journal);
    f.write(journal, 0, 8192, 'b');
    f.disk.power_lost();
    const std::string text = f.read(journal, 0, 8192);
    int kept = 0;
    for (std::size_t at = 0; at < text.size(); at += 512) {
      ASSERT_TRUE(text[at] == 'a' || text[at] == 'b');
      ASSERT_EQ(text.substr(at, 512), std::string(512, text[at])) << "a sector is never mixed";
      kept += text[at] == 'b';
    }
    survivors.insert(kept);
  }
  EXPECT_TRUE(survivors.contains(0));
  EXPECT_TRUE(survivors.contains(16));
  EXPECT_GT(survivors.size(), 4u) << "some losses keep a part";
}

TEST(SimDisk, AWriteThatCompletesDuringASyncIsNotCoveredByIt) {
  bool lost = false;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Fixture f(seed);
    f.write(journal, 0, 512, 'a');
    f.sync_directory(journal);
    const auto sync = f.disk.start(f.now, Fixture::simple(DiskOp::Kind::sync, journal));
    f.write(journal, 0, 512, 'b');
    f.disk.finish(sync.slot);
    f.disk.power_lost();
    const std::string text = f.read(journal, 0, 1);
    ASSERT_TRUE(text == "a" || text == "b") << "what the sync covered stays";
    lost |= text == "a";
  }
  EXPECT_TRUE(lost);
}

TEST(SimDisk, AProcessThatDiesLosesOnlyWhatWasInFlight) {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Fixture f(seed);
    f.write(journal, 0, 1024, 'a');
    f.disk.start(f.now, f.write_op(journal, 1024, 1024, 'b'));
    f.disk.process_died();
    EXPECT_EQ(f.disk.in_flight(), 0u);
    EXPECT_EQ(f.read(journal, 0, 1024), std::string(1024, 'a'));
    outcomes.insert(f.read(journal, 1024, 1024));
  }
  EXPECT_GT(outcomes.size(), 2u) << "in-flight writes happen, do not, or stop half-way";
}

TEST(SimDisk, CreationsAndRemovalsAreVolatileUntilTheDirectoryIsSynced) {
  const FileId object{FileKind::object, 0, 42};
  bool vanished = false;
  bool came_back = false;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Fixture f(seed);
    f.write(object, 0, 4096, 'a');
    f.sync(object);
    f.disk.power_lost();
    vanished |= f.read(object, 0, 1) == "missing";

    f.write(object, 0, 4096, 'a');
    f.sync(object);
    f.sync_directory(object);
    f.remove(object);
    EXPECT_EQ(f.read(object, 0, 1), "missing");
    f.disk.power_lost();
    came_back |= f.read(object, 0, 1) == "a";

    f.write(object, 0, 4096, 'a');
    f.sync(object);
    f.sync_directory(object);
    f.remove(object);
    f.sync_directory(object);
    f.disk.power_lost();
    EXPECT_EQ(f.read(object, 0, 1), "missing");
  }
  EXPECT_TRUE(vanished);
  EXPECT_TRUE(came_back);
}

TEST(SimDisk, AFullDiskRefusesNewPagesOnly) {
  Fixture f;
  f.disk.config.capacity = 3 * 4096;
  EXPECT_EQ(f.write(journal, 0, 4096, 'a'), Status::ok);
  f.sync(journal);
  EXPECT_EQ(f.write(journal, 0, 5 * 4096, 'b'), Status::no_space);
  EXPECT_EQ(f.read(journal, 0, 4), "aaaa");
}

TEST(SimDisk, PunchAndTruncateReadAsZeros) {
  Fixture f;
  f.write(journal, 0, 16384, 'a');
  DiskOp op = Fixture::simple(DiskOp::Kind::punch, journal);
  op.offset = 4096;
  op.length = 8192;
  EXPECT_EQ(f.run(std::move(op)).status, Status::ok);
  EXPECT_EQ(f.read(journal, 4096, 8192), std::string(8192, '\0'));
  op = Fixture::simple(DiskOp::Kind::truncate, journal);
  op.offset = 100;
  f.run(std::move(op));
  EXPECT_EQ(f.read(journal, 0, 8192), std::string(100, 'a'));
  f.write(journal, 1000, 1, 'b');
  EXPECT_EQ(f.read(journal, 100, 900), std::string(900, '\0'));
}

TEST(SimDisk, FlippedBitsStay) {
  Fixture f;
  const FileId object{FileKind::object, 0, 1};
  EXPECT_FALSE(f.disk.flip_bit(FileKind::object));
  f.write(object, 0, 4096, 'a');
  f.sync(object);
  EXPECT_TRUE(f.disk.flip_bit(FileKind::object));
  f.sync_directory(object);
  f.disk.power_lost();
  EXPECT_NE(f.read(object, 0, 4096), std::string(4096, 'a'));
}

TEST(SimDisk, ASpoiltPageCannotBeReadUntilItIsWritten) {
  Fixture f;
  const FileId object{FileKind::object, 0, 1};
  EXPECT_FALSE(f.disk.spoil_page(FileKind::object));
  f.write(object, 0, 4096, 'a');
  f.sync(object);
  EXPECT_TRUE(f.disk.spoil_page(FileKind::object));
  EXPECT_FALSE(f.disk.readable(object, 0, 512));
  EXPECT_TRUE(f.disk.readable(object, 4096, 512));
  EXPECT_EQ(f.run(Fixture::simple(DiskOp::Kind::sync, object)).status, Status::ok);
  f.write(object, 0, 512, 'b');
  EXPECT_FALSE(f.disk.readable(object, 0, 512)) << "a part of it does not repair it";
  f.write(object, 0, 4096, 'b');
  EXPECT_EQ(f.read(object, 0, 4096), std::string(4096, 'b'));
}

TEST(SimDisk, EveryPageIsGivenBack) {
  Fixture f;
  const FileId object{FileKind::object, 0, 1};
  for (int i = 0; i < 10; ++i) {
    f.write(object, 0, 65536, 'a');
    if (i % 2) f.sync(object);
    if (i % 3 == 0) f.disk.power_lost();
    f.remove(object);
    f.sync_directory(object);
  }
  EXPECT_EQ(f.disk.used(), 0u);
}

}  // namespace
}  // namespace sd::sim
