// What can go wrong with a request, as a value. One list for the whole project: every front maps it to its own
// protocol's codes.
#pragma once
#include <cstdint>
#include <string_view>

namespace sd {

enum class Status : std::uint8_t {
  ok,
  io_error,          // a disk failed, or every copy that could answer is damaged
  no_space,          // a member of the object is full
  not_found,         // no such VDI, object or node
  exists,            // the name is taken
  invalid,           // arguments out of range
  not_formatted,     // run `dog cluster format` first
  not_enough_nodes,  // more copies asked for than there are zones to hold them
  stale,             // the sender's generation or epoch is older than the receiver's: learn the new one and retry
  behind,            // the receiver has not yet applied what the request relies on: retry
  unavailable,       // no majority, no lease, or no member of an epoch that matters can be asked: retry later
  damaged,           // stored bytes do not match their checksum
  busy,              // a bound was reached: retry later
  shutting_down,
  not_supported,
  read_only,
};

// One lowercase phrase, as it follows a colon in an error message.
std::string_view to_string(Status status);

}  // namespace sd
