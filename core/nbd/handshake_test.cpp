#include <gtest/gtest.h>

#include "core/nbd/test_support.hpp"

namespace sd::nbd {
namespace {

using namespace test;

#define EXPECT_BYTES(actual, expected) EXPECT_EQ(to_hex(actual), to_hex(expected))

// Greeted, with the client's flags given.
struct HandshakeTest : ::testing::Test {
  HandshakeTest() {
    server.sent();
    server.feed(client_flags_bytes);
  }
  std::string ask(const std::string& bytes) {
    server.feed(bytes);
    return server.sent();
  }
  Server server;
};

TEST(Greeting, is_fixed_newstyle_without_zeroes) {
  Server server;
  EXPECT_BYTES(server.sent(), hex("4e42444d41474943 49484156454f5054 0003"));
}

TEST(Greeting, unknown_client_flags_close) {
  Server server;
  server.feed(hex("00000007"));
  EXPECT_TRUE(server.effects.close);
  EXPECT_TRUE(server.session.receive_buffer().empty());
}

TEST(Greeting, export_name_pads_with_zeroes_unless_waived) {
  for (const bool waived : {false, true}) {
    Server server;
    server.sent();
    server.feed(waived ? hex("00000003") : hex("00000001"));
    server.feed(hex("49484156454f5054 00000001 00000004") + "disk");
    ASSERT_EQ(server.effects.open_export, "disk");
    EXPECT_TRUE(server.effects.will_serve);
    server.session.on_export(disk(), server.effects);
    EXPECT_EQ(server.effects.opened, 7u);
    // has_flags flush fua trim write_zeroes multi_conn cache fast_zero; no DF without structured replies
    EXPECT_BYTES(server.sent(), hex("0000000000100000 0d6d") + std::string(waived ? 0 : 124, '\0'));
    EXPECT_TRUE(server.session.in_transmission());
  }
}

TEST_F(HandshakeTest, export_name_of_nothing_closes) {
  server.feed(option(Option::export_name, "none"));
  server.session.on_export(std::unexpected(Status::not_found), server.effects);
  EXPECT_TRUE(server.effects.close);
  EXPECT_BYTES(server.sent(), "");
}

TEST_F(HandshakeTest, abort_is_acknowledged_then_closed) {
  EXPECT_BYTES(ask(option(Option::abort)), hex("0003e889045565a9 00000002 00000001 00000000"));
  EXPECT_TRUE(server.effects.close);
}

TEST_F(HandshakeTest, list_names_each_export) {
  server.feed(option(Option::list));
  ASSERT_TRUE(server.effects.list_exports);
  const std::vector<std::string> names{"a", "disk", std::string("bad\0name", 8), std::string(4097, 'x')};
  server.session.on_export_list(names, server.effects);
  EXPECT_BYTES(server.sent(), hex("0003e889045565a9 00000003 00000002 00000005 00000001 61"
                                  "0003e889045565a9 00000003 00000002 00000008 00000004 6469736b"
                                  "0003e889045565a9 00000003 00000001 00000000"));
}

TEST_F(HandshakeTest, list_with_data_is_invalid) {
  EXPECT_BYTES(ask(option(Option::list, "x")), option_reply(3, OptionReply::error_invalid, "LIST takes no data"));
  EXPECT_FALSE(server.effects.list_exports);
}

TEST_F(HandshakeTest, unknown_options_and_tls_are_unsupported_and_their_data_is_skipped) {
  for (const std::uint32_t number : {0u, 4u, 5u, 11u, 12u, 0xffffffffu}) {
    EXPECT_BYTES(ask(option(number, "some data")), option_reply(number, OptionReply::error_unsupported));
  }
  EXPECT_BYTES(ask(option(Option::structured_reply)), option_reply(8, OptionReply::ack));
}

TEST_F(HandshakeTest, info_describes_and_stays_in_negotiation) {
  server.feed(option(Option::info, go_data("disk", {1, 2, 3, 77})));
  ASSERT_EQ(server.effects.open_export, "disk");
  EXPECT_FALSE(server.effects.will_serve);
  server.session.on_export(disk(), server.effects);
  EXPECT_BYTES(server.sent(), hex("0003e889045565a9 00000006 00000003 0000000c 0000 0000000000100000 0d6d"
                                  "0003e889045565a9 00000006 00000003 00000006 0001 6469736b"
                                  "0003e889045565a9 00000006 00000003 00000008 0002 61206469736b"
                                  "0003e889045565a9 00000006 00000003 0000000e 0003 00000200 00001000 02000000"
                                  "0003e889045565a9 00000006 00000001 00000000"));
  EXPECT_FALSE(server.effects.opened);
  EXPECT_FALSE(server.session.in_transmission());
}

TEST_F(HandshakeTest, go_enters_transmission) {
  ask(option(Option::structured_reply));
  server.feed(option(Option::go, go_data("disk")));
  EXPECT_TRUE(server.effects.will_serve);
  server.session.on_export(disk(), server.effects);
  EXPECT_BYTES(server.sent(), hex("0003e889045565a9 00000007 00000003 0000000c 0000 0000000000100000 0ded"
                                  "0003e889045565a9 00000007 00000001 00000000"));
  EXPECT_EQ(server.effects.opened, 7u);
  EXPECT_TRUE(server.session.in_transmission());
}

TEST_F(HandshakeTest, read_only_exports_offer_no_changes) {
  server.feed(option(Option::go, go_data("disk")));
  server.session.on_export(disk(1u << 20, true), server.effects);
  // has_flags read_only flush fua multi_conn cache
  EXPECT_BYTES(server.sent().substr(20 + 10, 2), hex("050f"));
}

TEST_F(HandshakeTest, a_size_that_is_no_multiple_of_a_sector_is_served_by_bytes) {
  server.feed(option(Option::go, go_data("disk", {3})));
  server.session.on_export(disk(1000), server.effects);
  EXPECT_BYTES(server.sent().substr(32 + 20, 14), hex("0003 00000001 00001000 02000000"));
}

TEST_F(HandshakeTest, failed_lookups_are_told_apart) {
  const std::pair<Status, OptionReply> table[] = {{Status::not_formatted, OptionReply::error_policy},
                                                  {Status::shutting_down, OptionReply::error_shutdown},
                                                  {Status::busy, OptionReply::error_policy},
                                                  {Status::unavailable, OptionReply::error_policy}};
  for (const auto& [status, reply] : table) {
    server.feed(option(Option::go, go_data("disk")));
    server.session.on_export(std::unexpected(status), server.effects);
    EXPECT_BYTES(server.sent(), option_reply(7, reply, to_string(status)));
    EXPECT_FALSE(server.session.in_transmission());
  }
}

TEST_F(HandshakeTest, a_client_that_names_no_disk_is_told_what_to_do) {
  for (const auto& [name, text] :
       {std::pair{"nothing", "no disk has this name; `dog vdi list` shows those there are"},
        std::pair{"", "name a disk: there is a default only while there is one disk; `dog vdi list` shows them"}}) {
    server.feed(option(Option::go, go_data(name)));
    server.session.on_export(std::unexpected(Status::not_found), server.effects);
    EXPECT_BYTES(server.sent(), option_reply(7, OptionReply::error_unknown, text));
  }
}

TEST_F(HandshakeTest, malformed_options_are_invalid_and_the_next_one_is_understood) {
  ask(option(Option::structured_reply));
  const std::pair<Option, std::string> table[] = {
      {Option::go, ""},
      {Option::go, hex("00000004 6469736b")},          // no count
      {Option::go, hex("00000004 6469736b 0001")},     // a count without its entry
      {Option::go, hex("00000004 6469736b 0000 00")},  // a byte too many
      {Option::go, hex("ffffffff 6469736b 0000")},     // a name longer than the option
      {Option::go, hex("00000002 6400 0000")},         // a zero byte in a name
      {Option::go, go_data(std::string(4097, 'x'))},
      {Option::info, hex("00000000 ffff 0001")},
      {Option::structured_reply, "x"},
      {Option::set_meta_context, hex("00000000")},
      {Option::set_meta_context, hex("00000000 ffffffff")},  // queries that are not there
      {Option::set_meta_context, hex("00000000 00000001 00000005 61")},
      {Option::set_meta_context, hex("00000000 00000000 00")},
      {Option::list_meta_context, ""},
  };
  for (const auto& [number, data] : table) {
    const std::string out = ask(option(number, data));
    ASSERT_GE(out.size(), 20u) << to_hex(data);
    EXPECT_BYTES(out.substr(0, 16),
                 hex("0003e889045565a9") +
                     option_reply(static_cast<std::uint32_t>(number), OptionReply::error_invalid).substr(8, 8));
    EXPECT_FALSE(server.effects.open_export) << to_hex(data);
  }
  EXPECT_BYTES(ask(option(Option::structured_reply)), option_reply(8, OptionReply::ack));
}

TEST_F(HandshakeTest, contexts_need_structured_replies) {
  for (const auto number : {Option::set_meta_context, Option::list_meta_context})
    EXPECT_BYTES(ask(option(number, context_data("disk", {"base:allocation"}))),
                 option_reply(static_cast<std::uint32_t>(number), OptionReply::error_invalid,
                              "negotiate structured replies first"));
}

TEST_F(HandshakeTest, contexts_are_selected_by_exact_name_and_listed_by_namespace) {
  ask(option(Option::structured_reply));
  struct Case {
    Option number;
    std::initializer_list<std::string_view> queries;
    bool found;
  };
  const Case table[] = {
      {Option::set_meta_context, {"base:allocation"}, true},
      {Option::set_meta_context, {"x:y", "base:allocation", "base:allocation"}, true},
      {Option::set_meta_context, {}, false},
      {Option::set_meta_context, {"base:"}, false},
      {Option::set_meta_context, {"qemu:dirty-bitmap:x"}, false},
      {Option::list_meta_context, {}, true},
      {Option::list_meta_context, {"base:"}, true},
      {Option::list_meta_context, {"base:allocation"}, true},
      {Option::list_meta_context, {"base:other", "qemu:"}, false},
  };
  for (const auto& [number, queries, found] : table) {
    server.feed(option(number, context_data("disk", queries)));
    ASSERT_EQ(server.effects.open_export, "disk");
    EXPECT_FALSE(server.effects.will_serve);
    server.session.on_export(disk(), server.effects);
    const auto n = static_cast<std::uint32_t>(number);
    std::string expected;
    if (found)
      expected = option_reply(n, OptionReply::meta_context,
                              hex(number == Option::set_meta_context ? "00000001" : "00000000") + "base:allocation");
    EXPECT_BYTES(server.sent(), expected + option_reply(n, OptionReply::ack));
  }
}

TEST_F(HandshakeTest, a_context_counts_only_for_the_export_it_was_selected_for) {
  for (const bool same : {true, false}) {
    Server s;
    s.feed(client_flags_bytes);
    s.feed(option(Option::structured_reply));
    s.feed(option(Option::set_meta_context, context_data(same ? "disk" : "other", {"base:allocation"})));
    s.session.on_export(disk(), s.effects);
    s.feed(option(Option::go, go_data("disk")));
    s.session.on_export(disk(), s.effects);
    s.feed(command(Command::block_status, 1, 0, 4096));
    EXPECT_EQ(s.effects.requests.size(), same ? 1u : 0u);
  }
}

TEST_F(HandshakeTest, a_failed_selection_leaves_nothing_selected) {
  ask(option(Option::structured_reply));
  server.feed(option(Option::set_meta_context, context_data("disk", {"base:allocation"})));
  server.session.on_export(disk(), server.effects);
  server.feed(option(Option::set_meta_context, "garbage"));
  server.feed(option(Option::go, go_data("disk")));
  server.session.on_export(disk(), server.effects);
  server.feed(command(Command::block_status, 1, 0, 4096));
  EXPECT_TRUE(server.effects.requests.empty());
}

TEST_F(HandshakeTest, nothing_is_read_while_an_answer_is_awaited_and_staged_options_follow_it) {
  const std::string both = option(Option::list) + option(Option::info, go_data("disk"));
  EXPECT_EQ(server.feed(both), both.size());
  EXPECT_TRUE(server.effects.list_exports);
  EXPECT_FALSE(server.effects.open_export);
  EXPECT_TRUE(server.session.receive_buffer().empty());
  server.session.on_export_list({}, server.effects);
  EXPECT_EQ(server.effects.open_export, "disk");
}

TEST_F(HandshakeTest, wrong_magic_closes) {
  server.feed(hex("49484156454f5055 00000003 00000000"));
  EXPECT_TRUE(server.effects.close);
}

TEST_F(HandshakeTest, too_much_option_data_closes_before_it_is_read) {
  server.feed(hex("49484156454f5054 00000063 00008000") + std::string(max_option_data, 'x'));
  EXPECT_FALSE(server.effects.close);
  server.feed(hex("49484156454f5054 00000063 00008001"));
  EXPECT_TRUE(server.effects.close);
}

TEST_F(HandshakeTest, the_number_of_options_is_bounded) {
  for (std::uint32_t i = 0; i < max_options; ++i) ask(option(99));
  EXPECT_FALSE(server.effects.close);
  ask(option(99));
  EXPECT_TRUE(server.effects.close);
}

TEST_F(HandshakeTest, options_wait_while_long_replies_are_unsent) {
  const std::vector<std::string> names(5000, std::string(255, 'n'));
  server.feed(option(Option::list));
  server.session.on_export_list(names, server.effects);
  server.effects.clear();
  EXPECT_TRUE(server.session.receive_buffer().empty());
  server.sent();
  server.feed(option(Option::list));
  EXPECT_TRUE(server.effects.list_exports);
}

TEST(Splitting, options_may_arrive_byte_by_byte) {
  Server server;
  server.sent();
  server.feed(std::string(client_flags_bytes) + option(99, "abc") + option(Option::structured_reply) +
                  option(Option::go, go_data("disk")),
              1);
  EXPECT_EQ(server.effects.open_export, "disk");
  EXPECT_BYTES(server.sent(), option_reply(99, OptionReply::error_unsupported) + option_reply(8, OptionReply::ack));
}

}  // namespace
}  // namespace sd::nbd
