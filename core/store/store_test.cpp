// The store's promises one at a time: damage, full disks, failing disks, bounds, and that payload is not copied.
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/store/journal.hpp"
#include "core/store/object_meta.hpp"
#include "core/store/store_bench.hpp"

namespace sd {
namespace {

using testing::small_journal;
using testing::StoreBench;
constexpr std::uint32_t block = limits::block_size;
const Oid a = Oid::data(1, 1), b = Oid::data(1, 2);

FileId data_file(Oid oid) { return {FileKind::object, 0, oid.value}; }
FileId meta_file(Oid oid) { return {FileKind::object_meta, 0, oid.value}; }
constexpr FileId journal_file{FileKind::journal, 0, 0};

TEST(Store, AWriteIsReadBackAndUnwrittenRangesAreZeros) {
  StoreBench t(small_journal());
  ASSERT_TRUE(t.store->ready());
  EXPECT_EQ(t.read(a, 0, 10).status, Status::not_found);
  EXPECT_FALSE(t.query(a).info.exists);
  const Slice data = t.pattern(5000, 1);
  EXPECT_EQ(t.write(a, {1, 1}, {}, 100, data).status, Status::ok);
  for (int i = 0; i < 2; ++i) {
    const auto d = t.read(a, 0, limits::object_size);
    ASSERT_EQ(d.status, Status::ok);
    const std::string text = StoreBench::text(d);
    EXPECT_EQ(text, std::string(100, '\0') + std::string(data.text()) + std::string(limits::object_size - 5100, '\0'));
    EXPECT_EQ(d.info.allocated_blocks, 2u);
    t.checkpoint();  // from memory the first time, from the file the second
  }
  EXPECT_EQ(t.store->stats().dirty_bytes, 0u);
  EXPECT_EQ(t.store->stats().journal_used, 0u);
}

TEST(Store, AlignedPayloadGoesToTheJournalAndBackUncopiedInOneWrite) {
  StoreBench t(small_journal());
  const Slice data = t.pattern(4 * block, 1);
  t.store->write(t.now, 1, a, {1, 1}, {}, 8 * block, data, t.fx);
  t.store->write(t.now, 2, b, {1, 1}, {}, 0, data.part(0, block), t.fx);
  EXPECT_TRUE(t.fx.disk.empty()) << "records gather until the end of the step";
  t.store->flush_batch(t.now, t.fx);
  ASSERT_EQ(t.fx.disk.size(), 1u);
  ASSERT_EQ(t.fx.disk[0].slices.size(), 3u);
  EXPECT_EQ(t.fx.disk[0].slices[1].data(), data.data());
  EXPECT_EQ(t.fx.disk[0].slices[2].data(), data.data());
  t.collect();
  t.drain();
  t.done.clear();
  StoreBench u(small_journal());
  const Slice again = u.pattern(4 * block, 1);
  u.write(a, {1, 1}, {}, 0, again);
  EXPECT_EQ(u.read(a, block, block).data[0].data(), again.data() + block);
}

TEST(Store, VersionsMustFollowEachOther) {
  StoreBench t(small_journal());
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 1)).status, Status::behind)
      << "the object was never written";
  EXPECT_FALSE(t.query(a).info.exists);
  EXPECT_EQ(t.write(a, {1, 1}, {}, 0, t.pattern(block, 1)).status, Status::ok);
  EXPECT_EQ(t.write(a, {1, 3}, {1, 2}, 0, t.pattern(block, 2)).status, Status::behind);
  EXPECT_EQ(t.write(a, {2, 2}, {1, 1}, 0, t.pattern(block, 3)).status, Status::ok);
  EXPECT_EQ(t.query(a).info.base, (Version{1, 1}));
  EXPECT_EQ(t.write(a, {1, 1}, {}, 0, t.pattern(block, 4)).status, Status::ok) << "a duplicate is acknowledged";
  EXPECT_EQ(t.write(a, {2, 3}, {2, 2}, 0, {}).status, Status::ok) << "a version without data";
  EXPECT_EQ(t.query(a).info, (ObjectInfo{true, false, {2, 3}, {1, 1}, 1}));
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, block)) == t.pattern(block, 3).text());
}

TEST(Store, RangesOutsideTheObjectAndTooLargeForTheJournalAreRefused) {
  StoreBench t(small_journal());
  EXPECT_EQ(t.write(a, {1, 1}, {}, limits::object_size - 1, t.pattern(2, 1)).status, Status::invalid);
  EXPECT_EQ(t.write(a, {1, 1}, {}, 0, t.pattern(512u << 10, 1)).status, Status::invalid);
  EXPECT_EQ(t.read(a, 1, limits::object_size).status, Status::invalid);
  EXPECT_EQ(t.zero(a, {1, 1}, {}, limits::object_size, 1).status, Status::invalid);
}

TEST(Store, WholeObjectsGoThroughALargeEnoughJournal) {
  StoreOptions o;
  o.journal_bytes = 18u << 20;
  o.preallocate_journal = false;
  StoreBench t(o);
  Version last{};
  for (std::uint64_t i = 1; i <= 12; ++i) {
    ASSERT_EQ(t.write(a, {1, i}, last, 0, t.pattern(limits::object_size, i)).status, Status::ok);
    last = {1, i};
  }
  ASSERT_EQ(t.flush().status, Status::ok);
  t.restart(true);
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, limits::object_size)) == t.pattern(limits::object_size, 12).text());
}

TEST(Store, OneSyncServesManyFlushesAndNoneWhenNothingIsNew) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  const auto before = t.store->stats().journal_syncs;
  for (std::uint64_t i = 100; i < 120; ++i) t.store->flush(t.now, i, t.fx);
  t.collect();
  for (std::uint64_t i = 100; i < 120; ++i) EXPECT_EQ(t.wait(i).status, Status::ok);
  EXPECT_EQ(t.store->stats().journal_syncs, before + 1);
  EXPECT_EQ(t.flush().status, Status::ok);
  EXPECT_EQ(t.store->stats().journal_syncs, before + 1);
}

TEST(Store, RottenDataAreDamagedAndTheRestIsNot) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(8 * block, 1));
  t.checkpoint();
  (*t.disk.contents(data_file(a)))[3 * block + 77] ^= std::byte{1};
  EXPECT_EQ(t.read(a, 0, 8 * block).status, Status::damaged);
  EXPECT_TRUE(t.read(a, 3 * block, 1).data.empty());
  EXPECT_EQ(t.read(a, 0, 3 * block).status, Status::ok);
  EXPECT_EQ(t.read(a, 4 * block, 4 * block).status, Status::ok);
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 3 * block + 1, t.pattern(5, 2)).status, Status::damaged)
      << "its neighbours are not known";
  EXPECT_EQ(t.query(a).info.version, (Version{1, 1}));
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 3 * block, t.pattern(block, 2)).status, Status::ok);
  EXPECT_EQ(t.read(a, 0, 8 * block).status, Status::ok);
  t.checkpoint();
  t.disk.contents(data_file(a))->resize(5 * block);
  EXPECT_EQ(t.read(a, 0, 8 * block).status, Status::damaged) << "a file that lost its end";
  EXPECT_FALSE(t.notices.empty());
}

TEST(Store, RandomRotInObjectFilesIsNeverReturned) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    StoreBench t(small_journal(), seed);
    std::string expected;
    Version last{};
    for (std::uint64_t i = 1; i <= 6; ++i) {
      const auto offset = static_cast<std::uint32_t>(t.random.below(20000));
      Slice data = t.pattern(1 + t.random.below(20000), seed * 100 + i);
      if (expected.size() < offset + data.size()) expected.resize(offset + data.size());
      expected.replace(offset, data.size(), data.text());
      ASSERT_EQ(t.write(a, {1, i}, last, offset, data).status, Status::ok);
      last = {1, i};
      if (i % 3 == 0) t.checkpoint();
    }
    t.restart(false);
    const auto file = t.random.below(2) == 0 ? data_file(a) : meta_file(a);
    auto& bytes = *t.disk.contents(file);
    bytes[t.random.below(bytes.size())] ^= static_cast<std::byte>(1u << t.random.below(8));
    const auto d = t.read(a, 0, static_cast<std::uint32_t>(expected.size()));
    if (d.status == Status::ok)
      EXPECT_EQ(StoreBench::text(d), expected) << seed;
    else
      EXPECT_TRUE(d.status == Status::damaged || d.status == Status::behind) << seed;
  }
}

TEST(Store, LostMetadataMakeAnObjectIncompleteUntilItIsSynchronised) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  t.write(b, {1, 1}, {}, 0, t.pattern(block, 1));
  t.checkpoint();
  t.crash(true);
  for (auto& byte : *t.disk.contents(meta_file(a))) byte = std::byte{0x55};
  t.disk.erase(meta_file(b));
  t.start();
  for (const Oid oid : {a, b}) {
    EXPECT_EQ(t.query(oid).info, (ObjectInfo{true, true, {}, {}, 0}));
    EXPECT_EQ(t.read(oid, 0, block).status, Status::behind);
    EXPECT_EQ(t.write(oid, {1, 2}, {1, 1}, 0, t.pattern(block, 2)).status, Status::behind);
    t.store->begin_sync(t.now, ++t.ticket, oid, t.fx);
    EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
    t.store->put_chunk(t.now, ++t.ticket, oid, 0, {1, 1}, 1, t.pattern(block, 1), t.fx);
    EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
    // What was there is not known, so nothing short of every chunk makes it whole.
    for (std::uint32_t chunk = 1; chunk < limits::chunks_per_object; ++chunk) {
      t.store->put_chunk(t.now, ++t.ticket, oid, chunk, {}, 0, {}, t.fx);
      EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
    }
    t.store->end_sync(t.now, ++t.ticket, oid, {1, 1}, {}, t.fx);
    EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
  }
  t.flush();
  t.restart(true);
  for (const Oid oid : {a, b}) {
    EXPECT_EQ(t.query(oid).info, (ObjectInfo{true, false, {1, 1}, {}, 1}));
    EXPECT_TRUE(StoreBench::text(t.read(oid, 0, block)) == t.pattern(block, 1).text());
  }
}

TEST(Store, AnInterruptedSynchronisationKeepsTheOldVersion) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  t.write(a, {1, 2}, {1, 1}, limits::chunk_size, t.pattern(block, 2));
  t.store->begin_sync(t.now, ++t.ticket, a, t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
  t.store->put_chunk(t.now, ++t.ticket, a, 2, {1, 9}, 0, {}, t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
  t.store->put_chunk(t.now, ++t.ticket, a, 2, {1, 9}, 3, t.pattern(block, 3), t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::invalid) << "the mask and the data disagree";
  t.flush();
  t.restart(true);
  EXPECT_EQ(t.query(a).info, (ObjectInfo{true, true, {1, 2}, {}, 2}));
  t.store->chunks_since(t.now, ++t.ticket, a, {1, 1}, t.fx);
  EXPECT_EQ(t.wait(t.ticket).chunks, 0b110u);
  t.store->put_chunk(t.now, ++t.ticket, b, 0, {1, 9}, 0, {}, t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::invalid) << "not begun";
}

TEST(Store, TrimGivesTheBlocksBack) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(8 * block, 1));
  t.checkpoint();
  EXPECT_EQ(t.zero(a, {1, 2}, {1, 1}, block + 10, 4 * block).status, Status::ok);
  const std::string was(t.pattern(8 * block, 1).text());
  std::string expected = was;
  expected.replace(block + 10, 4 * block, 4 * block, '\0');
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(StoreBench::text(t.read(a, 0, 8 * block)) == expected);
    EXPECT_EQ(t.query(a).info.allocated_blocks, 5u);
    t.checkpoint();
  }
  const auto& bytes = *t.disk.contents(data_file(a));
  for (std::size_t at = 2 * block; at < 5 * block; ++at) ASSERT_EQ(bytes[at], std::byte{0}) << "the file has a hole";
}

TEST(Store, RemoveDeletesTheFilesAndTheNameCanBeUsedAgain) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(8 * block, 1));
  t.checkpoint();
  t.store->remove(t.now, ++t.ticket, a, t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
  EXPECT_TRUE(t.store->objects().empty());
  EXPECT_EQ(t.read(a, 0, block).status, Status::not_found);
  t.write(a, {1, 5}, {}, 2 * block, t.pattern(block, 2));
  t.checkpoint();
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, 3 * block)) ==
              std::string(2 * block, '\0') + std::string(t.pattern(block, 2).text()));
  t.store->remove(t.now, ++t.ticket, a, t.fx);
  t.wait(t.ticket);
  t.checkpoint();
  EXPECT_FALSE(t.disk.exists(data_file(a)));
  EXPECT_FALSE(t.disk.exists(meta_file(a)));
  EXPECT_EQ(t.store->stats().objects, 0u);
  EXPECT_EQ(t.store->stats().loaded_objects, 0u);
}

TEST(Store, WritesThatNeedSpaceAreRefusedBelowTheReserve) {
  StoreOptions o = small_journal();
  o.reserve_bytes = 1u << 20;
  StoreBench t(o);
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  t.store->set_space(1000, 1u << 30);
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, block, t.pattern(block, 2)).status, Status::no_space);
  EXPECT_EQ(t.query(a).info.version, (Version{1, 1}));
  EXPECT_EQ(t.write(b, {1, 1}, {}, 0, t.pattern(block, 2)).status, Status::no_space);
  EXPECT_FALSE(t.query(b).info.exists);
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 3)).status, Status::ok) << "it has its block already";
  EXPECT_EQ(t.zero(a, {1, 3}, {1, 2}, 0, block).status, Status::ok);
  t.store->set_space(1u << 29, 1u << 30);
  EXPECT_EQ(t.write(a, {1, 4}, {1, 3}, block, t.pattern(block, 2)).status, Status::ok);
}

TEST(Store, TheReserveIsKeptBetweenTwoLooksAtTheDisk) {
  StoreOptions o = small_journal();
  o.reserve_bytes = 64 * block;
  StoreBench t(o);
  t.store->set_space(80 * block, 1u << 30);
  Version last{};
  std::uint32_t taken = 0;
  while (t.write(a, {1, taken + 1}, last, taken * block, t.pattern(block, 1)).status == Status::ok) last = {1, ++taken};
  EXPECT_EQ(taken, 17u) << "down to the reserve, whether applied or not";
  EXPECT_EQ(t.write(a, {1, 100}, last, 0, t.pattern(block, 2)).status, Status::ok) << "it has its block already";
  t.store->set_space(80 * block, 1u << 30);
  EXPECT_LT(t.store->space_left(), 80 * block) << "what waits in memory will need its space";
}

TEST(Store, AJournalWithoutSpaceFailsItsWritesAndGoesOn) {
  // Two batches in flight, the first of three blocks and the second of two; one of them finds no space, in either order
  // of completion.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const bool first_fails = seed % 2 == 0;
    StoreBench t(small_journal(), seed);
    t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
    bool full = true;
    t.disk.inject = [&](const DiskOp& op) {
      return full && op.kind == DiskOp::Kind::write && op.file == journal_file &&
                     op.length == (first_fails ? 3 : 2) * block
                 ? Status::no_space
                 : Status::ok;
    };
    t.store->write(t.now, 1001, a, {1, 2}, {1, 1}, 0, t.pattern(block, 2), t.fx);
    t.store->write(t.now, 1002, b, {1, 1}, {}, 0, t.pattern(block, 2), t.fx);
    t.store->flush_batch(t.now, t.fx);
    t.store->write(t.now, 1003, a, {1, 3}, {1, 2}, 0, t.pattern(block, 3), t.fx);
    const Status of_first = first_fails ? Status::no_space : Status::ok;
    EXPECT_EQ(t.wait(1001).status, of_first);
    EXPECT_EQ(t.wait(1002).status, of_first);
    EXPECT_EQ(t.wait(1003).status, Status::no_space);
    full = false;
    while (!t.store->ready() && t.step()) {
    }
    ASSERT_TRUE(t.store->ready());
    const Version now_at{1, first_fails ? 1u : 2u};
    EXPECT_EQ(t.query(a).info.version, now_at);
    EXPECT_TRUE(StoreBench::text(t.read(a, 0, block)) == t.pattern(block, now_at.sequence).text());
    EXPECT_EQ(t.query(b).info.exists, !first_fails);
    EXPECT_EQ(t.write(a, {1, 9}, now_at, 0, t.pattern(block, 4)).status, Status::ok);
    t.flush();
    t.restart(true);
    EXPECT_TRUE(StoreBench::text(t.read(a, 0, block)) == t.pattern(block, 4).text());
  }
}

TEST(Store, ObjectFilesWithoutSpaceWaitAndLoseNothing) {
  StoreBench t(small_journal());
  bool full = true;
  t.disk.inject = [&](const DiskOp& op) {
    return full && op.kind == DiskOp::Kind::write && op.file.kind == FileKind::object ? Status::no_space : Status::ok;
  };
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  for (int i = 0; i < 20; ++i) t.step();  // the apply timer, and attempts
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, block)) == t.pattern(block, 1).text());
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, block, t.pattern(block, 2)).status, Status::no_space);
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 3)).status, Status::ok);
  EXPECT_EQ(t.flush().status, Status::ok);
  full = false;
  t.checkpoint();
  EXPECT_EQ(t.store->stats().dirty_bytes, 0u);
  EXPECT_EQ(t.write(a, {1, 3}, {1, 2}, block, t.pattern(block, 2)).status, Status::ok);
  t.restart(false);
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, 2 * block)) ==
              std::string(t.pattern(block, 3).text()) + std::string(t.pattern(block, 2).text()));
}

TEST(Store, AFailedJournalWriteOrSyncStopsTheStore) {
  for (const auto kind : {DiskOp::Kind::write, DiskOp::Kind::sync}) {
    StoreBench t(small_journal());
    t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
    t.disk.inject = [&](const DiskOp& op) {
      return op.kind == kind && op.file == journal_file ? Status::io_error : Status::ok;
    };
    if (kind == DiskOp::Kind::write)
      EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 2)).status, Status::io_error);
    else
      EXPECT_EQ(t.flush().status, Status::io_error);
    EXPECT_TRUE(t.store->failed());
    EXPECT_EQ(t.read(a, 0, block).status, Status::io_error);
    EXPECT_EQ(t.flush().status, Status::io_error);
    EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 2)).status, Status::io_error);
    EXPECT_EQ(t.store->next_deadline(), never);
  }
}

TEST(Store, WhatTheDiskCannotReadIsDamagedAndCanBeWrittenAgain) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(2 * block, 1));
  t.checkpoint();
  bool bad = true;  // a sector of the first block, until it is written
  t.disk.inject = [&](const DiskOp& op) {
    if (op.file != data_file(a) || op.offset > 0) return Status::ok;
    if (op.kind == DiskOp::Kind::write) bad = false;
    return op.kind == DiskOp::Kind::read && bad ? Status::io_error : Status::ok;
  };
  EXPECT_EQ(t.read(a, 0, 2 * block).status, Status::damaged);
  EXPECT_EQ(t.read(a, block, block).status, Status::ok);
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 7, t.pattern(5, 2)).status, Status::damaged) << "its neighbours are not known";
  t.store->read_chunk(t.now, ++t.ticket, a, 0, t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::damaged);
  EXPECT_FALSE(t.store->failed());
  EXPECT_EQ(t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 2)).status, Status::ok);
  t.checkpoint();
  EXPECT_EQ(t.read(a, 0, 2 * block).status, Status::ok);
}

TEST(Store, DamageInTheMiddleOfTheJournalIsReportedAndNothingBehindItIsTaken) {
  StoreBench t(small_journal());
  Version last{};
  for (std::uint64_t i = 1; i <= 6; ++i) {
    t.write(a, {1, i}, last, 0, t.pattern(block, i));
    last = {1, i};
    t.flush();
  }
  t.crash(true);
  // Batches of one header and one payload block each follow the superblocks; spoil the third one's payload.
  (*t.disk.contents(journal_file))[journal::area_offset + (2 * 2 + 1) * block + 5] ^= std::byte{1};
  t.start();
  ASSERT_TRUE(t.store->ready());
  ASSERT_EQ(t.notices.size(), 1u);
  EXPECT_NE(t.notices[0].find("damaged"), std::string::npos);
  EXPECT_EQ(t.query(a).info.version, (Version{1, 2}));
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, block)) == t.pattern(block, 2).text());
  // What is written now is not followed by leftovers of the time before.
  t.write(a, {1, 7}, {1, 2}, 0, t.pattern(block, 7));
  t.flush();
  t.restart(true);
  EXPECT_EQ(t.query(a).info.version, (Version{1, 7}));
}

TEST(Store, ABatchLeftOverFromBeforeACrashIsNotTakenAsTheSuccessorOfANewOne) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 2));
  t.crash(false);
  const auto old = *t.disk.contents(journal_file);
  auto& bytes = *t.disk.contents(journal_file);
  const auto from = static_cast<std::ptrdiff_t>(journal::area_offset);
  std::fill(bytes.begin() + from, bytes.end(), std::byte{0});  // a power loss that lost both ...
  t.start();
  EXPECT_FALSE(t.query(a).info.exists);
  t.write(a, {1, 5}, {}, 0, t.pattern(block, 5));
  t.crash(false);
  auto& later = *t.disk.contents(journal_file);
  // ... or only the first
  std::copy(old.begin() + from + 2 * block, old.begin() + from + 4 * block, later.begin() + from + 2 * block);
  t.start();
  EXPECT_EQ(t.query(a).info.version, (Version{1, 5}));
  EXPECT_TRUE(StoreBench::text(t.read(a, 0, block)) == t.pattern(block, 5).text());
}

TEST(Store, ABatchThatWasNotTakenNeverBecomesWholeLater) {
  // A batch's payload was lost with the power, its header was not. The owner writes the same data again, under another
  // version, and now the power takes that batch's header: the payload fits the old one.
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  t.flush();
  t.write(a, {1, 2}, {1, 1}, 0, t.pattern(block, 2));
  t.crash(false);
  constexpr std::size_t second = journal::area_offset + 2 * block;
  const auto old_header =
      std::string(reinterpret_cast<const char*>(t.disk.contents(journal_file)->data()) + second, block);
  (*t.disk.contents(journal_file))[second + block] ^= std::byte{1};
  t.start();
  EXPECT_EQ(t.query(a).info.version, (Version{1, 1}));
  const auto* at_opening = reinterpret_cast<const char*>(t.disk.contents(journal_file)->data()) + second;
  const std::string left(at_opening, block);
  t.write(a, {2, 2}, {1, 1}, 0, t.pattern(block, 2));
  t.crash(false);
  // the new header never reached the disk
  std::memcpy(t.disk.contents(journal_file)->data() + second, left.data(), block);
  t.start();
  EXPECT_EQ(t.query(a).info.version, (Version{1, 1})) << "a write that had not happened happened after all";
  EXPECT_NE(left, old_header);
}

// An owner that asks after a crash has to know whose writes the data contain, however they came here.
TEST(Store, WhoseWritesItHoldsIsKnownAfterACrash) {
  for (const bool checkpointed : {false, true})
    for (const bool power : {false, true}) {
      StoreOptions options = small_journal();
      options.remembered_writes = 2;
      StoreBench t(options);
      for (std::uint64_t i = 1; i <= 3; ++i) {
        t.store->write(t.now, ++t.ticket, a, {1, i}, {i == 1 ? 0u : 1u, i - 1}, 0, t.pattern(block, i), t.fx, {7, i});
        EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
      }
      t.store->zero(t.now, ++t.ticket, a, {1, 4}, {1, 3}, 10, 5000, t.fx, {8, 1});
      EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
      const RecentWrites held{{{7, 3}, {8, 1}}, {{7, 2}}};
      EXPECT_EQ(t.query(a).recent, held);
      if (checkpointed) t.checkpoint();
      EXPECT_EQ(t.flush().status, Status::ok);
      t.restart(power);
      EXPECT_EQ(t.query(a).recent, held) << checkpointed << power;
      // A copy is worth what its source remembers.
      t.store->begin_sync(t.now, ++t.ticket, a, t.fx);
      t.store->end_sync(t.now, ++t.ticket, a, {2, 9}, {1, 4}, t.fx, {{{9, 9}}, {{7, 3}}});
      EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
      EXPECT_EQ(t.flush().status, Status::ok);
      t.restart(power);
      EXPECT_EQ(t.query(a).recent, (RecentWrites{{{9, 9}}, {{7, 3}}}));
      t.store->remove(t.now, ++t.ticket, a, t.fx);
      t.wait(t.ticket);
      t.store->write(t.now, ++t.ticket, a, {3, 1}, {}, 0, t.pattern(block, 5), t.fx, {5, 5});
      t.wait(t.ticket);
      EXPECT_EQ(t.query(a).recent, (RecentWrites{{{5, 5}}, {}}));
    }
}

// Strips of one object are as separate as objects are, on disk and in the journal.
TEST(Store, StripsOfAnObjectAreKeptApart) {
  for (const bool checkpointed : {false, true}) {
    StoreBench t(small_journal());
    const auto write = [&](ObjectKey key, std::uint64_t stamp) {
      t.store->write(t.now, ++t.ticket, key, {1, 1}, {}, 0, t.pattern(block, stamp), t.fx);
      EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
    };
    const auto holds = [&](ObjectKey key, std::uint64_t stamp) {
      t.store->read(t.now, ++t.ticket, key, 0, block, t.fx);
      return StoreBench::text(t.wait(t.ticket)) == t.pattern(block, stamp).text();
    };
    write({a, 1}, 1);
    write({a, 2}, 2);
    write(a, 3);
    if (checkpointed) t.checkpoint();
    EXPECT_EQ(t.flush().status, Status::ok);
    t.restart(true);
    EXPECT_TRUE(holds({a, 1}, 1));
    EXPECT_TRUE(holds({a, 2}, 2));
    EXPECT_TRUE(holds(a, 3));
    EXPECT_EQ(t.store->keys(), (std::vector<ObjectKey>{a, {a, 1}, {a, 2}}));
    EXPECT_EQ(t.store->objects(), std::vector<Oid>{a});
    t.store->remove(t.now, ++t.ticket, ObjectKey{a, 1}, t.fx);
    EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
    EXPECT_EQ(t.store->keys(), (std::vector<ObjectKey>{a, {a, 2}}));
    EXPECT_EQ(to_string(ObjectKey{a, 2}), to_string(a) + "_02");
  }
}

// Taken for no journal at all, it would be overwritten.
TEST(Store, AJournalOfAnotherVersionIsLeftAlone) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  EXPECT_EQ(t.flush().status, Status::ok);
  t.crash(false);
  auto* bytes = t.disk.contents({FileKind::journal, 0, 0});
  for (const std::size_t place : {std::size_t{0}, std::size_t{journal::super_bytes}})
    if ((*bytes)[place] != std::byte{}) (*bytes)[place + 7] = std::byte{'1'};
  const auto before = *bytes;
  t.start();
  EXPECT_TRUE(t.store->failed());
  EXPECT_EQ(*t.disk.contents({FileKind::journal, 0, 0}), before);
}

TEST(Store, QueuesAndMemoryAreBounded) {
  StoreOptions o = small_journal();
  o.max_dirty_bytes = 16 * block;
  o.max_queued_ops = 8;
  StoreBench t(o);
  std::uint64_t busy = 0, ok = 0;
  for (std::uint64_t i = 1; i <= 100; ++i) {
    t.store->write(t.now, i, Oid::data(2, static_cast<std::uint32_t>(i)), {1, 1}, {}, 0, t.pattern(block, i), t.fx);
    EXPECT_LE(t.store->stats().dirty_bytes, 16 * block);
    EXPECT_LE(t.store->stats().queued_ops, 8u);
  }
  for (std::uint64_t i = 1; i <= 100; ++i) {
    const auto status = t.wait(i).status;
    busy += status == Status::busy;
    ok += status == Status::ok;
  }
  EXPECT_EQ(ok + busy, 100u);
  EXPECT_GT(busy, 0u);
  EXPECT_GE(ok, 16u);
  t.checkpoint();
  EXPECT_EQ(t.store->stats().objects, ok) << "an operation that was refused leaves no trace";
}

TEST(Store, EveryBufferIsReturned) {
  BufferPool pool;
  {
    testing::MemoryDisk disk(pool, 1);
    Store store(small_journal(), pool, 1);
    StoreEffects fx;
    store.open(0, fx);
    fx = {};
  }
  EXPECT_EQ(pool.outstanding(), 0u);
}

#ifdef SD_SIM_BUGS
TEST(Store, PlantedSkipChecksumIsSeen) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(block, 1));
  t.checkpoint();
  (*t.disk.contents(data_file(a)))[77] ^= std::byte{1};
  planted_bug = SimBug::skip_checksum;
  EXPECT_EQ(t.read(a, 0, block).status, Status::ok);
  planted_bug = SimBug::count;
  EXPECT_EQ(t.read(a, 0, block).status, Status::damaged);
}
#endif

}  // namespace
}  // namespace sd
