#include "core/client/size_text.hpp"

#include <charconv>
#include <iterator>

namespace sd::client {

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  unsigned shift = 0;
  if (!suffix.empty()) {
    switch (suffix.front()) {
      case 'K':
      case 'k': shift = 10; break;
      case 'M':
      case 'm': shift = 20; break;
      case 'G':
      case 'g': shift = 30; break;
      case 'T':
      case 't': shift = 40; break;
      case 'P':
      case 'p': shift = 50; break;
      case 'B':
      case 'b':
        if (suffix.size() == 1) return number;
        return std::nullopt;
      default: return std::nullopt;
    }
    suffix.remove_prefix(1);
    if (!suffix.empty() && (suffix.front() == 'i' || suffix.front() == 'I') && suffix.size() == 2)
      suffix.remove_prefix(1);
    if (!suffix.empty() && suffix != "B" && suffix != "b") return std::nullopt;
  }
  if (number > UINT64_MAX >> shift) return std::nullopt;
  return number << shift;
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  unsigned shift = 10;
  while (unit + 1 < std::size(units) && bytes >> shift >= 1024) {
    ++unit;
    shift += 10;
  }
  const std::uint64_t whole = bytes >> shift;
  const std::uint64_t tenth = (bytes >> (shift - 10) & 1023) * 10 / 1024;
  return std::to_string(whole) + "." + std::to_string(tenth) + " " + units[unit];
}

}  // namespace sd::client
