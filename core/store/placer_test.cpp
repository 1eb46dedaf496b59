// Copies from another member that are written once. That no crash at any moment hurts them is in store_crash_test.cpp.
#include <gtest/gtest.h>

#include "core/store/object_meta.hpp"
#include "core/store/store_bench.hpp"

namespace sd {
namespace {

using testing::StoreBench;

constexpr Version seen{3, 7};
constexpr std::uint32_t chunk = limits::chunk_size;

class Placing : public ::testing::Test {
 protected:
  Status begin(bool flushed = true) {
    bench.store->begin_sync(bench.now, ++bench.ticket, oid, bench.fx);
    const Status status = bench.wait(bench.ticket).status;
    if (flushed) bench.flush();
    return status;
  }
  Status put(std::uint32_t number, std::uint16_t mask, std::uint64_t stamp) {
    Slice data = bench.pattern(static_cast<std::size_t>(std::popcount(mask)) * limits::block_size, stamp);
    bench.store->put_chunk(bench.now, ++bench.ticket, oid, number, seen, mask, std::move(data), bench.fx);
    return bench.wait(bench.ticket).status;
  }
  Status end() {
    bench.store->end_sync(bench.now, ++bench.ticket, oid, seen, {}, bench.fx);
    return bench.wait(bench.ticket).status;
  }
  std::string content(std::uint64_t stamp) { return std::string(bench.pattern(chunk, stamp).text()); }
  std::uint64_t placed() const { return bench.store->stats().placed_chunks; }

  StoreBench bench{testing::small_journal()};
  const Oid oid = Oid::data(9, 4);
};

TEST_F(Placing, ACopyOfAnObjectThatWasNotHereIsWrittenOnceAndOutlivesAPowerFailure) {
  ASSERT_EQ(begin(), Status::ok);
  for (std::uint32_t c = 0; c < limits::chunks_per_object; ++c) ASSERT_EQ(put(c, c == 5 ? 0 : 0xffff, c), Status::ok);
  EXPECT_EQ(placed(), limits::chunks_per_object);
  EXPECT_EQ(bench.store->stats().dirty_bytes, 0u) << "nothing waits in memory to be written again";
  EXPECT_LT(bench.store->stats().journal_used, chunk) << "the journal has none of the data";
  EXPECT_EQ(bench.read(oid, 0, chunk).status, Status::behind) << "not before it is complete";
  ASSERT_EQ(end(), Status::ok);
  ASSERT_EQ(bench.flush().status, Status::ok);
  bench.restart(true);
  const ObjectInfo info = bench.query(oid).info;
  EXPECT_FALSE(info.incomplete);
  EXPECT_EQ(info.version, seen);
  EXPECT_EQ(info.allocated_blocks, limits::blocks_per_object - limits::blocks_per_chunk);
  for (const std::uint32_t c : {0u, 4u, 63u})
    EXPECT_EQ(StoreBench::text(bench.read(oid, c * chunk, chunk)), content(c));
  EXPECT_EQ(StoreBench::text(bench.read(oid, 5 * chunk, chunk)), std::string(chunk, '\0'));
}

TEST_F(Placing, WhatIsHereAlreadyIsReplacedThroughTheJournal) {
  ASSERT_EQ(bench.write(oid, {1, 1}, {}, 0, bench.pattern(chunk, 1)).status, Status::ok);
  bench.checkpoint();
  ASSERT_EQ(begin(), Status::ok);
  ASSERT_EQ(put(0, 0xffff, 2), Status::ok);
  EXPECT_EQ(placed(), 0u) << "a crash must find either the old chunk or the new one";
  ASSERT_EQ(put(1, 0x00ff, 3), Status::ok);
  ASSERT_EQ(end(), Status::ok);
  EXPECT_EQ(StoreBench::text(bench.read(oid, 0, chunk)), content(2));
  EXPECT_EQ(StoreBench::text(bench.read(oid, chunk, chunk / 2)), content(3).substr(0, chunk / 2));
}

TEST_F(Placing, NothingIsPlacedBeforeItIsDurableThatTheObjectIsIncomplete) {
  ASSERT_EQ(begin(false), Status::ok);
  ASSERT_EQ(put(0, 0xffff, 1), Status::ok);
  EXPECT_EQ(placed(), 0u);
  ASSERT_EQ(end(), Status::ok);
  EXPECT_EQ(StoreBench::text(bench.read(oid, 0, chunk)), content(1));
}

TEST_F(Placing, ACopyThatACrashCutOffHasToBeBegunAgain) {
  ASSERT_EQ(begin(), Status::ok);
  ASSERT_EQ(put(0, 0xffff, 1), Status::ok);
  bench.restart(false);
  EXPECT_EQ(put(1, 0xffff, 2), Status::unavailable) << "or chunk 0 would be missing in a complete object";
  EXPECT_EQ(end(), Status::unavailable);
  EXPECT_TRUE(bench.query(oid).info.incomplete);
  ASSERT_EQ(begin(), Status::ok);
  for (const std::uint32_t c : {0u, 1u}) ASSERT_EQ(put(c, 0xffff, c + 10), Status::ok);
  ASSERT_EQ(end(), Status::ok);
  for (const std::uint32_t c : {0u, 1u})
    EXPECT_EQ(StoreBench::text(bench.read(oid, c * chunk, chunk)), content(c + 10));
}

TEST_F(Placing, ACopyThatIsGivenUpTakesNoMemory) {
  StoreOptions options = testing::small_journal();
  options.meta_cache = 0;
  StoreBench t(options);
  t.store->begin_sync(t.now, ++t.ticket, oid, t.fx);
  ASSERT_EQ(t.wait(t.ticket).status, Status::ok);
  t.flush();
  t.store->put_chunk(t.now, ++t.ticket, oid, 0, seen, 0xffff, t.pattern(chunk, 1), t.fx);
  ASSERT_EQ(t.wait(t.ticket).status, Status::ok);
  t.checkpoint();
  EXPECT_EQ(t.store->stats().loaded_objects, 1u);
  t.store->give_up_sync(oid);
  EXPECT_EQ(t.store->stats().loaded_objects, 0u);
  t.store->put_chunk(t.now, ++t.ticket, oid, 1, seen, 0xffff, t.pattern(chunk, 1), t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::unavailable);
  EXPECT_TRUE(t.query(oid).info.incomplete);
}

TEST_F(Placing, AnObjectThatWasRemovedAndComesBackIsNotHurtByReplay) {
  ASSERT_EQ(bench.write(oid, {1, 1}, {}, 0, bench.pattern(chunk, 1)).status, Status::ok);
  bench.checkpoint();
  bench.store->remove(bench.now, ++bench.ticket, oid, bench.fx);
  ASSERT_EQ(bench.wait(bench.ticket).status, Status::ok);
  bench.now += milliseconds(500);  // its files are removed, and the journal still says so
  bench.store->tick(bench.now, bench.fx);
  bench.collect();
  while (bench.disk.in_flight() > 0) bench.step();
  ASSERT_FALSE(bench.disk.contents({FileKind::object, 0, oid.value}));
  ASSERT_EQ(begin(), Status::ok);
  ASSERT_EQ(put(0, 0xffff, 2), Status::ok);
  EXPECT_EQ(placed(), 0u);
  ASSERT_EQ(end(), Status::ok);
  bench.restart(false);
  bench.checkpoint();
  EXPECT_EQ(StoreBench::text(bench.read(oid, 0, chunk)), content(2));
}

TEST_F(Placing, AFileThatCouldNotBeMadeIsNotMissed) {
  ASSERT_EQ(begin(), Status::ok);
  bench.disk.inject = [](const DiskOp& op) {
    return op.kind == DiskOp::Kind::write && op.file.kind == FileKind::object ? Status::no_space : Status::ok;
  };
  EXPECT_EQ(put(0, 0xffff, 1), Status::no_space);
  ASSERT_EQ(begin(), Status::ok);
  ASSERT_EQ(put(0, 0, 1), Status::ok) << "the source has trimmed it meanwhile";
  ASSERT_EQ(end(), Status::ok);
  bench.checkpoint();
  bench.restart(true);
  EXPECT_EQ(StoreBench::text(bench.read(oid, 0, chunk)), std::string(chunk, '\0'));
}

// The newest slot of the metadata rots after a checkpoint in the middle of a copy that goes through the journal.
TEST_F(Placing, ACopyIsNotCompletedByReplayWithoutItsFirstPart) {
  for (const bool ended : {false, true}) {
    StoreBench t(testing::small_journal());
    const auto put_there = [&](std::uint32_t number) {
      t.store->put_chunk(t.now, ++t.ticket, oid, number, seen, 0xffff, t.pattern(chunk, number), t.fx);
      return t.wait(t.ticket).status;
    };
    ASSERT_EQ(t.write(oid, {1, 1}, {}, 2 * chunk, t.pattern(chunk, 9)).status, Status::ok);
    t.checkpoint();  // the older slot: complete, without chunk 0
    t.store->begin_sync(t.now, ++t.ticket, oid, t.fx);
    ASSERT_EQ(t.wait(t.ticket).status, Status::ok);
    ASSERT_EQ(put_there(0), Status::ok);
    t.checkpoint();                       // the newer one: incomplete, with chunk 0
    ASSERT_EQ(put_there(2), Status::ok);  // where something is, so through the journal
    ASSERT_EQ(t.store->stats().placed_chunks, 0u);
    if (ended) {
      t.store->end_sync(t.now, ++t.ticket, oid, seen, {}, t.fx);
      ASSERT_EQ(t.wait(t.ticket).status, Status::ok);
    }
    t.flush();
    t.crash(false);
    auto& slots = *t.disk.contents({FileKind::object_meta, 0, oid.value});
    ASSERT_EQ(slots.size(), meta_file_bytes);
    slots[100] ^= std::byte{1};  // the second write, sequence 2, lies first
    t.start();
    const ObjectInfo info = t.query(oid).info;
    EXPECT_EQ(info.incomplete, !ended);
    if (!ended) continue;
    EXPECT_EQ(info.version, seen);
    EXPECT_EQ(StoreBench::text(t.read(oid, 0, chunk)), std::string(t.pattern(chunk, 0).text()))
        << "end_sync told all of it";
    EXPECT_EQ(StoreBench::text(t.read(oid, 2 * chunk, chunk)), std::string(t.pattern(chunk, 2).text()));
  }
}

TEST_F(Placing, WithoutSpaceTheCopyFailsAndTheStoreGoesOn) {
  ASSERT_EQ(begin(), Status::ok);
  bool full = true;
  bench.disk.inject = [&](const DiskOp& op) {
    return full && op.kind == DiskOp::Kind::write && op.file.kind == FileKind::object ? Status::no_space : Status::ok;
  };
  EXPECT_EQ(put(0, 0xffff, 1), Status::no_space);
  full = false;
  EXPECT_EQ(put(0, 0xffff, 2), Status::ok);
  ASSERT_EQ(end(), Status::ok);
  EXPECT_EQ(StoreBench::text(bench.read(oid, 0, chunk)), content(2));
}

}  // namespace
}  // namespace sd
