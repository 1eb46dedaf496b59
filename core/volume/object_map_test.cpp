#include "core/volume/object_map.hpp"

#include <gtest/gtest.h>

#include "core/base/codec.hpp"

namespace sd {
namespace {

// A block in which these entries of a page are set.
Payload block(BufferPool& pool, std::vector<std::uint32_t> set) {
  std::string bytes;
  Writer writer(bytes);
  for (std::uint32_t i = 0; i < ObjectMap::page_entries; ++i)
    writer.u32(std::ranges::find(set, i) != set.end() ? 7 : 0);
  Payload payload;
  payload.push_back(pool.copy_of(bytes));
  return payload;
}

using Ids = std::vector<std::uint64_t>;

TEST(ObjectMap, APageIsReadOnceAndWaitersGoOnInTheirOrder) {
  BufferPool pool;
  ObjectMap map;
  EXPECT_TRUE(map.begin_load(3));
  EXPECT_FALSE(map.begin_load(3));
  EXPECT_FALSE(map.loaded(3));
  map.wait(3, 11);
  map.wait_for_map(3, 21);
  map.wait(3, 12);
  const auto waiters = map.on_loaded(3, block(pool, {5}));
  EXPECT_EQ(waiters.operations, (Ids{11, 12}));
  EXPECT_EQ(waiters.requests, (Ids{21}));
  EXPECT_TRUE(map.loaded(3));
  EXPECT_FALSE(map.begin_load(3));
  EXPECT_TRUE(map.exists(3 * ObjectMap::page_entries + 5));
  EXPECT_FALSE(map.exists(3 * ObjectMap::page_entries + 6));
  EXPECT_FALSE(map.exists(5));
}

TEST(ObjectMap, APageThatCannotBeReadIsUnknownAgain) {
  ObjectMap map;
  EXPECT_TRUE(map.begin_load(0));
  map.wait(0, 11);
  EXPECT_EQ(map.on_failed(0).operations, (Ids{11}));
  EXPECT_TRUE(map.unknown_pages().empty());
  EXPECT_FALSE(map.want(0));
  EXPECT_EQ(map.unknown_pages(), (std::vector<std::uint32_t>{0}));
  EXPECT_TRUE(map.begin_load(0));
  EXPECT_TRUE(map.unknown_pages().empty());
}

TEST(ObjectMap, AnObjectExistsOnceItsEntryIsWritten) {
  BufferPool pool;
  ObjectMap map;
  map.begin_load(0);
  map.on_loaded(0, block(pool, {}));
  EXPECT_TRUE(map.begin_write(9, 1));
  EXPECT_FALSE(map.begin_write(9, 2));
  EXPECT_FALSE(map.exists(9));
  EXPECT_EQ(map.on_written(9, false), (Ids{1, 2}));
  EXPECT_FALSE(map.exists(9));
  EXPECT_TRUE(map.begin_write(9, 3));
  EXPECT_EQ(map.on_written(9, true), (Ids{3}));
  EXPECT_TRUE(map.exists(9));
}

TEST(ObjectMap, PagesAndEntriesLieOneBehindTheOther) {
  EXPECT_EQ(ObjectMap::place_of_page(1).offset, limits::block_size);
  EXPECT_EQ(ObjectMap::place_of_entry(ObjectMap::page_entries).offset, limits::block_size);
  const auto first = ObjectMap::place_of_entry(limits::index_entries_per_object);
  EXPECT_EQ(first.index_object, 1u);
  EXPECT_EQ(first.offset, 0u);
  EXPECT_EQ(ObjectMap::place_of_page(ObjectMap::page_of(limits::index_entries_per_object)).index_object, 1u);
}

TEST(ObjectMap, OnlyWaitersOfLoadedPagesAreTakenOut) {
  BufferPool pool;
  ObjectMap map;
  map.begin_load(0);
  map.on_loaded(0, block(pool, {}));
  map.wait(0, 1);
  map.begin_load(1);
  map.wait(1, 2);
  EXPECT_EQ(map.take_waiters_of_loaded(), (std::vector<Ids>{{1}}));
  EXPECT_EQ(map.take_waiters_of_loaded(), (std::vector<Ids>{{}}));
  EXPECT_EQ(map.on_failed(1).operations, (Ids{2}));
}

}  // namespace
}  // namespace sd
