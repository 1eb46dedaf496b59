// Bytes from a server that cannot be trusted: whatever it sends, each request of the client completes once, and reads
// complete with as much as was asked for.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "core/nbd/client.hpp"

using namespace sd;
using namespace sd::nbd;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  BufferPool pool;
  {
    ClientOptions options;
    options.export_name = "disk";
    options.structured_replies = data[0] & 1;
    options.block_status = data[0] & 2;
    options.block_size = data[0] & 4;
    options.max_in_flight_requests = 8;
    Client client(options, pool);
    ClientEffects effects;
    std::set<std::uint64_t> reads, others;
    bool failed = false;
    const std::size_t step = data[1] + 1u;
    std::uint32_t choice = data[2];
    const auto take = [&] {
      for (const Completion& c : effects.completions) {
        const bool was_read = reads.erase(c.handle) == 1;
        if (!was_read && others.erase(c.handle) != 1) std::abort();
        if (was_read && c.status == Status::ok && c.data.size() != 512) std::abort();
      }
      failed |= effects.failed.has_value();
      effects.clear();
    };
    for (std::size_t at = 3; at < size && !failed;) {
      while (client.can_submit()) {
        switch (choice++ % 4) {
          case 0: others.insert(client.write(4096, pool.zeros(512))); break;
          case 1: others.insert(client.submit(Command::block_status, 0, 65536)); break;
          default: reads.insert(client.read(512 * (choice % 64), 512)); break;
        }
      }
      client.on_sent(client.output().size());
      const auto room = client.receive_buffer();
      if (room.empty()) std::abort();
      const std::size_t n = std::min({room.size(), size - at, step});
      std::copy_n(reinterpret_cast<const std::byte*>(data + at), n, room.begin());
      client.on_received(n, effects);
      at += n;
      take();
      if (client.in_flight() != reads.size() + others.size()) std::abort();
    }
    client.on_stream_end(effects);
    take();
    if (!reads.empty() || !others.empty()) std::abort();
  }
  if (pool.outstanding() != 0) std::abort();
  return 0;
}
