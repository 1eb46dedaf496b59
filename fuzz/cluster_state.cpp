// Commands and snapshots of the cluster log: decoded within bounds, or refused; any command can be applied to any
// state.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/cluster/placement.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (size > 0 && data[0] % 2 == 0) {
    if (auto state = sd::cluster::State::decode(bytes.substr(1))) {
      std::string again;
      state->encode(again);
      if (!sd::cluster::State::decode(again)) std::abort();
    }
    return 0;
  }
  // A run of commands, each behind its length.
  sd::cluster::State state;
  std::uint64_t index = 0;
  for (std::size_t at = 1; at < size;) {
    const std::size_t length = std::min<std::size_t>(data[at], size - at - 1);
    if (const auto command = sd::cluster::decode_command(bytes.substr(at + 1, length))) state.apply(++index, *command);
    at += length + 1;
  }
  const sd::cluster::Placement placement(state);
  std::string encoded;
  state.encode(encoded);
  const auto copy = sd::cluster::State::decode(encoded);
  if (!copy) std::abort();
  std::string again;
  copy->encode(again);
  if (again != encoded) std::abort();
  return 0;
}
