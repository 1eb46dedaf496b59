// Damage by block: what is good of a damaged chunk is given out, what is bad can be repaired, and what nobody has is
// known to be lost.
#include <gtest/gtest.h>

#include "core/base/crc32c.hpp"
#include "core/store/store_bench.hpp"

namespace sd {
namespace {

using testing::small_journal;
using testing::StoreBench;
constexpr std::uint32_t block = limits::block_size;
const Oid a = Oid::data(1, 1), b = Oid::data(1, 2);

StoreDone read_chunk(StoreBench& t, Oid oid, std::uint32_t chunk) {
  t.store->read_chunk(t.now, ++t.ticket, oid, chunk, t.fx);
  return t.wait(t.ticket);
}
Status repair(StoreBench& t, Oid oid, std::uint32_t at, Slice data) {
  t.store->repair(t.now, ++t.ticket, oid, at, std::move(data), t.fx);
  return t.wait(t.ticket).status;
}
void rot(StoreBench& t, Oid oid, std::uint32_t at) {
  (*t.disk.contents({FileKind::object, 0, oid.value}))[at * block + 9] ^= std::byte{4};
}

TEST(StoreRepair, ADamagedChunkStillGivesItsGoodBlocks) {
  StoreBench t(small_journal());
  const Slice data = t.pattern(4 * block, 1);
  t.write(a, {1, 1}, {}, 0, data);
  t.checkpoint();
  rot(t, a, 1);
  rot(t, a, 3);
  const auto d = read_chunk(t, a, 0);
  EXPECT_EQ(d.status, Status::damaged);
  EXPECT_EQ(d.chunks, 0b1111u);
  EXPECT_EQ(d.damaged_blocks, 0b1010u);
  EXPECT_EQ(d.damaged_crcs,
            (std::vector{crc32c(data.part(block, block).bytes()), crc32c(data.part(3 * block, block).bytes())}));
  EXPECT_EQ(StoreBench::text(d),
            std::string(data.part(0, block).text()) + std::string(data.part(2 * block, block).text()));
}

TEST(StoreRepair, ABlockIsRepairedByWhatMatchesItsChecksumAndByNothingElse) {
  StoreBench t(small_journal());
  const Slice data = t.pattern(4 * block, 1);
  t.write(a, {1, 1}, {}, 0, data);
  t.checkpoint();
  rot(t, a, 1);
  EXPECT_EQ(repair(t, a, 1, t.pattern(block, 7)), Status::behind);
  EXPECT_EQ(repair(t, a, 9, t.pattern(block, 7)), Status::behind) << "not allocated";
  EXPECT_EQ(repair(t, b, 1, t.pattern(block, 7)), Status::behind) << "no such object";
  EXPECT_EQ(t.read(a, block, block).status, Status::damaged);
  EXPECT_EQ(repair(t, a, 1, data.part(block, block)), Status::ok);
  t.flush();
  t.restart(true);
  EXPECT_EQ(StoreBench::text(t.read(a, 0, 4 * block)), data.text());
  EXPECT_EQ(t.query(a).info.version, (Version{1, 1})) << "nothing but the block changes";
  t.checkpoint();
  t.restart(true);
  EXPECT_EQ(StoreBench::text(t.read(a, 0, 4 * block)), data.text());
}

TEST(StoreRepair, LostBlocksAreDamagedUntilTheyAreOverwrittenOrRepaired) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(4 * block, 1));
  const Slice data = t.pattern(4 * block, 2);
  const auto bytes_of = [&](std::uint32_t i) { return data.part(std::size_t{i} * block, block); };
  LostBlocks lost;
  lost.mask = 0b0110;
  lost.crc[1] = crc32c(bytes_of(1).bytes());
  lost.crc[2] = crc32c(bytes_of(2).bytes());
  Slice both = t.pool.allocate(2 * block);
  std::memcpy(both.mutable_data(), bytes_of(0).data(), block);
  std::memcpy(both.mutable_data() + block, bytes_of(3).data(), block);
  // Once with the older data still in memory, and once with them in the file.
  for (const bool in_file : {false, true}) {
    if (in_file) t.checkpoint();
    t.store->begin_sync(t.now, ++t.ticket, a, t.fx);
    t.store->put_chunk(t.now, ++t.ticket, a, 0, {1, 2}, 0b1001, both, t.fx, lost);
    t.store->end_sync(t.now, ++t.ticket, a, {1, 2}, {}, t.fx);
    EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(t.read(a, 0, block).status, Status::ok);
      EXPECT_EQ(t.read(a, block, 1).status, Status::damaged);
      EXPECT_EQ(t.read(a, 2 * block, block).status, Status::damaged);
      EXPECT_EQ(t.read(a, 3 * block, block).status, Status::ok);
      EXPECT_EQ(t.write(a, {1, 3}, {1, 2}, block + 7, t.pattern(10, 3)).status, Status::damaged)
          << "the rest of that block is not known";
      if (i == 0) t.checkpoint();
      if (i == 1) t.restart(true);
    }
  }
  EXPECT_EQ(t.write(a, {1, 3}, {1, 2}, block, t.pattern(block, 3)).status, Status::ok);
  EXPECT_EQ(t.read(a, 0, 2 * block).status, Status::ok);
  EXPECT_EQ(repair(t, a, 2, bytes_of(2)), Status::ok);
  EXPECT_EQ(StoreBench::text(t.read(a, 2 * block, 2 * block)), data.part(2 * block, 2 * block).text());
}

// The file is punched where a block is lost. Nobody may read there meanwhile: the disk stops the test if somebody does.
TEST(StoreRepair, ALostBlockIsNotReadWhileItsFileIsPunched) {
  StoreBench t(small_journal());
  t.write(a, {1, 1}, {}, 0, t.pattern(2 * block, 1));
  t.checkpoint();
  LostBlocks lost;
  lost.mask = 0b01;
  lost.crc[0] = 12345;
  t.store->begin_sync(t.now, ++t.ticket, a, t.fx);
  t.store->put_chunk(t.now, ++t.ticket, a, 0, {1, 2}, 0b10, t.pattern(block, 2), t.fx, lost);
  t.store->end_sync(t.now, ++t.ticket, a, {1, 2}, {}, t.fx);
  EXPECT_EQ(t.wait(t.ticket).status, Status::ok);
  const auto before = t.store->stats().checkpoints;
  t.store->checkpoint(t.now, t.fx);
  t.collect();
  std::vector<std::uint64_t> reads;
  while (t.store->stats().checkpoints == before) {
    t.store->read(t.now, ++t.ticket, a, 0, block, t.fx);
    reads.push_back(t.ticket);
    t.store->read_chunk(t.now, ++t.ticket, a, 0, t.fx);
    reads.push_back(t.ticket);
    t.collect();
    ASSERT_TRUE(t.step());
  }
  EXPECT_GT(reads.size(), 6u);
  for (const std::uint64_t ticket : reads) EXPECT_EQ(t.wait(ticket).status, Status::damaged);
}

}  // namespace
}  // namespace sd
