// The client against the session, and against servers that lie.
#include "core/nbd/client.hpp"

#include <gtest/gtest.h>

#include <map>

#include "core/base/random.hpp"
#include "core/nbd/test_support.hpp"

namespace sd::nbd {
namespace {

using namespace test;

// A disk in memory, allocated by 4 KB blocks, that answers requests when told to.
struct Disk {
  static constexpr std::size_t block = 4096;
  explicit Disk(std::size_t size) : content(size, '\0'), allocated(size / block) {}

  void serve(const Request& r, Server& server) {
    const std::size_t first = r.offset / block, last = (r.offset + r.length + block - 1) / block;
    switch (r.command) {
      case Command::write:
        content.replace(r.offset, r.length, r.data.text());
        for (std::size_t b = first; b < last; ++b) allocated[b] = true;
        break;
      case Command::trim:
      case Command::write_zeroes:
        content.replace(r.offset, r.length, r.length, '\0');
        for (std::size_t b = (r.offset + block - 1) / block; b < (r.offset + r.length) / block; ++b)
          allocated[b] = r.no_hole;
        break;
      case Command::read: {
        std::vector<ReadPart> parts;
        each_run(r, first, last, [&](std::size_t at, std::uint32_t length, bool data) {
          if (data)
            parts.push_back({server.bytes(std::string_view(content).substr(at, length)), 0});
          else
            parts.push_back({{}, length});
        });
        return server.session.reply_parts(r.id, parts, server.effects);
      }
      case Command::block_status: {
        std::vector<Extent> extents;
        each_run(r, first, last, [&](std::size_t, std::uint32_t length, bool data) {
          extents.push_back({length, data ? 0 : state_hole | state_zero});
        });
        return server.session.reply_extents(r.id, extents, server.effects);
      }
      default: break;
    }
    server.session.reply(r.id, Status::ok, server.effects);
  }

  template <typename F>
  void each_run(const Request& r, std::size_t first, std::size_t last, F&& f) {
    for (std::size_t b = first; b < last; ++b) {
      const std::size_t begin = std::max<std::size_t>(b * block, r.offset);
      const std::size_t end = std::min<std::size_t>((b + 1) * block, r.offset + r.length);
      f(begin, static_cast<std::uint32_t>(end - begin), static_cast<bool>(allocated[b]));
    }
  }

  std::string content;
  std::vector<bool> allocated;
};

// A client and a session joined by two streams that deliver in pieces.
struct Pair {
  explicit Pair(const ClientOptions& options, SessionOptions session_options = {}, std::size_t size = 1u << 20,
                std::uint64_t seed = 1)
      : server(session_options), memory(size), client(options, pool), random(seed) {}

  static std::string text_of(const OutQueue& queue) {
    std::string out;
    queue.peek(SIZE_MAX,
               [&](std::span<const std::byte> b) { out.append(reinterpret_cast<const char*>(b.data()), b.size()); });
    return out;
  }

  // Moves at most n bytes each way. True when something moved.
  bool deliver(std::size_t n) {
    std::string to_server = text_of(client.output()).substr(0, n);
    const std::size_t taken = server.feed(to_server);
    client.on_sent(taken);
    std::string to_client = text_of(server.session.output()).substr(0, n);
    const std::size_t size = to_client.size();
    feed_client(to_client);
    server.session.on_sent(size, server.effects);
    return taken + size > 0;
  }

  void feed_client(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto span = client.receive_buffer();
      if (span.empty()) return;
      const std::size_t n = std::min(span.size(), bytes.size());
      std::memcpy(span.data(), bytes.data(), n);
      client.on_received(n, effects);
      bytes.remove_prefix(n);
    }
  }

  // Carries out one of the session's effects, picked at random. True when there was one.
  bool act() {
    if (server.effects.open_export) {
      const std::string name = *std::exchange(server.effects.open_export, std::nullopt);
      if (name == "disk")
        server.session.on_export(disk(memory.content.size()), server.effects);
      else
        server.session.on_export(std::unexpected(Status::not_found), server.effects);
      return true;
    }
    auto& requests = server.effects.requests;
    if (requests.empty()) return false;
    const std::size_t pick = random.below(requests.size());
    const Request request = std::move(requests[pick]);
    requests.erase(requests.begin() + static_cast<std::ptrdiff_t>(pick));
    memory.serve(request, server);
    return true;
  }

  void settle(std::size_t piece) {
    for (bool moved = true; moved;) {
      moved = deliver(piece);
      moved |= act();
    }
  }

  Server server;
  Disk memory;
  BufferPool pool;
  Client client;
  ClientEffects effects;
  Random random;
};

TEST(Negotiation, agrees_on_everything_in_pieces_of_any_size) {
  for (std::size_t piece = 1; piece < 200; ++piece) {
    Pair pair({.export_name = "disk"});
    pair.settle(piece);
    ASSERT_TRUE(pair.effects.ready) << piece;
    EXPECT_EQ(pair.effects.ready->size, 1u << 20);
    EXPECT_EQ(pair.effects.ready->minimum_block, 512u);
    EXPECT_TRUE(pair.effects.ready->structured_replies);
    EXPECT_TRUE(pair.effects.ready->block_status);
    EXPECT_TRUE(pair.effects.ready->flags & transmission_flag::send_df);
  }
}

TEST(Negotiation, can_do_without_structured_replies) {
  Pair pair({.export_name = "disk", .structured_replies = false, .block_size = false});
  pair.settle(64);
  ASSERT_TRUE(pair.effects.ready);
  EXPECT_FALSE(pair.effects.ready->block_status);
  EXPECT_EQ(pair.effects.ready->minimum_block, 1u);
}

TEST(Negotiation, reports_a_missing_export) {
  Pair pair({.export_name = "none", .block_status = false});
  pair.settle(64);
  ASSERT_TRUE(pair.effects.failed);
  EXPECT_EQ(*pair.effects.failed, "no such export: no disk has this name; `dog vdi list` shows those there are");
}

// Every command once, with the streams cut into pieces of each size around the headers' sizes.
TEST(RoundTrip, every_command_at_every_split) {
  for (const bool structured : {true, false}) {
    for (std::size_t piece = 1; piece < 120; ++piece) {
      Pair pair({.export_name = "disk", .structured_replies = structured});
      pair.settle(1000);
      ASSERT_TRUE(pair.client.ready());
      const auto run = [&](std::uint64_t handle) {
        pair.effects.clear();
        pair.settle(piece);
        EXPECT_EQ(pair.effects.completions.size(), 1u);
        EXPECT_EQ(pair.effects.completions.at(0).handle, handle);
        return std::move(pair.effects.completions.at(0));
      };
      const std::string text(512, 'q');
      EXPECT_EQ(run(pair.client.write(4096, pair.pool.copy_of(text))).status, Status::ok);
      EXPECT_EQ(run(pair.client.flush()).status, Status::ok);
      auto read = run(pair.client.read(3584, 1536));
      EXPECT_EQ(read.data.text(), std::string(512, '\0') + text + std::string(512, '\0'));
      EXPECT_EQ(read.hole_bytes, structured ? 512u : 0u);
      EXPECT_EQ(run(pair.client.submit(Command::write_zeroes, 4096, 4096)).status, Status::ok);
      EXPECT_EQ(run(pair.client.submit(Command::trim, 0, 4096)).status, Status::ok);
      EXPECT_EQ(run(pair.client.submit(Command::cache, 0, 4096)).status, Status::ok);
      auto status = run(pair.client.submit(Command::block_status, 0, 16384));
      if (structured)
        EXPECT_EQ(status.extents, (std::vector<Extent>{{16384, 3}}));
      else
        EXPECT_EQ(status.error, Error::einval);
      EXPECT_EQ(run(pair.client.read(1u << 20, 512)).error, Error::einval);
      EXPECT_EQ(run(pair.client.write(1u << 20, pair.pool.copy_of(text))).error, Error::enospc);
      pair.client.disconnect();
      pair.settle(piece);
      EXPECT_TRUE(pair.server.effects.close);
    }
  }
}

// Many requests at once, answered in random order, under tight bounds, against a model. One request at a time for each
// region, so that the model knows the outcome.
TEST(RoundTrip, random_load_gives_what_was_written) {
  constexpr std::size_t region = 256 << 10, regions = 16;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Pair pair({.export_name = "disk", .structured_replies = seed % 4 != 0},
              {.max_in_flight_requests = 5, .max_in_flight_bytes = 300 << 10}, region * regions, seed);
    Random& random = pair.random;
    pair.settle(1000);
    ASSERT_TRUE(pair.client.ready());
    std::string model(region * regions, '\0');
    struct Pending {
      std::size_t offset;
      std::uint32_t length;
    };
    std::map<std::uint64_t, Pending> pending;
    std::vector<bool> taken(regions);
    std::size_t completed = 0, submitted = 0;
    while (completed < 300) {
      const std::size_t r = random.below(regions);
      if (!taken[r] && submitted < 300) {
        const std::size_t at = random.below(region / 512);
        const auto length = static_cast<std::uint32_t>(512 * (1 + random.below(region / 512 - at)));
        const std::size_t offset = r * region + at * 512;
        std::uint64_t handle = 0;
        switch (random.below(5)) {
          case 0:
          case 1: {
            std::string text(length, static_cast<char>('a' + random.below(26)));
            model.replace(offset, length, text);
            handle = pair.client.write(offset, pair.pool.copy_of(text), random.below(2) ? command_flag::fua : 0);
            break;
          }
          case 2:
            model.replace(offset, length, length, '\0');
            handle = pair.client.submit(Command::write_zeroes, offset, length);
            break;
          default:
            handle = pair.client.read(
                offset, length, pair.client.served().structured_replies && random.below(2) ? command_flag::df : 0);
        }
        pending[handle] = {offset, length};
        taken[r] = true;
        ++submitted;
      }
      for (std::uint64_t n = random.below(4); n > 0; --n) pair.deliver(1 + random.below(100000));
      if (random.below(2)) pair.act();
      for (auto& done : pair.effects.completions) {
        const auto found = pending.find(done.handle);
        ASSERT_NE(found, pending.end());
        ASSERT_EQ(done.status, Status::ok);
        if (done.command == Command::read) {
          ASSERT_EQ(done.data.text(), std::string_view(model).substr(found->second.offset, found->second.length));
        }
        taken[found->second.offset / region] = false;
        pending.erase(found);
        ++completed;
      }
      pair.effects.completions.clear();
      ASSERT_LE(pair.server.session.in_flight(), 5u);
    }
  }
}

TEST(Ending, what_is_in_flight_completes_when_the_stream_ends) {
  Pair pair({.export_name = "disk"});
  pair.settle(1000);
  const auto a = pair.client.read(0, 512), b = pair.client.flush();
  pair.client.on_stream_end(pair.effects);
  ASSERT_EQ(pair.effects.completions.size(), 2u);
  EXPECT_EQ(pair.effects.completions[0].handle, a);
  EXPECT_EQ(pair.effects.completions[1].handle, b);
  EXPECT_EQ(pair.effects.completions[1].status, Status::unavailable);
  EXPECT_TRUE(pair.client.receive_buffer().empty());
}

// A server that breaks the protocol fails the connection, and the request with it.
TEST(LyingServer, is_found_out) {
  const std::string offset0 = hex("0000000000000000");
  struct Case {
    const char* what;
    std::string (*bytes)(std::uint64_t handle);
  };
  const Case table[] = {
      {"a wrong magic number", [](std::uint64_t) { return std::string(20, 'x'); }},
      {"a reply to no request", [](std::uint64_t h) { return chunk(Chunk::none, true, h + 1, {}); }},
      {"a simple reply to a read", [](std::uint64_t h) { return simple(Error::ok, h, std::string(1024, 'x')); }},
      {"success without data", [](std::uint64_t h) { return chunk(Chunk::none, true, h, {}); }},
      {"an empty chunk that is not the last", [](std::uint64_t h) { return chunk(Chunk::none, false, h, {}); }},
      {"data missing",
       [](std::uint64_t h) {
         return chunk(Chunk::offset_data, true, h, hex("0000000000000000") + std::string(512, 'x'));
       }},
      {"data outside",
       [](std::uint64_t h) {
         return chunk(Chunk::offset_data, true, h, hex("0000000000000200") + std::string(1024, 'x'));
       }},
      {"data before",
       [](std::uint64_t h) {
         return chunk(Chunk::offset_data, true, h, hex("ffffffffffffff00") + std::string(512, 'x'));
       }},
      {"data too long",
       [](std::uint64_t h) {
         return chunk(Chunk::offset_data, true, h, hex("0000000000000000") + std::string(1025, 'x'));
       }},
      {"empty data", [](std::uint64_t h) { return chunk(Chunk::offset_data, true, h, hex("0000000000000000")); }},
      {"overlapping chunks",
       [](std::uint64_t h) {
         return chunk(Chunk::offset_data, false, h, hex("0000000000000000") + std::string(512, 'x')) +
                chunk(Chunk::offset_hole, true, h, hex("00000000000001ff 00000200"));
       }},
      {"an empty hole",
       [](std::uint64_t h) { return chunk(Chunk::offset_hole, false, h, hex("0000000000000000 00000000")); }},
      {"a long hole chunk",
       [](std::uint64_t h) { return chunk(Chunk::offset_hole, false, h, hex("0000000000000000 00000001 00")); }},
      {"extents for a read",
       [](std::uint64_t h) { return chunk(Chunk::block_status, true, h, hex("00000001 00000200 00000000")); }},
      {"an unknown chunk", [](std::uint64_t h) { return chunk(static_cast<Chunk>(77), true, h, {}); }},
      {"an error of nothing", [](std::uint64_t h) { return chunk(Chunk::error, true, h, hex("00000000 0000")); }},
      {"a message longer than its chunk",
       [](std::uint64_t h) { return chunk(Chunk::error, true, h, hex("00000005 0009 6162")); }},
      {"a huge error",
       [](std::uint64_t h) { return chunk(Chunk::error, true, h, hex("00000005 0000") + std::string(20000, 'x')); }},
  };
  for (const auto& c : table) {
    SCOPED_TRACE(c.what);
    Pair pair({.export_name = "disk"});
    pair.settle(1000);
    pair.effects.clear();
    const auto handle = pair.client.read(0, 1024);
    pair.feed_client(c.bytes(handle));
    EXPECT_TRUE(pair.effects.failed);
    ASSERT_EQ(pair.effects.completions.size(), 1u);
    EXPECT_EQ(pair.effects.completions[0].status, Status::unavailable);
  }
}

TEST(OddServer, unknown_errors_and_error_chunks_fail_only_their_request) {
  Pair pair({.export_name = "disk"});
  pair.settle(1000);
  pair.effects.clear();
  const auto a = pair.client.read(0, 1024), b = pair.client.flush();
  pair.feed_client(chunk(Chunk::offset_data, false, a, hex("0000000000000000") + std::string(512, 'x')) +
                   chunk(Chunk::error_offset, true, a, hex("00000005 0000 0000000000000200")) +
                   chunk(static_cast<Chunk>(0x8077), true, b, hex("00003039 0002 6162 ffff")));
  EXPECT_FALSE(pair.effects.failed);
  ASSERT_EQ(pair.effects.completions.size(), 2u);
  EXPECT_EQ(pair.effects.completions[0].error, Error::eio);
  EXPECT_TRUE(pair.effects.completions[0].data.empty());
  EXPECT_EQ(pair.effects.completions[1].status, Status::invalid);
}

}  // namespace
}  // namespace sd::nbd
