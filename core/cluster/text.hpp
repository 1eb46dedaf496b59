// Text from outside: whether its bytes are UTF-8, and what a person sees of each character.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace sd::cluster {

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;  // that it takes
};

// The first one; none if the text is empty or does not begin with one (RFC 3629).
std::optional<CodePoint> first_code_point(std::string_view text);
bool valid_utf8(std::string_view text);

enum class Appearance : std::uint8_t {
  shown,
  control,    // C0, DEL, C1: a terminal obeys it
  separator,  // of lines or paragraphs
  direction,  // changes the order in which the text around it is shown
  hidden      // takes no space, or looks like nothing at all
};
Appearance appearance(char32_t code_point);

}  // namespace sd::cluster
