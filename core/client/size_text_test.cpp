#include "core/client/size_text.hpp"

#include <gtest/gtest.h>

namespace sd::client {
namespace {

TEST(SizeText, SuffixesArePowersOf1024) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("2048K"), 2048u << 10);
  EXPECT_EQ(parse_size("512m"), 512u << 20);
  EXPECT_EQ(parse_size("20G"), 20ull << 30);
  EXPECT_EQ(parse_size("1T"), 1ull << 40);
  EXPECT_EQ(parse_size("16P"), 16ull << 50);
  EXPECT_EQ(parse_size("1GiB"), 1ull << 30);
  EXPECT_EQ(parse_size("1gb"), 1ull << 30);
  EXPECT_EQ(parse_size("7B"), 7u);
}

TEST(SizeText, AnythingElseIsNoSize) {
  for (const auto* text : {"", "K", "-1", "+1", " 1", "1 G", "1X", "1Gx", "1Gi", "1GiBs", "1.5G", "0x10",
                           "18446744073709551616", "17179869184G"})
    EXPECT_FALSE(parse_size(text)) << text;
  EXPECT_EQ(parse_size("18446744073709551615"), UINT64_MAX);
}

TEST(SizeText, SizesAreShownRoundedDown) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1.0 KiB");
  EXPECT_EQ(format_size((1u << 20) - 1), "1023.9 KiB");
  EXPECT_EQ(format_size(20ull << 30), "20.0 GiB");
  EXPECT_EQ(format_size(UINT64_MAX), "15.9 EiB");
}

}  // namespace
}  // namespace sd::client
