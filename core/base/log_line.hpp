// One line of a node's log. Machines hand lines out as effects; the driver writes them.
#pragma once
#include <cstdint>
#include <string>

namespace sd {

struct LogLine {
  enum class Level : std::uint8_t { debug, info, warning, error } level = Level::info;
  std::string text;
};

}  // namespace sd
