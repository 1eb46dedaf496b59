// Every static limit, with its reason. Relations between limits are proved here, at compile time.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sd::limits {

// Disks are cut into objects of this size; part of the on-disk format.
inline constexpr std::uint32_t object_size = 4u << 20;
// Each block of this size carries one CRC-32C; also the page size, so blocks can go to a disk opened with O_DIRECT.
inline constexpr std::uint32_t block_size = 4096;
inline constexpr std::uint32_t blocks_per_object = object_size / block_size;
// Objects remember the version of their last change for each chunk of this size, so a member that was away copies only
// these.
inline constexpr std::uint32_t chunk_size = 64u << 10;
inline constexpr std::uint32_t chunks_per_object = object_size / chunk_size;
inline constexpr std::uint32_t blocks_per_chunk = chunk_size / block_size;
// Smallest unit in which data is promised to be whole after a crash: a disk sector.
inline constexpr std::uint32_t sector_size = 512;

// One index object maps this many data objects (4 bytes each).
inline constexpr std::uint32_t index_entries_per_object = object_size / 4;
// 16 PiB: 2^32 objects, all that the 32-bit object index can name.
inline constexpr std::uint64_t max_vdi_size = (1ull << 32) * object_size;
inline constexpr std::size_t max_vdi_name = 255;   // the reference's 256 bytes hold a closing zero
inline constexpr std::size_t max_vdis = 1u << 19;  // keeps the replicated table below about 160 MB
// Epochs that may still matter; and their members, all together, which keeps them below about 40 MB.
inline constexpr std::size_t max_epochs = 1u << 16;
inline constexpr std::size_t max_epoch_members = 1u << 20;
inline constexpr std::uint32_t max_copies = 31;  // the on-disk format's
inline constexpr std::size_t max_members = 1024;
// Nodes whose last commands are remembered: members, and those that were or are to be.
inline constexpr std::size_t max_proposers = 4 * max_members;

inline constexpr std::size_t max_nbd_payload = 32u << 20;   // the largest request that NBD clients may expect to work
inline constexpr std::size_t max_client_frame = 64u << 20;  // the reference's
inline constexpr std::size_t max_peer_payload = 4u << 20;   // one object
// control messages (a batch of log entries) travel in the header
inline constexpr std::size_t max_peer_header = 1u << 20;
inline constexpr std::size_t max_command = 64u << 10;  // one command in the cluster log

static_assert(object_size % chunk_size == 0 && chunk_size % block_size == 0 && block_size % sector_size == 0);
static_assert(max_peer_payload >= object_size, "recovery sends objects whole");
static_assert(max_peer_header >= 2 * max_command, "a log entry must fit into a message");

}  // namespace sd::limits
