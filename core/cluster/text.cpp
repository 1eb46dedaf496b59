#include "core/cluster/text.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace sd::cluster {

namespace {

struct Range {
  char32_t first, last;
};

constexpr bool in(std::span<const Range> ranges, char32_t c) {
  return std::ranges::any_of(ranges, [&](const Range& range) { return range.first <= c && c <= range.last; });
}

// UAX #9, table of directional formatting characters.
constexpr std::array directions = {Range{0x061c, 0x061c}, Range{0x200e, 0x200f}, Range{0x202a, 0x202e},
                                   Range{0x2066, 0x2069}};
// Format characters (general category Cf) but those above, fillers, and what is no character.
constexpr std::array hidden = {
    Range{0x00ad, 0x00ad},    // soft hyphen
    Range{0x034f, 0x034f},    // combining grapheme joiner
    Range{0x115f, 0x1160},    // fillers of Hangul
    Range{0x17b4, 0x17b5},    // inherent vowels of Khmer
    Range{0x180b, 0x180f},    // selectors and the vowel separator of Mongolian
    Range{0x200b, 0x200d},    // zero-width space, non-joiner, joiner
    Range{0x2060, 0x2065},    // word joiner, invisible operators
    Range{0x206a, 0x206f},    // deprecated format characters
    Range{0x3164, 0x3164},    // filler of Hangul
    Range{0xfdd0, 0xfdef},    // no characters
    Range{0xfeff, 0xfeff},    // byte order mark, zero-width no-break space
    Range{0xffa0, 0xffa0},    // filler of Hangul
    Range{0xfff0, 0xfffb},    // unassigned and ignorable, annotations
    Range{0x1bca0, 0x1bca3},  // of shorthand
    Range{0x1d173, 0x1d17a},  // of musical notation
    Range{0xe0000, 0xe0fff},  // tags, further selectors
};

}  // namespace

std::optional<CodePoint> first_code_point(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return CodePoint{lead, 1};
  if (lead < 0xc2 || lead > 0xf4) return std::nullopt;
  const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size() < size) return std::nullopt;
  // Of the second byte: excludes overlong forms, surrogates and what is above U+10FFFF.
  std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  char32_t value = lead & (0x7fu >> size);
  for (std::size_t at = 1; at < size; ++at) {
    if (byte(at) < low || byte(at) > high) return std::nullopt;
    low = 0x80;
    high = 0xbf;
    value = value << 6 | (byte(at) & 0x3fu);
  }
  return CodePoint{value, size};
}

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const auto code_point = first_code_point(text);
    if (!code_point) return false;
    text.remove_prefix(code_point->bytes);
  }
  return true;
}

Appearance appearance(char32_t c) {
  if (c < 0x20 || (c >= 0x7f && c < 0xa0)) return Appearance::control;
  if (c == 0x2028 || c == 0x2029) return Appearance::separator;
  if (in(directions, c)) return Appearance::direction;
  if (in(hidden, c) || (c & 0xfffe) == 0xfffe) return Appearance::hidden;
  return Appearance::shown;
}

}  // namespace sd::cluster
