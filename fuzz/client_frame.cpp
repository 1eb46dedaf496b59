// Whatever a client sends, in whatever pieces: the service neither breaks an invariant nor answers with bytes that are
// no response.
//
// Input: a byte of options, eight bytes of seed (for the pieces and for when the backend works), then the stream. With
// option bit 0 the stream is cut into frames here (a u16 length before each body), so that the fuzzer need not learn
// the framing to reach the requests.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/client/fake_backend.hpp"
#include "core/client/service.hpp"

using namespace sd;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// Takes what was sent, and requires that it is whole responses.
void drain(client::Service& service, client::ServiceEffects& effects) {
  OutQueue* queue = service.output(1);
  if (!queue) return;
  std::string bytes;
  queue->peek(SIZE_MAX, [&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  queue->consume(queue->size());
  std::string_view rest = bytes;
  while (!rest.empty()) {
    BigEndianReader in(rest);
    const auto size = in.u32();
    require(!in.failed() && size <= in.remaining());
    require(client::decode_response(rest.substr(4, size)).has_value());
    rest.remove_prefix(4 + size);
  }
  service.on_drained(1, effects);
}

void decode_everything(std::string_view bytes) {
  (void)client::decode_response(bytes);
  (void)client::decode_cluster_info(bytes);
  (void)client::bincode::from_bytes<client::ClusterReport>(bytes);
  (void)client::bincode::from_bytes<client::VdiPage>(bytes);
  (void)client::bincode::from_bytes<client::NodeReport>(bytes);
  (void)client::bincode::from_bytes<client::CheckReport>(bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 9) return 0;
  const std::uint8_t options = data[0];
  Reader head(std::as_bytes(std::span(data + 1, 8)));
  Random random(head.u64());
  std::string_view input(reinterpret_cast<const char*>(data) + 9, size - 9);
  decode_everything(input);

  std::string stream;
  if (options & 1) {
    Reader in(input);
    while (in.remaining() >= 2) {
      const std::size_t length = std::min<std::size_t>(in.u16(), in.remaining());
      const auto body = in.bytes(length);
      stream += client::frame({reinterpret_cast<const char*>(body.data()), body.size()});
    }
  } else {
    stream = input;
  }

  BufferPool pool;
  client::FakeBackend backend(pool);
  backend.join(1, 1);
  backend.join(2, 2, (options & 2) != 0);
  if (!(options & 4)) {
    backend.apply(cluster::Format{1, 1, false});
    backend.apply(cluster::CreateVdi{"a", 6u << 20, 0});
  }
  client::Service service(pool);
  client::ServiceEffects effects;
  service.open(1);
  std::string_view rest = stream;
  bool closed = false;
  while (!rest.empty() && !closed) {
    const auto buffer = service.receive_buffer(1);
    if (buffer.empty()) {
      // Nothing more is read before something in progress ends: that must be possible.
      require(!backend.proposed.empty() || !backend.requested.empty() || !service.output(1)->empty());
      backend.work(service, effects);
      drain(service, effects);
    } else {
      const std::size_t piece = random.below(4) == 0 ? 1 + random.below(40) : SIZE_MAX;
      const std::size_t n = std::min({buffer.size(), rest.size(), piece});
      std::memcpy(buffer.data(), rest.data(), n);
      rest.remove_prefix(n);
      service.on_received(0, 1, n, backend, effects);
      if (random.below(3) == 0) backend.work(service, effects);
      if (random.below(8) == 0) drain(service, effects);
      if (random.below(64) == 0) backend.busy = !backend.busy;
      backend.refuse_with = random.below(16) == 0 ? Status::unavailable : Status::ok;
    }
    service.check_invariants();
    closed = !effects.close.empty();
  }
  if (random.below(2) == 0) {
    while (!backend.proposed.empty() || !backend.requested.empty()) backend.work(service, effects);
    drain(service, effects);
  }
  service.on_closed(1, backend, effects);
  backend.work(service, effects);
  service.check_invariants();
  require(service.sessions() == 0);
  backend.requested.clear();
  backend.done.clear();
  return 0;
}
