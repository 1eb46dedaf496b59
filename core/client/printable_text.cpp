#include "core/client/printable_text.hpp"

#include <charconv>

#include "core/cluster/text.hpp"

namespace sd::client {

namespace {

std::string hex(std::uint32_t value) {
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
  return {digits, end};
}

std::string byte_escape(char c) {
  switch (c) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: break;
  }
  const auto byte = static_cast<std::uint8_t>(c);
  return (byte < 0x10 ? "\\x0" : "\\x") + hex(byte);
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto code_point = cluster::first_code_point(text);
    const std::size_t size = code_point ? code_point->bytes : 1;
    if (code_point && cluster::appearance(code_point->value) == cluster::Appearance::shown)
      out += text.substr(0, size);
    else if (size == 1)
      out += byte_escape(text.front());
    else
      out += "\\u{" + hex(code_point->value) + "}";
    text.remove_prefix(size);
  }
  return out;
}

}  // namespace sd::client
