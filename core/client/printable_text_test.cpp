#include "core/client/printable_text.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sd::client {
namespace {

using namespace std::string_literals;

TEST(PrintableText, WhatIsShownAsItIsStays) {
  for (const std::string& text : {""s, "no VDI is called 'a'; `dog vdi list` shows those there are"s, "\\x1b \\u{9b}"s,
                                  "\xc3\xa4 \xd7\xa9 \xe6\x97\xa5 \xf0\x9f\x90\x91"s})
    EXPECT_EQ(printable(text), text);
}

TEST(PrintableText, WhatATerminalObeysIsEscaped) {
  EXPECT_EQ(printable("a\x1b[2J\x1b]0;title\x07"), "a\\x1b[2J\\x1b]0;title\\x07");
  EXPECT_EQ(printable("one\r\ntwo\tthree"), "one\\r\\ntwo\\tthree");
  EXPECT_EQ(printable("\0\x7f"s), "\\x00\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\u{9b}2J");
}

TEST(PrintableText, WhatMisleadsIsEscaped) {
  EXPECT_EQ(printable("gpj.\xe2\x80\xae"
                      "exe"),
            "gpj.\\u{202e}exe");
  EXPECT_EQ(printable("\xe2\x80\xa8|\xe2\x80\x8b|\xef\xbb\xbf"), "\\u{2028}|\\u{200b}|\\u{feff}");
}

TEST(PrintableText, BytesThatAreNoTextAreEscapedOneByOne) {
  EXPECT_EQ(printable("a\xff\xc3(\xe2\x80"), "a\\xff\\xc3(\\xe2\\x80");
  EXPECT_EQ(printable("\x9b"), "\\x9b");
}

TEST(PrintableText, ASecondTimeChangesNothing) {
  const std::string once = printable("\x1b[2J\xff\xe2\x80\xae\\");
  EXPECT_EQ(printable(once), once);
}

}  // namespace
}  // namespace sd::client
