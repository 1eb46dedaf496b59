// A Raft message from outside: decoded within bounds, or refused; what is decoded encodes to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/raft/message.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = sd::raft::decode(std::as_bytes(std::span(data, size)));
  if (!message) return 0;
  std::string bytes;
  sd::raft::encode(*message, bytes);
  if (bytes != std::string(reinterpret_cast<const char*>(data), size)) std::abort();
  return 0;
}
