#pragma once
#include <cstdint>

namespace sd {

enum class DialResult : std::uint8_t {
  connected,
  refused,  // the address answered that nobody listens: the process there is gone
  failed,   // anything else (no route, time-out): says nothing about the process
};

}  // namespace sd
