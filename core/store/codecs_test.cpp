// What is on disk is read back as it was written, and nothing else is taken for it: neither damage nor leftovers.
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/crc32c.hpp"
#include "core/base/random.hpp"
#include "core/store/journal.hpp"
#include "core/store/object_meta.hpp"
#include "core/store/overlay.hpp"

namespace sd {
namespace {

ObjectMeta some_meta(std::uint64_t seed) {
  Random r(seed);
  ObjectMeta m;
  m.version = {r.next(), r.next()};
  m.base = {r.next(), r.next()};
  m.incomplete = r.below(2) == 0;
  m.lossy = r.below(2) == 0;
  for (std::uint32_t b = 0; b < limits::blocks_per_object; ++b)
    if (r.below(2) == 0) m.set_block(b, static_cast<std::uint32_t>(r.next()));
  for (auto& v : m.chunk_version) v = {r.next(), r.next()};
  return m;
}

std::vector<std::byte> slot_bytes(Oid oid, const MetaSlot& slot, const ObjectMeta& meta) {
  std::vector<std::byte> out(meta_slot_bytes);
  encode_meta_slot(oid, slot, meta, std::span<std::byte, meta_slot_bytes>(out.data(), meta_slot_bytes));
  return out;
}

TEST(ObjectMeta, ASlotComesBackAsItWas) {
  const Oid oid = Oid::data(1, 2);
  const ObjectMeta meta = some_meta(1);
  ObjectMeta back;
  const auto slot = decode_meta_slot(slot_bytes(oid, {5, 6, 7}, meta), oid, back);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->sequence, 5u);
  EXPECT_EQ(slot->journal_id, 6u);
  EXPECT_EQ(slot->through, 7u);
  EXPECT_EQ(back, meta);
}

TEST(ObjectMeta, NoFlippedBitAndNoCutIsTaken) {
  const Oid oid = Oid::data(1, 2);
  const auto good = slot_bytes(oid, {5, 6, 7}, some_meta(1));
  ObjectMeta back;
  Random r(3);
  for (int i = 0; i < 2000; ++i) {
    auto bad = good;
    bad[r.below(bad.size())] ^= static_cast<std::byte>(1u << r.below(8));
    EXPECT_FALSE(decode_meta_slot(bad, oid, back));
  }
  for (std::size_t size = 0; size < good.size(); size += 61)
    EXPECT_FALSE(decode_meta_slot(std::span(good).first(size), oid, back));
  EXPECT_FALSE(decode_meta_slot(good, Oid::data(1, 3), back)) << "a slot of another object";
}

TEST(ObjectMeta, TheNewerValidSlotOfAFileCounts) {
  const Oid oid = Oid::data(1, 2);
  const ObjectMeta older = some_meta(1), newer = some_meta(2);
  std::vector<std::byte> file = slot_bytes(oid, {4, 0, 0}, older);
  const auto second = slot_bytes(oid, {5, 0, 0}, newer);
  file.insert(file.end(), second.begin(), second.end());
  ObjectMeta back;
  auto slot = decode_meta_file(file, oid, back);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->sequence, 5u);
  EXPECT_FALSE(slot->other_lost);
  EXPECT_EQ(back, newer);

  file[meta_slot_bytes + 100] ^= std::byte{1};
  slot = decode_meta_file(file, oid, back);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->sequence, 4u);
  EXPECT_TRUE(slot->other_lost);
  EXPECT_EQ(back, older);
  EXPECT_FALSE(decode_meta_file({}, oid, back));
}

TEST(ObjectMeta, ASecondSlotThatRottedIsNotTakenForOneThatWasNeverWritten) {
  const Oid oid = Oid::data(1, 2);
  std::vector<std::byte> file(meta_slot_bytes);
  const auto first = slot_bytes(oid, {1, 0, 0}, some_meta(1));
  file.insert(file.end(), first.begin(), first.end());
  ObjectMeta back;
  auto slot = decode_meta_file(file, oid, back);
  ASSERT_TRUE(slot);
  EXPECT_FALSE(slot->other_lost);

  const auto second = slot_bytes(oid, {2, 0, 0}, some_meta(2));
  std::ranges::copy(second, file.begin());
  file[100] ^= std::byte{1};
  slot = decode_meta_file(file, oid, back);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->sequence, 1u);
  EXPECT_TRUE(slot->other_lost);
}

TEST(ObjectMeta, RangesOfTheBitmap) {
  Random r(4);
  for (int i = 0; i < 300; ++i) {
    ObjectMeta m = some_meta(r.next());
    std::vector<bool> model(limits::blocks_per_object);
    for (std::uint32_t b = 0; b < limits::blocks_per_object; ++b) model[b] = m.is_allocated(b);
    const auto first = static_cast<std::uint32_t>(r.below(limits::blocks_per_object));
    const auto count = static_cast<std::uint32_t>(r.below(limits::blocks_per_object - first + 1));
    m.clear_blocks(first, count);
    for (std::uint32_t b = first; b < first + count; ++b) model[b] = false;
    EXPECT_FALSE(m.any_allocated(first, count));
    for (std::uint32_t b = first; b < first + count; ++b) m.set_block(b, 1);
    EXPECT_TRUE(m.all_allocated(first, count));
    for (std::uint32_t b = 0; b < limits::blocks_per_object; ++b)
      ASSERT_EQ(m.is_allocated(b), b >= first && b < first + count ? true : model[b]);
  }
}

journal::Batch some_batch(BufferPool& pool, std::uint64_t seed) {
  Random r(seed);
  journal::Batch b;
  for (int i = 0; i < 5; ++i) {
    journal::Record record;
    record.kind = i % 2 == 0 ? journal::Kind::write : journal::Kind::zero;
    record.creates = i == 0;
    record.key = Oid::data(3, static_cast<std::uint32_t>(i));
    record.version = {1, r.next()};
    record.prev = {0, r.next()};
    record.first = static_cast<std::uint16_t>(r.below(900));
    record.count = static_cast<std::uint16_t>(1 + r.below(3));
    record.crc_at = static_cast<std::uint32_t>(b.crcs.size());
    if (i % 2 == 0) {
      record.crc_count = record.count;
      Slice s = pool.allocate(std::size_t{record.count} * limits::block_size);
      for (std::size_t at = 0; at < s.size(); ++at) s.mutable_data()[at] = static_cast<std::byte>(r.next());
      for (std::size_t at = 0; at < s.size(); at += limits::block_size)
        b.crcs.push_back(crc32c(s.bytes().subspan(at, limits::block_size)));
      b.payload_bytes += s.size();
      b.payload.push_back(s);
    }
    b.records.push_back(record);
  }
  return b;
}

TEST(Journal, ABatchComesBackAsItWas) {
  BufferPool pool;
  const auto batch = some_batch(pool, 1);
  journal::Header header{11, 12, 4096 * 13, 14, 15, 16, 0, 0, 0, 0};
  std::uint64_t link = 0, back_link = 0;
  const Slice bytes = journal::encode_header(header, batch, pool, link);
  const auto peeked = journal::peek_header(bytes.bytes());
  ASSERT_TRUE(peeked);
  EXPECT_EQ(peeked->journal_id, 11u);
  EXPECT_EQ(peeked->sequence, 12u);
  EXPECT_EQ(peeked->position, 4096u * 13);
  EXPECT_EQ(peeked->previous_link, 15u);
  EXPECT_EQ(peeked->durable_sequence, 16u);
  EXPECT_EQ(peeked->total_bytes(), bytes.size() + batch.payload_bytes);
  journal::Batch back;
  ASSERT_TRUE(journal::decode_header(bytes.bytes(), *peeked, back, back_link));
  EXPECT_EQ(back.records, batch.records);
  EXPECT_EQ(back.crcs, batch.crcs);
  EXPECT_EQ(link, back_link);

  std::vector<std::byte> payload;
  for (const auto& s : batch.payload) payload.insert(payload.end(), s.bytes().begin(), s.bytes().end());
  EXPECT_TRUE(journal::payload_matches(payload, back));
  EXPECT_FALSE(journal::payload_matches(std::span(payload).first(payload.size() - 1), back));
  payload[payload.size() / 2] ^= std::byte{4};
  EXPECT_FALSE(journal::payload_matches(payload, back));
}

TEST(Journal, NoFlippedBitAndNoCutIsTaken) {
  BufferPool pool;
  const auto batch = some_batch(pool, 1);
  journal::Header header{11, 12, 4096 * 13, 14, 15, 16, 0, 0, 0, 0};
  std::uint64_t link = 0;
  const Slice good = journal::encode_header(header, batch, pool, link);
  Random r(3);
  for (int i = 0; i < 3000; ++i) {
    Slice bad = pool.copy_of(good.bytes());
    bad.mutable_data()[r.below(bad.size())] ^= static_cast<std::byte>(1u << r.below(8));
    const auto peeked = journal::peek_header(bad.bytes());
    journal::Batch back;
    EXPECT_FALSE(peeked && peeked->header_bytes <= bad.size() &&
                 journal::decode_header(bad.bytes().first(peeked->header_bytes), *peeked, back, link));
  }
  for (std::size_t size = 0; size < good.size(); size += 37)
    EXPECT_FALSE(journal::peek_header(good.bytes().first(size)));
  for (int i = 0; i < 1000; ++i) {  // noise with the right beginning and length must not read out of bounds
    Slice noise = pool.copy_of(good.bytes());
    for (std::size_t at = 8; at < noise.size(); ++at) noise.mutable_data()[at] = static_cast<std::byte>(r.next());
    EXPECT_FALSE(journal::peek_header(noise.bytes()));
  }
}

TEST(Journal, TheNewerValidSuperblockCounts) {
  std::vector<std::byte> file(journal::area_offset);
  EXPECT_FALSE(journal::decode_super(file));
  const auto put = [&](const journal::Super& s) {
    journal::encode_super(s, std::span<std::byte, journal::super_bytes>(
                                 file.data() + s.sequence % 2 * journal::super_bytes, journal::super_bytes));
  };
  put({7, 1, 8192, 4096, 3, 4});
  put({8, 1, 8192, 8192, 5, 6});
  auto s = journal::decode_super(file);
  ASSERT_TRUE(s);
  EXPECT_EQ(s->sequence, 8u);
  EXPECT_EQ(s->tail_position, 8192u);
  EXPECT_EQ(s->tail_sequence, 5u);
  EXPECT_EQ(s->tail_link, 6u);
  file[20] ^= std::byte{1};
  s = journal::decode_super(file);
  ASSERT_TRUE(s);
  EXPECT_EQ(s->sequence, 7u);
  EXPECT_FALSE(journal::decode_super(std::span(file).first(30)));
}

TEST(Overlay, BehavesLikeAnArrayOfBlocks) {
  BufferPool pool;
  Random r(9);
  constexpr std::uint32_t n = 64;
  for (int round = 0; round < 200; ++round) {
    Overlay overlay;
    std::array<int, n> model{};  // 0 nothing, -1 hole, else the block's stamp
    for (int i = 0; i < 60; ++i) {
      const auto first = static_cast<std::uint32_t>(r.below(n));
      const auto count = static_cast<std::uint32_t>(1 + r.below(n - first));
      if (r.below(4) == 0) {
        overlay.punch(first, count);
        for (std::uint32_t b = first; b < first + count; ++b) model[b] = -1;
      } else {
        Slice s = pool.zeros(std::size_t{count} * limits::block_size);
        for (std::uint32_t b = 0; b < count; ++b) {
          const int stamp = i * 1000 + static_cast<int>(b) + 1;
          std::memcpy(s.mutable_data() + std::size_t{b} * limits::block_size, &stamp, sizeof stamp);
          model[first + b] = stamp;
        }
        overlay.put(first, s);
      }
      std::uint64_t bytes = 0;
      for (std::uint32_t b = 0; b < n; ++b) {
        const auto* e = overlay.find(b);
        ASSERT_EQ(e != nullptr, model[b] != 0);
        ASSERT_EQ(e && e->is_hole(), model[b] == -1);
        if (model[b] <= 0) continue;
        int stamp = 0;
        std::memcpy(&stamp, overlay.block(b).data(), sizeof stamp);
        ASSERT_EQ(stamp, model[b]);
        bytes += limits::block_size;
      }
      ASSERT_EQ(overlay.bytes(), bytes);
      for (std::size_t k = 1; k < overlay.extents().size(); ++k)
        ASSERT_LE(overlay.extents()[k - 1].end(), overlay.extents()[k].first);
    }
  }
}

}  // namespace
}  // namespace sd
