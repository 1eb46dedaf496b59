// The journal's format: what is in its file, and how the valid part is told from the rest. No decisions, only codecs.
//
// The file begins with two superblocks of 4 KB, written in turn, which say where the tail is. After them comes the
// circular area. Positions in it count bytes since the journal was made and never wrap; position p lies at journal_area
// + p % capacity.
//
// A batch is contiguous: a header of whole 4 KB blocks, then payload blocks. One that would cross the end of the area
// starts at the next lap's beginning instead. The header names the journal (a random id), the batch's sequence number
// and position (so stale laps are never mistaken for new), and a link to its predecessor: a hash that differs for every
// batch ever written, so that a batch left over from before a crash is never taken as the successor of one written
// afterwards. Each payload block has its CRC-32C in the header; a batch is valid only as a whole.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/slice.hpp"

namespace sd::journal {

inline constexpr std::uint32_t super_bytes = 4096;
inline constexpr std::uint64_t area_offset = 2 * super_bytes;
inline constexpr std::uint32_t max_header_bytes = 1u << 20;

struct Super {
  std::uint64_t sequence = 0;  // of the superblock; sequence % 2 is its place
  std::uint64_t journal_id = 0;
  std::uint64_t capacity = 0;       // bytes of the circular area
  std::uint64_t tail_position = 0;  // replay starts here ...
  std::uint64_t tail_sequence = 0;  // ... with this batch ...
  std::uint64_t tail_link = 0;      // ... whose predecessor has this link
};

void encode_super(const Super& super, std::span<std::byte, super_bytes> out);
// The newer valid superblock of the file's first area_offset bytes (which may be short).
std::optional<Super> decode_super(std::span<const std::byte> bytes);
// A superblock of another version of this format is among them. What such a journal holds must not be thrown away.
bool has_other_version(std::span<const std::byte> bytes);

enum class Kind : std::uint8_t {
  write,       // blocks [first, first + count) hold the payload; none: only the version changes
  zero,        // blocks [first, first + count) are unallocated
  begin_sync,  // the object is incomplete
  // blocks [first, first + count) are one chunk; those in `mask` hold the payload, the others are unallocated
  chunk,
  // the object is complete: the payload, a metadata slot, tells all of it, also of what went to its file directly
  end_sync,
  remove,  // the object is gone
  repair,  // block `first` holds the payload, which is what it held before it was damaged: nothing else changes
  // blocks of `mask` in the chunk at `first` are allocated but have no good copy: the payload, one block, lists their
  // checksums
  lose,
};

struct Record {
  Kind kind{};
  bool creates = false;     // the object did not exist: forget what older metadata say
  std::uint16_t first = 0;  // blocks
  std::uint16_t count = 0;
  std::uint16_t mask = 0;
  ObjectKey key;
  Version version;
  Version prev;                 // write, zero, begin_sync: the object's version before
  Origin origin;                // write, zero: whose it is
  std::uint32_t crc_at = 0;     // index in the batch's list of block checksums
  std::uint32_t crc_count = 0;  // the record's payload blocks

  bool is_part_of_copy() const { return kind == Kind::chunk || kind == Kind::lose; }
  bool names_predecessor() const { return kind == Kind::write || kind == Kind::zero || kind == Kind::begin_sync; }
  friend bool operator==(const Record&, const Record&) = default;
};

struct Header {
  std::uint64_t journal_id = 0;
  std::uint64_t sequence = 0;
  std::uint64_t position = 0;
  std::uint64_t salt = 0;
  std::uint64_t previous_link = 0;
  std::uint64_t durable_sequence = 0;  // batches up to this one were synced when this one was written
  std::uint32_t header_bytes = 0;
  std::uint32_t payload_bytes = 0;
  std::uint32_t record_count = 0;
  std::uint32_t crc_count = 0;
  std::uint64_t total_bytes() const { return std::uint64_t{header_bytes} + payload_bytes; }
};

// Records being gathered, or decoded.
struct Batch {
  std::vector<Record> records;
  std::vector<std::uint32_t> crcs;
  std::vector<Slice> payload;  // in order; whole blocks
  std::uint64_t payload_bytes = 0;

  void clear() {
    records.clear();
    crcs.clear();
    payload.clear();
    payload_bytes = 0;
  }
};

// Bytes of the header of a batch of this shape: a multiple of 4096.
std::uint32_t header_bytes_for(std::size_t records, std::size_t crcs);

// The header area; fills header.header_bytes, payload_bytes, record_count, crc_count. `link` becomes the batch's own
// link.
Slice encode_header(Header& header, const Batch& batch, BufferPool& pool, std::uint64_t& link);

// Looks at a header's fixed part only: lengths are sane, the checksum is not yet looked at. At least 4096 bytes.
std::optional<Header> peek_header(std::span<const std::byte> bytes);

// `bytes` is the whole header area. Fills records and crcs of `batch` and its link; false if it is damaged.
bool decode_header(std::span<const std::byte> bytes, const Header& header, Batch& batch, std::uint64_t& link);

// Every payload block matches its checksum.
bool payload_matches(std::span<const std::byte> payload, const Batch& batch);

}  // namespace sd::journal
