#include "core/store/journal.hpp"

#include <bit>
#include <cstring>
#include <string>

#include "core/base/crc32c.hpp"
#include "core/base/ids_codec.hpp"
#include "core/store/object_meta.hpp"

namespace sd::journal {

namespace {

constexpr std::uint64_t super_magic = 0x3252505553534453ull;  // "SDSSUPR2"
constexpr std::uint64_t batch_magic = 0x31484354414253ull << 8 | 0x44;
constexpr std::size_t fixed_bytes = 8 + 4 + 4 * 4 + 6 * 8 + 4;
constexpr std::size_t record_bytes = 4 * 2 + 4 + 4 + 8 + 3 * 16;
constexpr std::size_t crc_offset = 8;
constexpr std::size_t super_content = 8 + 4 + 4 + 6 * 8;
static_assert(super_content <= limits::sector_size, "a superblock is written as a whole or not at all");

void put_crc(std::span<std::byte> out) {
  std::string text;
  Writer(text).u32(crc32c(out.subspan(crc_offset + 4)));
  std::memcpy(out.data() + crc_offset, text.data(), 4);
}

std::uint32_t stored_crc(std::span<const std::byte> bytes) {
  Reader r(bytes.subspan(crc_offset, 4));
  return r.u32();
}

std::uint64_t link_of(std::uint64_t salt, std::uint32_t crc) { return salt * 0x9e3779b97f4a7c15ull + crc; }

bool shape_is_sane(const Record& r) {
  constexpr std::uint32_t per_chunk = limits::blocks_per_chunk;
  if (std::uint32_t{r.first} + r.count > limits::blocks_per_object) return false;
  switch (r.kind) {
    case Kind::write: return r.crc_count == r.count;
    case Kind::chunk:
      return r.count == per_chunk && r.first % per_chunk == 0 &&
             r.crc_count == static_cast<std::uint32_t>(std::popcount(r.mask));
    case Kind::zero:
    case Kind::begin_sync:
    case Kind::remove: return r.crc_count == 0;
    case Kind::repair: return r.count == 1 && r.crc_count == 1;
    case Kind::lose: return r.count == per_chunk && r.first % per_chunk == 0 && r.mask != 0 && r.crc_count == 1;
    case Kind::end_sync: return r.crc_count == meta_slot_bytes / limits::block_size;
  }
  return false;
}

}  // namespace

void encode_super(const Super& super, std::span<std::byte, super_bytes> out) {
  std::string text;
  Writer w(text);
  w.u64(super_magic);
  w.u32(0);
  w.u32(0);
  w.u64(super.sequence);
  w.u64(super.journal_id);
  w.u64(super.capacity);
  w.u64(super.tail_position);
  w.u64(super.tail_sequence);
  w.u64(super.tail_link);
  std::memset(out.data(), 0, out.size());
  std::memcpy(out.data(), text.data(), text.size());
  put_crc(out.first(super_content));
}

std::optional<Super> decode_super(std::span<const std::byte> bytes) {
  std::optional<Super> best;
  for (std::uint32_t place = 0; place < 2; ++place) {
    if (bytes.size() < place * std::size_t{super_bytes} + super_content) break;
    const auto at = bytes.subspan(place * std::size_t{super_bytes}, super_content);
    Reader r(at);
    if (r.u64() != super_magic) continue;
    if (r.u32() != crc32c(at.subspan(crc_offset + 4))) continue;
    r.u32();
    Super s;
    s.sequence = r.u64();
    s.journal_id = r.u64();
    s.capacity = r.u64();
    s.tail_position = r.u64();
    s.tail_sequence = r.u64();
    s.tail_link = r.u64();
    if (r.failed() || s.sequence % 2 != place) continue;
    if (s.capacity == 0 || s.capacity % limits::block_size != 0 || s.capacity > 1ull << 40) continue;
    if (!best || s.sequence > best->sequence) best = s;
  }
  return best;
}

bool has_other_version(std::span<const std::byte> bytes) {
  constexpr std::uint64_t name = (1ull << 56) - 1;  // the last character is the version
  for (std::size_t place = 0; place < 2; ++place) {
    if (bytes.size() < (place + 1) * super_bytes) break;
    Reader r(bytes.subspan(place * super_bytes, super_bytes));
    const std::uint64_t magic = r.u64();
    if ((magic & name) == (super_magic & name) && magic != super_magic) return true;
  }
  return false;
}

std::uint32_t header_bytes_for(std::size_t records, std::size_t crcs) {
  const std::size_t size = fixed_bytes + records * record_bytes + crcs * 4;
  return static_cast<std::uint32_t>((size + limits::block_size - 1) / limits::block_size * limits::block_size);
}

Slice encode_header(Header& header, const Batch& batch, BufferPool& pool, std::uint64_t& link) {
  header.header_bytes = header_bytes_for(batch.records.size(), batch.crcs.size());
  header.payload_bytes = static_cast<std::uint32_t>(batch.payload_bytes);
  header.record_count = static_cast<std::uint32_t>(batch.records.size());
  header.crc_count = static_cast<std::uint32_t>(batch.crcs.size());
  std::string text;
  text.reserve(header.header_bytes);
  Writer w(text);
  w.u64(batch_magic);
  w.u32(0);
  w.u32(header.header_bytes);
  w.u32(header.payload_bytes);
  w.u32(header.record_count);
  w.u32(header.crc_count);
  w.u64(header.journal_id);
  w.u64(header.sequence);
  w.u64(header.position);
  w.u64(header.salt);
  w.u64(header.previous_link);
  w.u64(header.durable_sequence);
  w.u32(0);
  for (const auto& r : batch.records) {
    w.u8(static_cast<std::uint8_t>(r.kind));
    w.u8(r.creates ? 1 : 0);
    w.u16(r.first);
    w.u16(r.count);
    w.u16(r.mask);
    w.u32(r.crc_count);
    w.u32(r.key.strip);
    w.u64(r.key.oid.value);
    put(w, r.version);
    put(w, r.prev);
    w.u64(r.origin.gateway);
    w.u64(r.origin.number);
  }
  for (const auto crc : batch.crcs) w.u32(crc);
  Slice out = pool.allocate(header.header_bytes);
  std::memcpy(out.mutable_data(), text.data(), text.size());
  std::memset(out.mutable_data() + text.size(), 0, out.size() - text.size());
  put_crc({out.mutable_data(), out.size()});
  link = link_of(header.salt, stored_crc(out.bytes()));
  return out;
}

std::optional<Header> peek_header(std::span<const std::byte> bytes) {
  if (bytes.size() < limits::block_size) return {};
  Reader r(bytes);
  if (r.u64() != batch_magic) return {};
  r.u32();
  Header h;
  h.header_bytes = r.u32();
  h.payload_bytes = r.u32();
  h.record_count = r.u32();
  h.crc_count = r.u32();
  h.journal_id = r.u64();
  h.sequence = r.u64();
  h.position = r.u64();
  h.salt = r.u64();
  h.previous_link = r.u64();
  h.durable_sequence = r.u64();
  if (h.header_bytes > max_header_bytes || h.record_count > max_header_bytes || h.crc_count > max_header_bytes)
    return {};
  if (h.header_bytes != header_bytes_for(h.record_count, h.crc_count)) return {};
  if (h.payload_bytes != std::uint64_t{h.crc_count} * limits::block_size) return {};
  return h;
}

bool decode_header(std::span<const std::byte> bytes, const Header& header, Batch& batch, std::uint64_t& link) {
  batch.clear();
  if (bytes.size() != header.header_bytes) return false;
  const std::uint32_t crc = stored_crc(bytes);
  if (crc != crc32c(bytes.subspan(crc_offset + 4))) return false;
  Reader r(bytes.subspan(fixed_bytes));
  batch.records.reserve(header.record_count);
  std::uint32_t crc_at = 0;
  for (std::uint32_t i = 0; i < header.record_count; ++i) {
    Record record;
    const std::uint8_t kind = r.u8();
    if (kind > static_cast<std::uint8_t>(Kind::lose)) return false;
    record.kind = static_cast<Kind>(kind);
    record.creates = r.boolean();
    record.first = r.u16();
    record.count = r.u16();
    record.mask = r.u16();
    record.crc_at = crc_at;
    record.crc_count = r.u32();
    const std::uint32_t strip = r.u32();
    if (strip > 0xff) return false;
    record.key = {Oid{r.u64()}, static_cast<std::uint8_t>(strip)};
    get(r, record.version);
    get(r, record.prev);
    record.origin.gateway = r.u64();
    record.origin.number = r.u64();
    if (r.failed() || record.crc_count > header.crc_count - crc_at || !shape_is_sane(record)) return false;
    crc_at += record.crc_count;
    batch.records.push_back(record);
  }
  if (crc_at != header.crc_count) return false;
  batch.crcs.resize(header.crc_count);
  for (auto& c : batch.crcs) c = r.u32();
  batch.payload_bytes = header.payload_bytes;
  link = link_of(header.salt, crc);
  return !r.failed();
}

bool payload_matches(std::span<const std::byte> payload, const Batch& batch) {
  if (payload.size() != batch.crcs.size() * limits::block_size) return false;
  for (std::size_t i = 0; i < batch.crcs.size(); ++i)
    if (crc32c(payload.subspan(i * limits::block_size, limits::block_size)) != batch.crcs[i]) return false;
  return true;
}

}  // namespace sd::journal
