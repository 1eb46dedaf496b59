// Bytes from a stranger on the peer port: the receiver yields messages or an error, never more, however the bytes are
// split.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "core/peer/receiver.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  sd::BufferPool pool;
  {
    sd::peer::Receiver receiver(pool);
    std::string hello;
    sd::peer::encode(sd::peer::Hello{}, hello);
    std::memcpy(receiver.buffer().data(), hello.data(), hello.size());
    receiver.received(hello.size());
    if (!receiver.next()) std::abort();
    const std::size_t step = data[0] + 1u;
    std::size_t at = 1;
    while (at < size && !receiver.error()) {
      const auto buffer = receiver.buffer();
      if (buffer.empty()) std::abort();
      const std::size_t n = std::min({buffer.size(), size - at, step});
      std::memcpy(buffer.data(), data + at, n);
      receiver.received(n);
      at += n;
      while (auto message = receiver.next()) {
        // What was understood is written back without loss.
        std::string again;
        sd::peer::encode(*message, again);
        if (again.size() < sd::peer::frame_header_size) std::abort();
      }
    }
  }
  if (pool.outstanding() != 0) std::abort();
  return 0;
}
