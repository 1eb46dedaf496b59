#include "core/base/slice.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "core/base/payload.hpp"

namespace sd {
namespace {

std::uintptr_t address(const Slice& slice) { return reinterpret_cast<std::uintptr_t>(slice.data()); }

TEST(BufferPool, LargeBlocksStartOnPagesForDirectIo) {
  BufferPool pool;
  for (const std::size_t size : {4096u, 4097u, 65536u, 4u << 20})
    EXPECT_EQ(address(pool.allocate(size)) % 4096, 0u) << size;
  for (const std::size_t size : {1u, 64u, 100u, 2048u}) EXPECT_EQ(address(pool.allocate(size)) % 64, 0u) << size;
}

TEST(BufferPool, GivesTheSizeThatWasAskedFor) {
  BufferPool pool;
  for (const std::size_t size : {1u, 63u, 64u, 65u, 5000u}) {
    Slice slice = pool.allocate(size);
    ASSERT_EQ(slice.size(), size);
    std::memset(slice.mutable_data(), 0xff, size);  // the sanitizer watches
  }
}

TEST(BufferPool, ASliceOfNothingHoldsNoBlock) {
  BufferPool pool;
  EXPECT_TRUE(pool.allocate(0).empty());
  EXPECT_TRUE(pool.copy_of("").empty());
  EXPECT_TRUE(pool.zeros(0).empty());
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(BufferPool, ReusesABlockThatCameBack) {
  BufferPool pool;
  const auto first = address(pool.allocate(5000));
  EXPECT_EQ(address(pool.allocate(8000)), first) << "both fit a block of 8 KB";
}

TEST(BufferPool, SmallBlocksDoNotKeepLargeOnesFromBeingReused) {
  BufferPool pool(4u << 20);
  {
    std::vector<Slice> small;
    for (int i = 0; i < 1024; ++i) small.push_back(pool.allocate(4096));
  }  // unused blocks now fill what the pool may keep
  const std::byte* first = pool.allocate(1u << 20).data();
  EXPECT_EQ(pool.allocate(1u << 20).data(), first);
}

TEST(BufferPool, DoesNotReuseABlockThatIsHeld) {
  BufferPool pool;
  const Slice held = pool.copy_of("held");
  Slice part = held.part(1, 2);
  const Slice other = pool.copy_of("other");
  EXPECT_NE(address(held), address(other));
  EXPECT_EQ(part.text(), "el");
}

TEST(BufferPool, CountsWhatIsHandedOut) {
  BufferPool pool;
  Slice a = pool.allocate(4096);
  Slice b = pool.allocate(100);
  EXPECT_EQ(pool.outstanding(), 2u);
  EXPECT_EQ(pool.outstanding_bytes(), 4096u + 128u);
  Slice shared = a;
  a = {};
  EXPECT_EQ(pool.outstanding(), 2u) << "the copy holds the block";
  shared = {};
  EXPECT_EQ(pool.outstanding(), 1u);
  b = {};
  EXPECT_EQ(pool.outstanding(), 0u);
  EXPECT_EQ(pool.outstanding_bytes(), 0u);
}

TEST(BufferPool, ZerosAreZerosEvenInAReusedBlock) {
  BufferPool pool;
  {
    Slice dirty = pool.allocate(4096);
    std::memset(dirty.mutable_data(), 0xaa, 4096);
  }
  EXPECT_EQ(pool.zeros(4096).text(), std::string(4096, '\0'));
}

TEST(BufferPool, BlocksMayComeBackFromOtherThreads) {
  BufferPool pool;
  for (int round = 0; round < 50; ++round) {
    std::vector<Slice> slices;
    for (int i = 0; i < 100; ++i) slices.push_back(pool.allocate(1024));
    std::thread other([taken = std::move(slices)]() mutable { taken.clear(); });
    for (int i = 0; i < 100; ++i) pool.allocate(1024);
    other.join();
  }
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(BufferPoolDeath, APoolMustOutliveItsSlices) {
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<BufferPool>();
        Slice slice = pool->allocate(10);
        pool.reset();
      },
      "every buffer is returned");
}

TEST(SliceParts, ShareTheBytes) {
  BufferPool pool;
  Slice whole = pool.copy_of("hello world");
  const Slice word = whole.part(6, 5);
  EXPECT_EQ(word.text(), "world");
  EXPECT_EQ(word.data(), whole.data() + 6);
  EXPECT_EQ(whole.from(6).text(), "world");
  EXPECT_TRUE(whole.part(11, 0).empty());
  whole = {};
  EXPECT_EQ(word.text(), "world") << "a part keeps the block alive";
  EXPECT_EQ(pool.outstanding(), 1u);
}

TEST(SliceParts, AMovedSliceIsEmpty) {
  BufferPool pool;
  Slice a = pool.copy_of("abc");
  const Slice b = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): this is what is tested
  EXPECT_EQ(b.text(), "abc");
  EXPECT_EQ(pool.outstanding(), 1u);
}

TEST(SliceParts, AssigningASliceToItselfKeepsIt) {
  BufferPool pool;
  Slice a = pool.copy_of("abc");
  const Slice& same = a;
  a = same;
  EXPECT_EQ(a.text(), "abc");
}

TEST(SliceParts, ShrinkDropsTheEnd) {
  BufferPool pool;
  Slice a = pool.copy_of("abcdef");
  a.shrink(2);
  EXPECT_EQ(a.text(), "ab");
}

TEST(SlicePartsDeath, APartLiesInside) {
  BufferPool pool;
  const Slice a = pool.copy_of("abc");
  EXPECT_DEATH((void)a.part(1, 3), "inside its slice");
  EXPECT_DEATH((void)a.part(4, 0), "inside its slice");
  EXPECT_DEATH((void)a.part(1, SIZE_MAX), "inside its slice");
}

TEST(PayloadBytes, JoinIsTheOnlyCopy) {
  BufferPool pool;
  Payload payload;
  EXPECT_TRUE(joined(payload, pool).empty());
  payload.push_back(pool.copy_of("one"));
  EXPECT_EQ(joined(payload, pool).data(), payload.front().data()) << "a single slice is shared";
  payload.push_back(pool.copy_of("two"));
  payload.push_back(pool.copy_of("three"));
  EXPECT_EQ(total_size(payload), 11u);
  EXPECT_EQ(joined(payload, pool).text(), "onetwothree");
}

}  // namespace
}  // namespace sd
