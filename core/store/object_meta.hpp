// What the store knows about one object besides its data, and how that is kept in a file of two slots.
//
// A metadata file holds two slots of meta_slot_bytes, written in turn, each with its own sequence number and CRC-32C.
// The valid slot with the higher sequence counts, so a torn write of one leaves the other.
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <span>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/recent_writes.hpp"

namespace sd {

struct ObjectMeta {
  Version version;
  Version base;             // see ObjectInfo
  bool incomplete = false;  // between begin_sync and end_sync
  // the metadata was lost: nothing is known about the data; version stays {0, 0} until end_sync
  bool torn = false;
  bool lossy = false;  // blocks were lost once (LostBlocks): whether some still are is known by reading
  std::array<std::uint64_t, limits::blocks_per_object / 64> allocated{};
  // CRC-32C; means something for allocated blocks only
  std::array<std::uint32_t, limits::blocks_per_object> block_crc{};
  std::array<Version, limits::chunks_per_object> chunk_version{};  // of the last change of each chunk
  RecentWrites recent;                                             // whose writes it contains

  bool is_allocated(std::uint32_t block) const { return (allocated[block / 64] >> (block % 64) & 1) != 0; }
  bool any_allocated(std::uint32_t first, std::uint32_t count) const;
  bool all_allocated(std::uint32_t first, std::uint32_t count) const;
  std::uint32_t allocated_blocks() const;
  void set_block(std::uint32_t block, std::uint32_t crc) {
    allocated[block / 64] |= 1ull << (block % 64);
    block_crc[block] = crc;
  }
  void clear_blocks(std::uint32_t first, std::uint32_t count);
  // Everything about this chunk as `other` has it.
  void take_chunk(std::uint32_t chunk, const ObjectMeta& other);
  // Chunks that hold any of these blocks changed at `v`.
  void touch_chunks(std::uint32_t first, std::uint32_t count, Version v);

  friend bool operator==(const ObjectMeta&, const ObjectMeta&) = default;
};

inline constexpr std::uint32_t meta_slot_bytes = 8192;
inline constexpr std::uint32_t meta_file_bytes = 2 * meta_slot_bytes;

struct MetaSlot {
  std::uint64_t sequence = 0;    // of the slot; slot sequence % 2 is its place in the file
  std::uint64_t journal_id = 0;  // the journal that `through` counts in
  // the metadata include all records up to this batch, and their data are in the object file
  std::uint64_t through = 0;
  // not stored; decode_meta_file: the other slot was written once and is unreadable: it may have been newer
  bool other_lost = false;
};

void encode_meta_slot(ObjectKey key, const MetaSlot& slot, const ObjectMeta& meta,
                      std::span<std::byte, meta_slot_bytes> out);

// Nothing if the slot is damaged, was never written, lies in the wrong place or belongs to another object.
std::optional<MetaSlot> decode_meta_slot(std::span<const std::byte> bytes, ObjectKey key, ObjectMeta& meta);

// The newer valid slot of a file (which may be short).
std::optional<MetaSlot> decode_meta_file(std::span<const std::byte> bytes, ObjectKey key, ObjectMeta& meta);

}  // namespace sd
