#include "core/base/codec.hpp"

#include <gtest/gtest.h>

#include "core/base/ids_codec.hpp"

namespace sd {
namespace {

std::string hex(const std::string& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

template <typename W>
std::string written() {
  std::string out;
  W writer(out);
  writer.u8(0x01);
  writer.u16(0x0203);
  writer.u32(0x04050607);
  writer.u64(0x08090a0b0c0d0e0f);
  writer.boolean(true);
  writer.string("ab");
  writer.raw("c");
  return out;
}

TEST(Codec, LittleEndianBytesAreAsSpecified) {
  EXPECT_EQ(hex(written<Writer>()),
            "01"
            "0302"
            "07060504"
            "0f0e0d0c0b0a0908"
            "01"
            "02000000"
            "6162"
            "63");
}

TEST(Codec, BigEndianBytesAreAsSpecified) {
  EXPECT_EQ(hex(written<BigEndianWriter>()),
            "01"
            "0203"
            "04050607"
            "08090a0b0c0d0e0f"
            "01"
            "00000002"
            "6162"
            "63");
}

TEST(Codec, VersionsAndEndpointsAreOnDisksAsSpecified) {
  const Version version{0x0102030405060708, 0x090a0b0c0d0e0f10};
  const Endpoint endpoint = Endpoint::v4(10, 0, 0, 1, 0x1b58);
  std::string out;
  Writer writer(out);
  put(writer, version);
  put(writer, endpoint);
  EXPECT_EQ(hex(out),
            "0807060504030201"
            "100f0e0d0c0b0a09"
            "00000000000000000000ffff0a000001"
            "581b");
  Reader reader(out);
  Version version_back;
  Endpoint endpoint_back;
  get(reader, version_back);
  get(reader, endpoint_back);
  EXPECT_TRUE(reader.complete());
  EXPECT_EQ(version_back, version);
  EXPECT_EQ(endpoint_back, endpoint);
}

TEST(Codec, ReadsBackWhatWasWritten) {
  const std::string bytes = written<BigEndianWriter>();
  BigEndianReader in(bytes);
  EXPECT_EQ(in.u8(), 0x01);
  EXPECT_EQ(in.u16(), 0x0203);
  EXPECT_EQ(in.u32(), 0x04050607u);
  EXPECT_EQ(in.u64(), 0x08090a0b0c0d0e0full);
  EXPECT_TRUE(in.boolean());
  EXPECT_EQ(in.string(2), "ab");
  EXPECT_EQ(in.remaining(), 1u);
  EXPECT_FALSE(in.complete());
  EXPECT_EQ(in.bytes(1)[0], std::byte{'c'});
  EXPECT_TRUE(in.complete());
  EXPECT_EQ(in.position(), bytes.size());
}

TEST(Codec, AWriterAppendsToWhatIsThere) {
  std::string out = "x";
  Writer(out).u8('y');
  EXPECT_EQ(out, "xy");
}

// A decoder reads a whole record and tests once, so a failure must stick and must not yield bytes.
TEST(Codec, AShortReadFailsForGood) {
  Reader in(std::string_view("\x01\x02\x03", 3));
  EXPECT_EQ(in.u32(), 0u);
  EXPECT_TRUE(in.failed());
  EXPECT_EQ(in.u8(), 0u) << "three bytes remain, yet the record is lost";
  EXPECT_TRUE(in.bytes(1).empty());
  EXPECT_EQ(in.string(10), "");
  EXPECT_FALSE(in.complete());
}

TEST(Codec, EveryTruncationOfARecordFails) {
  const std::string bytes = written<Writer>();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Reader in(std::string_view(bytes).substr(0, size));
    in.u8(), in.u16(), in.u32(), in.u64(), in.boolean();
    in.string(100);
    in.bytes(1);
    EXPECT_TRUE(in.failed()) << size;
    EXPECT_LE(in.position(), size);
  }
}

TEST(Codec, ALengthBeyondTheBoundFailsEvenIfTheBytesAreThere) {
  std::string bytes;
  Writer(bytes).string("four");
  Reader exact(bytes);
  EXPECT_EQ(exact.string(4), "four");
  EXPECT_TRUE(exact.complete());
  Reader bounded(bytes);
  EXPECT_EQ(bounded.string(3), "");
  EXPECT_TRUE(bounded.failed());
}

TEST(Codec, ALengthBeyondTheInputFailsAndReadsNothing) {
  std::string bytes;
  Writer(bytes).u32(0xffffffff);
  bytes += "abc";
  Reader in(bytes);
  EXPECT_EQ(in.string(SIZE_MAX), "");
  EXPECT_TRUE(in.failed());

  Reader huge(bytes);
  EXPECT_TRUE(huge.bytes(SIZE_MAX).empty());
  EXPECT_TRUE(huge.failed());
}

TEST(Codec, ABooleanIsZeroOrOne) {
  Reader no(std::string_view("\0", 1));
  EXPECT_FALSE(no.boolean());
  EXPECT_TRUE(no.complete());
  Reader other(std::string_view("\x02", 1));
  other.boolean();
  EXPECT_TRUE(other.failed());
}

TEST(Codec, ADecoderCanRejectARecord) {
  Reader in(std::string_view("\x01", 1));
  EXPECT_EQ(in.u8(), 1u);
  EXPECT_TRUE(in.complete());
  in.fail();
  EXPECT_FALSE(in.complete());
}

}  // namespace
}  // namespace sd
