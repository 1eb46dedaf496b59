#include <gtest/gtest.h>

#include "core/base/random.hpp"
#include "core/nbd/test_support.hpp"

namespace sd::nbd {
namespace {

using namespace test;

#define EXPECT_BYTES(actual, expected) EXPECT_EQ(to_hex(actual), to_hex(expected))

constexpr std::uint64_t cookie = 0x1122334455667788;

std::string error_payload(Error error, std::string_view message) {
  std::string out;
  BigEndianWriter w(out);
  w.u32(static_cast<std::uint32_t>(error));
  w.u16(static_cast<std::uint16_t>(message.size()));
  w.raw(message);
  return out;
}

TEST(SimpleReplies, read) {
  Server s;
  s.serve(disk(), false);
  s.feed(hex("25609513 0000 0000 1122334455667788 0000000000000200 00000004"));
  ASSERT_EQ(s.effects.requests.size(), 1u);
  const auto& r = s.effects.requests[0];
  EXPECT_EQ(r.command, Command::read);
  EXPECT_EQ(r.export_id, 7u);
  EXPECT_EQ(r.offset, 512u);
  EXPECT_EQ(r.length, 4u);
  const Slice data[] = {s.bytes("ab"), s.bytes("cd")};
  s.session.reply(r.id, Status::ok, data, s.effects);
  EXPECT_BYTES(s.sent(), hex("67446698 00000000 1122334455667788 61626364"));
  EXPECT_EQ(s.session.in_flight(), 0u);
}

TEST(SimpleReplies, a_failed_read_carries_no_data) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::read, cookie, 0, 512));
  s.session.reply(s.effects.requests[0].id, Status::damaged, s.effects);
  EXPECT_BYTES(s.sent(), hex("67446698 00000005 1122334455667788"));
}

TEST(SimpleReplies, holes_are_sent_as_zeros) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::read, cookie, 0, 600 << 10));
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_EQ(s.sent(), simple(Error::ok, cookie, std::string(600 << 10, '\0')));
}

TEST(SimpleReplies, all_other_commands) {
  Server s;
  s.serve(disk(), false);
  const std::string in = command(Command::write, 1, 512, 5) + "hello" + command(Command::flush, 2, 0, 0) +
                         command(Command::trim, 3, 0, 4096) +
                         command(Command::write_zeroes, 4, 4096, 4096,
                                 command_flag::no_hole | command_flag::fast_zero | command_flag::fua) +
                         command(Command::cache, 5, 0, 1u << 20) + command(Command::write, 6, 0, 1, command_flag::fua) +
                         "x";
  s.feed(in);
  ASSERT_EQ(s.effects.requests.size(), 6u);
  const auto& r = s.effects.requests;
  EXPECT_EQ(r[0].command, Command::write);
  EXPECT_EQ(r[0].data.text(), "hello");
  EXPECT_FALSE(r[0].fua);
  EXPECT_EQ(r[1].command, Command::flush);
  EXPECT_EQ(r[2].command, Command::trim);
  EXPECT_EQ(r[3].command, Command::write_zeroes);
  EXPECT_TRUE(r[3].no_hole && r[3].fast_zero && r[3].fua);
  EXPECT_EQ(r[4].command, Command::cache);
  EXPECT_EQ(r[4].length, 1u << 20);
  EXPECT_TRUE(r[5].fua);
  std::string expected;
  for (std::size_t i = 0; i < 6; ++i) {
    s.session.reply(r[i].id, Status::ok, s.effects);
    expected += simple(Error::ok, i + 1);
  }
  EXPECT_BYTES(s.sent(), expected);
}

TEST(StructuredReplies, read_of_data) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::read, cookie, 512, 4));
  const Slice data[] = {s.bytes("abcd")};
  s.session.reply(s.effects.requests[0].id, Status::ok, data, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0001 1122334455667788 0000000c 0000000000000200 61626364"));
}

TEST(StructuredReplies, read_of_a_hole) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::read, cookie, 512, 8192));
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0002 1122334455667788 0000000c 0000000000000200 00002000"));
}

TEST(StructuredReplies, read_of_data_and_holes_is_one_chunk_for_each_run) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::read, cookie, 0x100, 12));
  const ReadPart parts[] = {{s.bytes("ab"), 0}, {s.bytes("c"), 0}, {{}, 2}, {{}, 3}, {s.bytes("defg"), 0}};
  s.session.reply_parts(s.effects.requests[0].id, parts, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0000 0001 1122334455667788 0000000b 0000000000000100 616263"
                             "668e33ef 0000 0002 1122334455667788 0000000c 0000000000000103 00000005"
                             "668e33ef 0001 0001 1122334455667788 0000000c 0000000000000108 64656667"));
}

TEST(StructuredReplies, df_gives_one_chunk) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::read, cookie, 0x100, 5, command_flag::df));
  const ReadPart parts[] = {{s.bytes("ab"), 0}, {{}, 3}};
  s.session.reply_parts(s.effects.requests[0].id, parts, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0001 1122334455667788 0000000d 0000000000000100 6162000000"));
}

TEST(StructuredReplies, success_and_failure_of_a_write) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::write, cookie, 0, 1) + "x" + command(Command::write, cookie, 0, 1) + "y");
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0000 1122334455667788 00000000"));
  s.session.reply(s.effects.requests[1].id, Status::no_space, s.effects);
  EXPECT_BYTES(s.sent(), chunk(Chunk::error, true, cookie, error_payload(Error::enospc, to_string(Status::no_space))));
}

TEST(BlockStatus, extents_are_merged_and_cut_to_the_request) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::block_status, cookie, 0, 0x5000));
  const Extent extents[] = {{0x1000, 0}, {0x1000, 0}, {0x2000, 3}, {0, 1}, {0x100000, 0}, {1, 3}};
  s.session.reply_extents(s.effects.requests[0].id, extents, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0005 1122334455667788 0000001c 00000001"
                             "00002000 00000000 00002000 00000003 00001000 00000000"));
}

TEST(BlockStatus, req_one_gives_one_extent) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::block_status, cookie, 0, 0x5000, command_flag::req_one));
  const Extent extents[] = {{0x1000, 3}, {0x1000, 3}, {0x2000, 0}};
  s.session.reply_extents(s.effects.requests[0].id, extents, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0005 1122334455667788 0000000c 00000001 00002000 00000003"));
}

TEST(BlockStatus, the_number_of_extents_is_bounded) {
  Server s;
  s.serve(disk(1u << 30), true);
  s.feed(command(Command::block_status, cookie, 0, 1u << 30));
  std::vector<Extent> extents;
  for (std::uint32_t i = 0; i < 10000; ++i) extents.push_back({512, i % 2});
  s.session.reply_extents(s.effects.requests[0].id, extents, s.effects);
  EXPECT_EQ(s.sent().size(), chunk_header_size + 4 + max_extents_per_reply * 8);
}

TEST(BlockStatus, no_knowledge_counts_as_data) {
  Server s;
  s.serve(disk(), true);
  s.feed(command(Command::block_status, cookie, 0, 512));
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_BYTES(s.sent(), hex("668e33ef 0001 0005 1122334455667788 0000000c 00000001 00000200 00000000"));
}

// Each refused request is answered with the right error, reaches no driver, and leaves the stream in step.
TEST(Refusals, follow_the_standard) {
  struct Case {
    const char* what;
    std::uint16_t type;
    std::uint64_t offset;
    std::uint32_t length;
    std::uint16_t flags;
    Error error;
  };
  const std::uint64_t size = 64u << 20;
  const Case table[] = {
      {"read beyond the end", 0, size, 512, 0, Error::einval},
      {"read over the end", 0, size - 512, 1024, 0, Error::einval},
      {"read with an offset that overflows", 0, UINT64_MAX - 511, 512, 0, Error::einval},
      {"read too long", 0, 0, (32u << 20) + 512, 0, Error::eoverflow},
      {"read misaligned", 0, 1, 512, 0, Error::einval},
      {"read of a part of a sector", 0, 0, 100, 0, Error::einval},
      {"read with an unknown flag", 0, 0, 512, 0x8000, Error::einval},
      {"read with another command's flag", 0, 0, 512, command_flag::no_hole, Error::einval},
      {"write beyond the end", 1, size, 512, 0, Error::enospc},
      {"write misaligned", 1, 256, 512, 0, Error::einval},
      {"write with a read's flag", 1, 0, 512, command_flag::df, Error::einval},
      {"flush with a range", 3, 0, 512, 0, Error::einval},
      {"trim beyond the end", 4, size, 512, 0, Error::einval},
      {"trim with an unknown flag", 4, 0, 512, command_flag::fast_zero, Error::einval},
      {"cache beyond the end", 5, size - 512, 1024, 0, Error::einval},
      {"zeroes beyond the end", 6, size - 512, 1024, 0, Error::enospc},
      {"zeroes misaligned", 6, 100, 512, 0, Error::einval},
      {"block status beyond the end", 7, size, 512, 0, Error::einval},
      {"block status of nothing", 7, 0, 0, 0, Error::einval},
      {"an unknown command", 8, 0, 512, 0, Error::einval},
      {"a command whose low byte is known", 0x0100, 0, 512, 0, Error::einval},
      {"a command beyond a byte", 0xffff, 0, 512, 0, Error::einval},
  };
  for (const bool structured : {false, true}) {
    Server s;
    s.serve(disk(size), structured, {3});
    for (const auto& c : table) {
      SCOPED_TRACE(c.what);
      s.feed(command(c.type, cookie, c.offset, c.length, c.flags));
      if (c.type == 1) s.feed(std::string(c.length, 'p'));
      EXPECT_TRUE(s.effects.requests.empty());
      EXPECT_FALSE(s.effects.close);
      const std::string out = s.sent();
      if (structured) {
        ASSERT_GT(out.size(), chunk_header_size + 6);
        EXPECT_BYTES(out.substr(0, 16), chunk(Chunk::error, true, cookie, {}).substr(0, 16));
        EXPECT_BYTES(out.substr(20, 4), error_payload(c.error, {}).substr(0, 4));
      } else {
        EXPECT_BYTES(out, simple(c.error, cookie));
      }
      // Still in step.
      s.feed(command(Command::flush, 9, 0, 0));
      ASSERT_EQ(s.effects.requests.size(), 1u);
      s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
      s.effects.clear();
      s.sent();
    }
  }
}

TEST(Refusals, flags_and_commands_that_were_not_negotiated) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::read, 1, 0, 512, command_flag::df) + command(Command::block_status, 2, 0, 512) +
         command(Command::read, 3, 0, 512, command_flag::fua));
  EXPECT_BYTES(s.sent(), simple(Error::einval, 1) + simple(Error::einval, 2));
  ASSERT_EQ(s.effects.requests.size(), 1u);
  EXPECT_FALSE(s.effects.requests[0].fua) << "FUA is accepted with every command and means nothing for a read";
}

TEST(Refusals, without_block_sizes_any_byte_can_be_addressed_and_long_reads_are_invalid) {
  Server s;
  s.serve(disk(64u << 20), false);
  s.feed(command(Command::read, 1, 3, 7) + command(Command::read, 2, 0, (32u << 20) + 1));
  EXPECT_EQ(s.effects.requests.size(), 1u);
  EXPECT_BYTES(s.sent(), simple(Error::einval, 2));
}

TEST(Refusals, changes_of_a_read_only_export) {
  Server s;
  s.serve(disk(1u << 20, true), false);
  s.feed(command(Command::write, 1, 0, 4) + "data" + command(Command::trim, 2, 0, 512) +
         command(Command::write_zeroes, 3, 0, 512) + command(Command::flush, 4, 0, 0));
  EXPECT_BYTES(s.sent(), simple(Error::eperm, 1) + simple(Error::eperm, 2) + simple(Error::eperm, 3));
  EXPECT_EQ(s.effects.requests.size(), 1u);
}

TEST(Refusals, zero_lengths_succeed_without_the_driver) {
  Server s;
  s.serve(disk(), true);
  for (const auto c : {Command::read, Command::write, Command::trim, Command::cache, Command::write_zeroes}) {
    s.feed(command(c, cookie, 0, 0));
    EXPECT_BYTES(s.sent(), chunk(Chunk::none, true, cookie, {}));
  }
  EXPECT_TRUE(s.effects.requests.empty());
}

TEST(Refusals, a_refused_write_is_drained_without_being_held) {
  Server s;
  s.serve(disk(), false);
  const std::size_t before = s.pool.outstanding_bytes();
  s.feed(command(Command::write, 1, 0, 32u << 20));
  const std::string part(1u << 20, 'x');
  for (int i = 0; i < 32; ++i) {
    EXPECT_BYTES(s.sent(), "") << "the reply follows the whole payload";
    EXPECT_EQ(s.feed(part), part.size());
    EXPECT_LE(s.pool.outstanding_bytes(), before + 4096);
  }
  EXPECT_BYTES(s.sent(), simple(Error::enospc, 1));
  s.feed(command(Command::flush, 2, 0, 0));
  EXPECT_EQ(s.effects.requests.size(), 1u);
}

TEST(Refusals, a_write_above_the_maximum_closes) {
  Server s;
  s.serve(disk(1u << 30), false);
  s.feed(command(Command::write, 1, 0, (32u << 20) + 1));
  EXPECT_TRUE(s.effects.close);
  EXPECT_TRUE(s.effects.misbehaved);
}

TEST(Refusals, a_wrong_magic_number_closes_and_late_answers_are_dropped) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::read, 1, 0, 512) + std::string(28, 'x'));
  ASSERT_TRUE(s.effects.close);
  EXPECT_TRUE(s.effects.misbehaved);
  EXPECT_TRUE(s.session.receive_buffer().empty());
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_EQ(s.session.in_flight(), 0u);
  EXPECT_BYTES(s.sent(), "");
}

TEST(Order, replies_go_out_as_they_are_given) {
  Server s;
  s.serve(disk(), false);
  std::string in;
  for (std::uint64_t i = 0; i < 100; ++i) in += command(Command::cache, i, 0, 512);
  s.feed(in);
  ASSERT_EQ(s.effects.requests.size(), 100u);
  std::string expected;
  for (std::uint64_t i = 0; i < 100; ++i) {
    const std::uint64_t pick = (i * 37) % 100;
    s.session.reply(s.effects.requests[pick].id, Status::ok, s.effects);
    expected += simple(Error::ok, pick);
  }
  EXPECT_BYTES(s.sent(), expected);
}

TEST(Order, disconnect_waits_for_what_is_in_flight) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::write, 1, 0, 1) + "x" + command(Command::disconnect, 0, 0, 0) +
         command(Command::flush, 2, 0, 0));
  EXPECT_FALSE(s.effects.close);
  EXPECT_TRUE(s.session.receive_buffer().empty());
  ASSERT_EQ(s.effects.requests.size(), 1u);
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_TRUE(s.effects.close);
  EXPECT_BYTES(s.sent(), simple(Error::ok, 1));
}

TEST(Order, disconnect_of_an_idle_session_closes) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::disconnect, 0, 0, 0));
  EXPECT_TRUE(s.effects.close);
  EXPECT_FALSE(s.effects.misbehaved);
}

// No request is told of the shutdown: a client repairs a lost connection, and passes an error on.
TEST(Order, shutdown_finishes_what_is_in_flight_and_closes) {
  Server s;
  s.serve(disk(), false);
  s.feed(command(Command::flush, 1, 0, 0) + command(Command::write, 2, 0, 3) + "a");
  s.session.shutdown(s.effects);
  EXPECT_FALSE(s.effects.close);
  s.feed("bc" + command(Command::read, 3, 0, 512));
  EXPECT_EQ(s.effects.requests.size(), 1u);
  s.session.reply(s.effects.requests[0].id, Status::ok, s.effects);
  EXPECT_BYTES(s.sent(), simple(Error::ok, 1));
  EXPECT_TRUE(s.effects.close);
  EXPECT_FALSE(s.effects.misbehaved);
}

TEST(Order, shutdown_of_an_idle_connection_closes_it) {
  Server s;
  s.serve(disk(), false);
  s.session.shutdown(s.effects);
  EXPECT_TRUE(s.effects.close);
  Server fresh;
  fresh.session.shutdown(fresh.effects);
  EXPECT_TRUE(fresh.effects.close);
}

TEST(Order, a_new_size_counts_for_new_requests) {
  Server s;
  s.serve(disk(1u << 20), false);
  s.feed(command(Command::read, 1, 1u << 20, 512));
  EXPECT_BYTES(s.sent(), simple(Error::einval, 1));
  s.session.on_resized(2u << 20);
  s.feed(command(Command::read, 2, 1u << 20, 512));
  EXPECT_EQ(s.effects.requests.size(), 1u);
}

TEST(Bounds, the_number_of_requests_in_flight) {
  Server s({.max_in_flight_requests = 4});
  s.serve(disk(), false);
  std::string in;
  for (std::uint64_t i = 0; i < 10; ++i) in += command(Command::cache, i, 0, 512);
  s.feed(in);
  EXPECT_EQ(s.effects.requests.size(), 4u);
  EXPECT_TRUE(s.session.receive_buffer().empty());
  for (std::size_t done = 0; done < 10; ++done) {
    ASSERT_GT(s.effects.requests.size(), done) << "each reply lets one more request in";
    EXPECT_LE(s.session.in_flight(), 4u);
    s.session.reply(s.effects.requests[done].id, Status::ok, s.effects);
  }
  EXPECT_EQ(s.effects.requests.size(), 10u);
  EXPECT_FALSE(s.session.receive_buffer().empty());
}

TEST(Bounds, the_bytes_in_flight_and_unsent) {
  Server s({.max_in_flight_bytes = 1u << 20});
  s.serve(disk(16u << 20), false);
  s.feed(command(Command::read, 1, 0, 600 << 10) + command(Command::read, 2, 0, 600 << 10));
  ASSERT_EQ(s.effects.requests.size(), 1u);
  const auto first = s.effects.requests[0].id;
  s.effects.clear();
  s.session.reply(first, Status::ok, s.effects);
  EXPECT_TRUE(s.effects.requests.empty()) << "the reply is not sent yet";
  s.sent();
  EXPECT_EQ(s.effects.requests.size(), 1u);
}

TEST(Bounds, a_request_above_the_bound_is_served_alone) {
  Server s({.max_in_flight_bytes = 4096});
  s.serve(disk(16u << 20), false);
  s.feed(command(Command::read, 1, 0, 1u << 20) + command(Command::cache, 2, 0, 512));
  EXPECT_EQ(s.effects.requests.size(), 1u);
  s.session.reply(s.effects.requests[0].id, Status::io_error, s.effects);
  EXPECT_EQ(s.effects.requests.size(), 2u);
}

TEST(Bounds, errors_do_not_pile_up_when_the_client_does_not_read_them) {
  Server s({.max_in_flight_bytes = 4096});
  s.serve(disk(), false);
  std::string in;
  for (std::uint64_t i = 0; i < 4000; ++i) in += command(99, i, 0, 0);
  const std::size_t fed = s.feed(in);
  EXPECT_LT(fed, in.size());
  EXPECT_LE(s.session.output().size(), 4096u + simple_reply_size);
  std::size_t rest = fed, answered = s.sent().size();
  while (rest < in.size() || s.session.output().size() > 0) {
    rest += s.feed(std::string_view(in).substr(rest));
    answered += s.sent().size();
  }
  EXPECT_EQ(answered, 4000 * simple_reply_size);
}

TEST(Bounds, nothing_is_allocated_for_requests_in_steady_state) {
  Server s;
  s.serve(disk(), true);
  const std::string in =
      command(Command::write, 1, 0, 4096) + std::string(4096, 'w') + command(Command::read, 2, 0, 4096);
  const Slice data = s.bytes(std::string(4096, 'r'));
  std::size_t warm = 0;
  for (int round = 0; round < 1000; ++round) {
    if (round == 100) warm = allocations_made();
    s.feed(in);
    ASSERT_EQ(s.effects.requests.size(), 2u);
    const std::uint64_t ids[] = {s.effects.requests[0].id, s.effects.requests[1].id};
    s.effects.clear();
    s.session.reply(ids[0], Status::ok, s.effects);
    s.session.reply(ids[1], Status::ok, std::span(&data, 1), s.effects);
    s.session.on_sent(s.session.output().size(), s.effects);
  }
  EXPECT_EQ(allocations_made(), warm);
}

TEST(Payload, long_writes_are_received_in_place_and_aligned) {
  Server s;
  s.serve(disk(16u << 20), false);
  s.feed(command(Command::write, 1, 0, 1u << 20));
  const auto span = s.session.receive_buffer();
  EXPECT_EQ(span.size(), 1u << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(span.data()) % 4096, 0u);
  std::memset(span.data(), 'z', span.size());
  s.session.on_received(span.size(), s.effects);
  ASSERT_EQ(s.effects.requests.size(), 1u);
  EXPECT_EQ(s.effects.requests[0].data.data(), span.data());
}

TEST(Payload, survives_every_split) {
  std::string payload;
  for (int i = 0; i < 100000; ++i) payload.push_back(static_cast<char>(i * 31 + i / 251));
  const std::string in = command(Command::write, 1, 0, 100000) + payload + command(Command::write, 2, 512, 300) +
                         payload.substr(0, 300) + command(Command::flush, 3, 0, 0);
  for (const std::size_t step : {1ul, 7ul, 27ul, 28ul, 29ul, 4096ul, 65536ul, 99999ul, 1000000ul}) {
    Server s;
    s.serve(disk(), false);
    EXPECT_EQ(s.feed(in, step), in.size());
    ASSERT_EQ(s.effects.requests.size(), 3u) << step;
    EXPECT_EQ(s.effects.requests[0].data.text(), payload);
    EXPECT_EQ(s.effects.requests[1].data.text(), payload.substr(0, 300));
  }
}

}  // namespace
}  // namespace sd::nbd
