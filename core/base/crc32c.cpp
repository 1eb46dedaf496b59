#include "core/base/crc32c.hpp"

#include <isa-l.h>

#include <array>

#include "core/base/limits.hpp"

namespace sd {

std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t seed) {
  // ISA-L neither inverts its seed nor its result, takes an int length and a non-const pointer that it does not write
  // through.
  auto* at = static_cast<unsigned char*>(const_cast<void*>(bytes));
  std::uint32_t crc = ~seed;
  while (size > 0) {
    const std::size_t part = size < (1u << 30) ? size : (1u << 30);
    crc = crc32_iscsi(at, static_cast<int>(part), crc);
    at += part;
    size -= part;
  }
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) {
  return crc32c(bytes.data(), bytes.size(), seed);
}

std::uint32_t crc32c_of_zero_block() {
  static const std::uint32_t crc = [] {
    const std::array<std::byte, limits::block_size> zeros{};
    return crc32c(zeros);
  }();
  return crc;
}

}  // namespace sd
