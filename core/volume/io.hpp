// A client's request to a virtual disk, whichever front it came through.
#pragma once
#include <cstdint>

#include "core/base/ids.hpp"
#include "core/base/payload.hpp"
#include "core/base/status.hpp"

namespace sd {

struct IoRequest {
  enum class Kind : std::uint8_t {
    read,
    write,
    zero,   // trim and write-zeroes: the range reads as zeros afterwards, and whole blocks give their space back
    flush,  // every write acknowledged before survives loss of power
    // answer: one bit for each object of [offset, offset + length * object size), set if it may hold data; offset is
    // aligned
    map,
    // reads every copy of the same objects, or of the first of them, and repairs what is wrong; answer: CheckAnswer
    // (check.hpp)
    check,
  };
  Kind kind{};
  Vid vid = 0;
  // Log index of the disk's creation: its number may be used again before the request is carried out.
  std::uint64_t created_index = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;     // bytes; of a map or check: objects
  bool keep_allocated = false;  // of a zero: write zeros instead of giving space back
  Origin origin;                // of a write or zero
  bool fua = false;             // durable before the answer, like a flush of just this request
  Payload payload;              // of a write: `length` bytes
};

struct IoDone {
  std::uint64_t ticket = 0;
  Status status = Status::ok;
  Payload payload;
};

}  // namespace sd
