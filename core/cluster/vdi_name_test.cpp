#include "core/cluster/vdi_name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/cluster/text.hpp"

namespace sd::cluster {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;

TEST(VdiName, WhatIsReadAsItIsMayBeAName) {
  for (const std::string& name : {
           "a"s,
           "disk"s,
           "vm-1.root_2"s,
           "..."s,
           ".hidden"s,
           "a..b"s,
           "-"s,
           "two words"s,
           "50% [x] (y) {z} \\ : ; , ' \" ~"s,
           "\xc3\xa4\xc3\x9f"s,                  // Latin, the first code points behind C1 among them
           "\xc2\xa0"s,                          // no-break space
           "a\xcc\x88"s,                         // a combining mark
           "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d"s,  // Hebrew
           "\xe6\x97\xa5\xe6\x9c\xac"s,          // Japanese
           "\xed\x9f\xbf"s,                      // U+D7FF, before the surrogates
           "\xee\x80\x80"s,                      // U+E000, behind them
           "\xf0\x9f\x90\x91"s,                  // a sheep
           "\xe2\x9d\xa4\xef\xb8\x8f"s,          // a red heart: with a selector of its look
           std::string(255, 'a'),
       }) {
    EXPECT_EQ(name_problem(name), "") << name;
    EXPECT_TRUE(valid_name(name)) << name;
  }
}

TEST(VdiName, WhatIsNoTextOrMisleadsIsRefusedInWords) {
  struct Bad {
    std::string name;
    const char* part;
  };
  const std::vector<Bad> table = {
      {"", "needs a name"},
      {std::string(256, 'a'), "longer than 255 bytes"},
      {".", "are no names"},
      {"..", "are no names"},
      {"a/b", "'/' or '@'"},
      {"a@b", "'/' or '@'"},
      // Controls: C0, DEL, C1 with both ends of each.
      {"a\0b"s, "control characters"},
      {"a\nb", "control characters"},
      {"\x1b[2J", "control characters"},
      {"\x1f", "control characters"},
      {"\x7f", "control characters"},
      {"\xc2\x80", "control characters"},
      {"a\xc2\x9b"
       "2J",
       "control characters"},
      {"\xc2\x9f", "control characters"},
      // Of direction.
      {"\xd8\x9c", "direction"},      // U+061C
      {"\xe2\x80\x8e", "direction"},  // U+200E
      {"\xe2\x80\x8f", "direction"},
      {"\xe2\x80\xaa", "direction"},  // U+202A
      {"gpj.\xe2\x80\xae"
       "exe",
       "direction"},
      {"\xe2\x81\xa6", "direction"},  // U+2066
      {"\xe2\x81\xa9", "direction"},
      // Separators.
      {"a\xe2\x80\xa8"
       "b",
       "separator"},
      {"a\xe2\x80\xa9"
       "b",
       "separator"},
      // What is not seen.
      {"a\xc2\xad"
       "b",
       "invisible"},  // soft hyphen
      {"a\xe2\x80\x8b"
       "b",
       "invisible"},  // U+200B
      {"a\xe2\x80\x8c"
       "b",
       "invisible"},
      {"a\xe2\x80\x8d"
       "b",
       "invisible"},
      {"a\xe2\x81\xa0"
       "b",
       "invisible"},  // word joiner
      {"\xef\xbb\xbf"
       "a",
       "invisible"},                       // byte order mark
      {"\xe3\x85\xa4", "invisible"},       // filler of Hangul
      {"\xef\xbf\xbe", "invisible"},       // U+FFFE, no character
      {"a\xf3\xa0\x81\xa1", "invisible"},  // a tag
      // No UTF-8: RFC 3629.
      {"\xff", "UTF-8"},
      {"\x80", "UTF-8"},
      {"\xc3", "UTF-8"},
      {"a\xc3(", "UTF-8"},
      {"\xc0\xaf", "UTF-8"},  // an overlong '/'
      {"\xe0\x80\xaf", "UTF-8"},
      {"\xed\xa0\x80", "UTF-8"},      // a surrogate
      {"\xf4\x90\x80\x80", "UTF-8"},  // above U+10FFFF
      {"\xf0\x9f\x90", "UTF-8"},
      {std::string(254, 'a') + "\xc3", "UTF-8"},
  };
  for (const auto& [name, part] : table) {
    EXPECT_THAT(name_problem(name), HasSubstr(part)) << ::testing::PrintToString(name);
    EXPECT_FALSE(valid_name(name)) << ::testing::PrintToString(name);
  }
}

TEST(Text, CodePointsAreTakenApart) {
  EXPECT_FALSE(first_code_point(""));
  const std::vector<std::pair<const char*, char32_t>> table = {{"a", U'a'},
                                                               {"\xc2\x80", 0x80},
                                                               {"\xdf\xbf", 0x7ff},
                                                               {"\xe0\xa0\x80", 0x800},
                                                               {"\xef\xbf\xbd", 0xfffd},
                                                               {"\xf0\x90\x80\x80", 0x10000},
                                                               {"\xf4\x8f\xbf\xbf", 0x10ffff}};
  for (const auto& [bytes, value] : table) {
    const auto code_point = first_code_point(std::string(bytes) + "more");
    ASSERT_TRUE(code_point) << bytes;
    EXPECT_TRUE(code_point->value == value) << bytes;
    EXPECT_EQ(code_point->bytes, std::string_view(bytes).size());
  }
}

}  // namespace
}  // namespace sd::cluster
