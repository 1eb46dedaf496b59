// Bytes from a hostile client against the NBD session. The first 16 bytes of the input seed the splitting of the
// stream, the order and kind of the driver's answers and the bounds; the rest is what the client sends. Checked besides
// crashes: requests that reach the driver are legal, the bounds hold, and every request can be answered.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/base/random.hpp"
#include "core/nbd/session.hpp"

namespace {

using namespace sd;
using namespace sd::nbd;

constexpr std::uint64_t export_size = 8u << 20;

class Driver {
 public:
  Driver(std::uint64_t seed, std::uint64_t kind)
      : random_(seed),
        read_only_((kind & 1) != 0),
        options_{.max_in_flight_requests = 1 + static_cast<std::uint32_t>(kind >> 1 & 7),
                 .max_in_flight_bytes = (kind & 16) ? 64u << 20 : 16u << 10},
        session_(options_, pool_) {}

  void run(std::span<const std::byte> input) {
    while (!session_.closed()) {
      const auto span = session_.receive_buffer();
      const bool blocked = span.empty();
      if (blocked || random_.below(3) == 0) {
        act(blocked);
        if (blocked) continue;
      }
      if (input.empty()) break;
      const auto again = session_.receive_buffer();
      if (again.empty()) continue;
      std::size_t n = std::min(again.size(), input.size());
      if (random_.below(2)) n = 1 + random_.below(n);
      std::memcpy(again.data(), input.data(), n);
      input = input.subspan(n);
      session_.on_received(n, effects_);
      check();
    }
    while (!requests_.empty()) answer();
    SD_ASSERT(session_.in_flight() == 0, "every request can be answered");
  }

 private:
  // One thing that a driver does. When the session is blocked there must be one.
  void act(bool must) {
    const std::uint64_t kind = random_.below(4);
    if (awaiting_list_) {
      awaiting_list_ = false;
      const std::string names[] = {"a", "disk"};
      session_.on_export_list(names, effects_);
    } else if (awaiting_export_) {
      awaiting_export_ = false;
      if (kind == 0)
        session_.on_export(std::unexpected(Status::not_found), effects_);
      else
        session_.on_export(ExportInfo{.name = "disk",
                                      .size = export_size - random_.below(2),
                                      .read_only = read_only_,
                                      .description = "d",
                                      .export_id = 1},
                           effects_);
    } else if (!requests_.empty() && (kind != 0 || session_.output().empty())) {
      answer();
    } else if (!session_.output().empty()) {
      session_.on_sent(1 + random_.below(session_.output().size()), effects_);
    } else {
      SD_ASSERT(!must || session_.closed(), "a session that does not receive waits for something");
      if (random_.below(1000) == 0) session_.shutdown(effects_);
    }
    check();
  }

  void answer() {
    const std::size_t pick = random_.below(requests_.size());
    const Request r = requests_[pick];
    requests_.erase(requests_.begin() + static_cast<std::ptrdiff_t>(pick));
    const std::uint64_t kind = random_.below(4);
    if (kind == 0) {
      session_.reply(r.id, static_cast<Status>(random_.below(16)), effects_);
    } else if (r.command == Command::read && kind == 1) {
      const Slice data[] = {pool_.zeros(r.length)};
      session_.reply(r.id, Status::ok, data, effects_);
    } else if (r.command == Command::read) {
      const auto cut = static_cast<std::uint32_t>(random_.below(std::uint64_t{r.length} + 1));
      const ReadPart parts[] = {{{}, cut}, {pool_.zeros(r.length - cut), 0}};
      session_.reply_parts(r.id, parts, effects_);
    } else if (r.command == Command::block_status) {
      std::vector<Extent> extents;
      for (std::uint64_t n = random_.below(6); n > 0; --n)
        extents.push_back(
            {1 + static_cast<std::uint32_t>(random_.below(UINT32_MAX)), static_cast<std::uint32_t>(random_.below(4))});
      session_.reply_extents(r.id, extents, effects_);
    } else {
      session_.reply(r.id, Status::ok, effects_);
    }
    check();
  }

  // Takes the effects over and looks at them.
  void check() {
    for (auto& r : effects_.requests) {
      SD_ASSERT(session_.in_transmission() || session_.closed(), "requests come in transmission only");
      SD_ASSERT(r.offset <= export_size && r.length <= export_size - r.offset, "requests lie inside the export");
      SD_ASSERT(r.command == Command::flush ? r.length == 0 : r.length > 0, "only a flush has no range");
      const bool changes =
          r.command == Command::write || r.command == Command::trim || r.command == Command::write_zeroes;
      SD_ASSERT(!(changes && read_only_), "a read-only export is not changed");
      SD_ASSERT(r.data.size() == (r.command == Command::write ? r.length : 0), "a write brings its data");
      requests_.push_back(std::move(r));
    }
    if (effects_.list_exports) awaiting_list_ = true;
    if (effects_.open_export) awaiting_export_ = true;
    SD_ASSERT(!effects_.close || session_.closed(), "a session that asks to be closed is closed");
    effects_.clear();
    SD_ASSERT(session_.in_flight() == requests_.size() || session_.closed(),
              "the session and its driver agree on what is in flight");
    SD_ASSERT(requests_.size() <= options_.max_in_flight_requests, "the number of requests is bounded");
    SD_ASSERT(
        session_.output().size() <= std::max<std::size_t>(options_.max_in_flight_bytes, 2u << 20) + export_size + 65536,
        "unsent replies are bounded");
  }

  Random random_;
  bool read_only_;
  SessionOptions options_;
  BufferPool pool_;
  Session session_;
  Effects effects_;
  std::vector<Request> requests_;
  bool awaiting_list_ = false;
  bool awaiting_export_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 16) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  Reader seeds(input.first(16));
  const auto seed = seeds.u64();
  const auto kind = seeds.u64();
  Driver(seed, kind).run(input.subspan(16));
  return 0;
}
