#include "core/store/object_meta.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/base/crc32c.hpp"
#include "core/base/ids_codec.hpp"

namespace sd {

namespace {

constexpr std::uint64_t slot_magic = 0x32544f4c534d4453ull;  // "SDMSLOT2"
constexpr std::uint8_t flag_incomplete = 1;
constexpr std::uint8_t flag_torn = 2;
constexpr std::uint8_t flag_lossy = 4;
constexpr unsigned strip_shift = 24;   // above the flags: which strip of the object this is
constexpr std::size_t crc_offset = 8;  // after the magic; covers all that follows it

constexpr std::size_t encoded_bytes = 8 + 4 + 4 + 4 * 8 + 2 * 16 + limits::blocks_per_object / 8 +
                                      limits::blocks_per_object * 4 + limits::chunks_per_object * 16 + 2 * 2 +
                                      (max_recent + max_forgotten) * 16;
static_assert(encoded_bytes <= meta_slot_bytes);

// The bits of [first, first + count) that lie in word w.
std::uint64_t mask_in_word(std::uint32_t w, std::uint32_t first, std::uint32_t end) {
  const std::uint32_t low = first > w * 64 ? first - w * 64 : 0;
  const std::uint32_t high = end < w * 64 + 64 ? end - w * 64 : 64;
  const std::uint64_t below_high = high == 64 ? ~0ull : (1ull << high) - 1;
  return below_high & ~((1ull << low) - 1);
}

void put_origins(Writer& w, const std::vector<Origin>& origins) {
  w.u16(static_cast<std::uint16_t>(origins.size()));
  for (const Origin& origin : origins) {
    w.u64(origin.gateway);
    w.u64(origin.number);
  }
}

void get_origins(Reader& r, std::vector<Origin>& origins, std::size_t most) {
  origins.clear();
  const std::size_t count = r.u16();
  if (count > most) r.fail();
  for (std::size_t i = 0; i < count && !r.failed(); ++i) {
    const auto gateway = r.u64();
    origins.push_back({gateway, r.u64()});
  }
}

}  // namespace

bool ObjectMeta::any_allocated(std::uint32_t first, std::uint32_t count) const {
  const std::uint32_t end = first + count;
  for (std::uint32_t w = first / 64; count > 0 && w <= (end - 1) / 64; ++w)
    if (allocated[w] & mask_in_word(w, first, end)) return true;
  return false;
}

bool ObjectMeta::all_allocated(std::uint32_t first, std::uint32_t count) const {
  const std::uint32_t end = first + count;
  for (std::uint32_t w = first / 64; count > 0 && w <= (end - 1) / 64; ++w)
    if (~allocated[w] & mask_in_word(w, first, end)) return false;
  return true;
}

std::uint32_t ObjectMeta::allocated_blocks() const {
  std::uint32_t n = 0;
  for (const auto word : allocated) n += static_cast<std::uint32_t>(std::popcount(word));
  return n;
}

void ObjectMeta::clear_blocks(std::uint32_t first, std::uint32_t count) {
  const std::uint32_t end = first + count;
  for (std::uint32_t w = first / 64; count > 0 && w <= (end - 1) / 64; ++w)
    allocated[w] &= ~mask_in_word(w, first, end);
}

void ObjectMeta::take_chunk(std::uint32_t chunk, const ObjectMeta& other) {
  constexpr std::uint32_t per_chunk = limits::blocks_per_chunk;
  clear_blocks(chunk * per_chunk, per_chunk);
  for (std::uint32_t b = chunk * per_chunk; b < (chunk + 1) * per_chunk; ++b)
    if (other.is_allocated(b)) set_block(b, other.block_crc[b]);
  chunk_version[chunk] = other.chunk_version[chunk];
}

void ObjectMeta::touch_chunks(std::uint32_t first, std::uint32_t count, Version v) {
  if (count == 0) return;
  constexpr std::uint32_t per_chunk = limits::blocks_per_chunk;
  for (std::uint32_t c = first / per_chunk; c <= (first + count - 1) / per_chunk; ++c) chunk_version[c] = v;
}

void encode_meta_slot(ObjectKey key, const MetaSlot& slot, const ObjectMeta& meta,
                      std::span<std::byte, meta_slot_bytes> out) {
  std::string text;
  text.reserve(encoded_bytes);
  Writer w(text);
  w.u64(slot_magic);
  w.u32(0);  // the checksum's place
  w.u32((meta.incomplete ? flag_incomplete : 0u) | (meta.torn ? flag_torn : 0u) | (meta.lossy ? flag_lossy : 0u) |
        std::uint32_t{key.strip} << strip_shift);
  w.u64(key.oid.value);
  w.u64(slot.sequence);
  w.u64(slot.journal_id);
  w.u64(slot.through);
  put(w, meta.version);
  put(w, meta.base);
  for (const auto word : meta.allocated) w.u64(word);
  for (const auto crc : meta.block_crc) w.u32(crc);
  for (const auto& v : meta.chunk_version) put(w, v);
  put_origins(w, meta.recent.last);
  put_origins(w, meta.recent.forgotten);
  std::memcpy(out.data(), text.data(), text.size());
  std::memset(out.data() + text.size(), 0, out.size() - text.size());
  const std::uint32_t crc = crc32c(out.subspan(crc_offset + 4));
  std::string crc_text;
  Writer(crc_text).u32(crc);
  std::memcpy(out.data() + crc_offset, crc_text.data(), 4);
}

std::optional<MetaSlot> decode_meta_slot(std::span<const std::byte> bytes, ObjectKey key, ObjectMeta& meta) {
  if (bytes.size() != meta_slot_bytes) return {};
  Reader r(bytes);
  if (r.u64() != slot_magic) return {};
  if (r.u32() != crc32c(bytes.subspan(crc_offset + 4))) return {};
  const std::uint32_t flags_and_strip = r.u32();
  if (flags_and_strip >> strip_shift != key.strip) return {};
  const std::uint32_t flags = flags_and_strip & ((1u << strip_shift) - 1);
  if (flags > (flag_incomplete | flag_torn | flag_lossy)) return {};
  if (r.u64() != key.oid.value) return {};
  MetaSlot slot;
  slot.sequence = r.u64();
  slot.journal_id = r.u64();
  slot.through = r.u64();
  meta.incomplete = (flags & flag_incomplete) != 0;
  meta.torn = (flags & flag_torn) != 0;
  meta.lossy = (flags & flag_lossy) != 0;
  get(r, meta.version);
  get(r, meta.base);
  for (auto& word : meta.allocated) word = r.u64();
  for (auto& crc : meta.block_crc) crc = r.u32();
  for (auto& v : meta.chunk_version) get(r, v);
  get_origins(r, meta.recent.last, max_recent);
  get_origins(r, meta.recent.forgotten, max_forgotten);
  if (r.failed()) return {};
  return slot;
}

std::optional<MetaSlot> decode_meta_file(std::span<const std::byte> bytes, ObjectKey key, ObjectMeta& meta) {
  std::optional<MetaSlot> best;
  int valid = 0;
  ObjectMeta candidate;
  for (std::uint32_t place = 0; place < 2; ++place) {
    if (bytes.size() < (place + 1) * std::size_t{meta_slot_bytes}) break;
    const auto slot =
        decode_meta_slot(bytes.subspan(place * std::size_t{meta_slot_bytes}, meta_slot_bytes), key, candidate);
    if (!slot || slot->sequence % 2 != place) continue;
    ++valid;
    if (best && best->sequence >= slot->sequence) continue;
    best = slot;
    meta = candidate;
  }
  // The first slot has sequence 1 and the second place: only while nothing was written behind it is the first place
  // empty.
  if (best && valid == 1)
    best->other_lost = best->sequence > 1 ||
                       std::ranges::any_of(bytes.first(meta_slot_bytes), [](std::byte b) { return b != std::byte{}; });
  return best;
}

}  // namespace sd
