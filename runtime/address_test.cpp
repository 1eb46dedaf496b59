#include "runtime/address.hpp"

#include <gtest/gtest.h>

namespace sd::runtime {
namespace {

TEST(Address, IsReadAsPeopleWriteIt) {
  EXPECT_EQ(parse_address("10.0.0.1:7010", std::nullopt).value(), Endpoint::v4(10, 0, 0, 1, 7010));
  EXPECT_EQ(parse_address("10.0.0.1", 7000).value(), Endpoint::v4(10, 0, 0, 1, 7000));
  EXPECT_EQ(parse_address("localhost:1", std::nullopt).value(), Endpoint::v4(127, 0, 0, 1, 1));
  Endpoint v6;
  v6.address[15] = 1;
  v6.port = 7000;
  EXPECT_EQ(parse_address("[::1]:7000", std::nullopt).value(), v6);
  v6.address[0] = 0xfe;
  v6.address[1] = 0x80;
  EXPECT_EQ(parse_address("fe80::1", 7000).value(), v6);
  for (const char* bad : {"", ":7000", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:7x", "[::1",
                          "[::1]x", "no such host:1"})
    EXPECT_FALSE(parse_address(bad, std::nullopt)) << bad;
}

TEST(Address, SurvivesTheSocketForm) {
  for (const char* text : {"10.1.2.3:7000", "[fe80::1]:9"}) {
    const Endpoint endpoint = parse_address(text, std::nullopt).value();
    sockaddr_storage storage;
    to_socket_address(endpoint, storage);
    EXPECT_EQ(from_socket_address(reinterpret_cast<const sockaddr&>(storage)), endpoint);
  }
}

TEST(Address, KnowsTheSpecialOnes) {
  EXPECT_TRUE(is_loopback(parse_address("127.3.2.1:1", std::nullopt).value()));
  EXPECT_TRUE(is_loopback(parse_address("[::1]:1", std::nullopt).value()));
  EXPECT_FALSE(is_loopback(Endpoint::v4(10, 0, 0, 1, 1)));
  EXPECT_TRUE(is_unspecified(parse_address("0.0.0.0:1", std::nullopt).value()));
  EXPECT_TRUE(is_unspecified(parse_address("[::]:1", std::nullopt).value()));
}

}  // namespace
}  // namespace sd::runtime
