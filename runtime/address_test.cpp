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

class Guess : public testing::Test {
 protected:
  static OwnAddress at(const std::string& interface, const std::string& address) {
    return {interface, parse_address(address, 0).value()};
  }
  static std::expected<OwnAddress, std::string> guess(const std::vector<OwnAddress>& own, bool has_seeds = true) {
    return guess_address(own, 7000, has_seeds);
  }
};

TEST_F(Guess, IsTheOnlyRealAddress) {
  const auto found = guess({at("virbr0", "192.168.122.1"), at("docker0", "172.17.0.1"), at("eth0", "fd00::2"),
                            at("br-1a2b", "172.18.0.1"), at("eth0", "10.0.0.1"), at("tun0", "10.8.0.1")});
  ASSERT_TRUE(found) << found.error();
  EXPECT_EQ(found->interface, "eth0");
  EXPECT_EQ(found->endpoint, Endpoint::v4(10, 0, 0, 1, 7000)) << "IPv4 before IPv6";
  EXPECT_EQ(guess({at("bridge0", "fd00::2")})->endpoint, parse_address("[fd00::2]:7000", std::nullopt).value());
}

TEST_F(Guess, IsRefusedIfItCouldBeOneOfSeveral) {
  const auto refused = guess({at("eth0", "10.0.0.1"), at("eth1", "192.168.1.5"), at("docker0", "172.17.0.1")}, false);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("10.0.0.1 (eth0), 192.168.1.5 (eth1)"), std::string::npos) << refused.error();
  EXPECT_EQ(refused.error().find("docker0"), std::string::npos) << refused.error();
  EXPECT_NE(refused.error().find("--advertise"), std::string::npos) << refused.error();
}

TEST_F(Guess, IsNoVirtualAddressButNamesThem) {
  for (const bool has_seeds : {false, true}) {
    const auto refused = guess({at("docker0", "172.17.0.1"), at("br-ex", "10.0.0.1")}, has_seeds);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().find("172.17.0.1 (docker0), 10.0.0.1 (br-ex)"), std::string::npos) << refused.error();
  }
}

TEST_F(Guess, IsThisMachineAloneOnlyForANodeWithoutSeeds) {
  EXPECT_EQ(guess({}, false)->endpoint, Endpoint::v4(127, 0, 0, 1, 7000));
  EXPECT_FALSE(guess({}, true));
}

}  // namespace
}  // namespace sd::runtime
