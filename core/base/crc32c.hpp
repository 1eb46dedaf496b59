// CRC-32C (Castagnoli, RFC 3720 appendix B.4), computed by ISA-L.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace sd {

// crc32c("123456789") == 0xe3069283. `seed` continues an earlier result: crc32c(b, crc32c(a)) == crc32c(a ++ b).
std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t seed = 0);
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0);

// The CRC-32C of one block (limits::block_size) of zeros.
std::uint32_t crc32c_of_zero_block();

}  // namespace sd
