// Sizes as people write and read them: binary suffixes, as disks of virtual machines are measured.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sd::client {

// A decimal number with an optional suffix K, M, G, T or P (powers of 1024), itself optionally followed by "B" or "iB";
// upper or lower case. Nothing if it is anything else or does not fit into 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text);

// "512 B", "4.0 KiB", "19.9 GiB": one decimal, rounded down, so that nothing looks larger than it is.
std::string format_size(std::uint64_t bytes);

}  // namespace sd::client
