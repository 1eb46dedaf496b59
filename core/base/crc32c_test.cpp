#include "core/base/crc32c.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/limits.hpp"

namespace sd {
namespace {

// The definition, one bit at a time: reflected polynomial 0x82f63b78, all ones in, all ones out.
std::uint32_t crc32c_by_definition(const std::string& bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0u);
  }
  return ~crc;
}

std::string counting(std::size_t size, unsigned step) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * step + 1);
  return bytes;
}

TEST(Crc32c, AgreesWithRfc3720) {
  EXPECT_EQ(crc32c("123456789", 9), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0').data(), 32), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff').data(), 32), 0x62a8ab43u);
  std::string up(32, '\0');
  std::string down(32, '\0');
  for (int i = 0; i < 32; ++i) {
    up[i] = static_cast<char>(i);
    down[i] = static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(up.data(), 32), 0x46dd794eu);
  EXPECT_EQ(crc32c(down.data(), 32), 0x113fdb5cu);
}

TEST(Crc32c, OfNothingIsTheSeed) {
  EXPECT_EQ(crc32c(nullptr, 0), 0u);
  EXPECT_EQ(crc32c(nullptr, 0, 0x12345678u), 0x12345678u);
}

// The vector code takes other paths for short, long and unaligned input.
TEST(Crc32c, AgreesWithTheDefinitionForEveryLengthAndAlignment) {
  const std::string bytes = counting(600, 7);
  for (std::size_t start = 0; start < 17; ++start)
    for (std::size_t size = 0; size + start <= bytes.size(); size += size < 70 ? 1 : 53)
      ASSERT_EQ(crc32c(bytes.data() + start, size), crc32c_by_definition(bytes.substr(start, size)))
          << start << "+" << size;
}

TEST(Crc32c, ContinuesFromAnEarlierResult) {
  const std::string bytes = counting(5000, 13);
  const std::uint32_t whole = crc32c(bytes.data(), bytes.size());
  for (const std::size_t cut : {0u, 1u, 512u, 4096u, 4999u, 5000u})
    EXPECT_EQ(crc32c(bytes.data() + cut, bytes.size() - cut, crc32c(bytes.data(), cut)), whole) << cut;
}

TEST(Crc32c, NoticesEveryFlippedBitOfABlock) {
  std::string block = counting(limits::block_size, 31);
  const std::uint32_t good = crc32c(block.data(), block.size());
  for (std::size_t bit = 0; bit < block.size() * 8; bit += 101) {
    block[bit / 8] = static_cast<char>(block[bit / 8] ^ (1 << bit % 8));
    ASSERT_NE(crc32c(block.data(), block.size()), good) << bit;
    block[bit / 8] = static_cast<char>(block[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(Crc32c, KnowsTheBlockOfZeros) {
  EXPECT_EQ(crc32c_of_zero_block(), crc32c_by_definition(std::string(limits::block_size, '\0')));
  EXPECT_NE(crc32c_of_zero_block(), 0u);
}

}  // namespace
}  // namespace sd
