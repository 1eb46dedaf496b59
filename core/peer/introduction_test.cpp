#include "core/peer/introduction.hpp"

#include <gtest/gtest.h>

namespace sd::peer {
namespace {

class Introduction : public testing::Test {
 protected:
  Listener self{1, 77, 66, 5, {}};
  Hello hello{77, 0, 2, 5, Endpoint::v4(10, 0, 0, 2, 7000), {4, 3}};
  std::string why;

  void refused(std::string_view reason, Welcome how = Welcome::no) {
    EXPECT_EQ(welcome(self, &hello, why), how);
    EXPECT_NE(why.find(reason), std::string::npos) << why;
  }
};

TEST_F(Introduction, ANodeOfTheSameClusterIsWelcome) { EXPECT_EQ(welcome(self, &hello, why), Welcome::yes); }

TEST_F(Introduction, ANodeThatHasYetToJoinIsWelcome) {
  hello.group = 0;
  EXPECT_EQ(welcome(self, &hello, why), Welcome::yes);
  hello.group = 77;
  self.group = 0;
  EXPECT_EQ(welcome(self, &hello, why), Welcome::yes);
}

TEST_F(Introduction, AStrangerIsToldFromANode) {
  EXPECT_EQ(welcome(self, nullptr, why), Welcome::no);
  EXPECT_NE(why.find("introduced itself wrongly"), std::string::npos);
  hello.node = 0;
  refused("introduced itself wrongly");
}

TEST_F(Introduction, ACopyOfTheDataDirectoryIsRefused) {
  hello.node = 1;
  refused("own identity");
}

TEST_F(Introduction, ANodeOfAnotherClusterIsRefused) {
  hello.group = 88;
  refused("another cluster");
}

TEST_F(Introduction, ANodeOfTheReplacedConfigurationIsRefused) {
  hello.group = 66;
  refused("has replaced");
}

TEST_F(Introduction, ANodeWhoseClusterWasReplacedHasToGo) {
  hello.group = 99;
  hello.replaced_group = 77;
  refused("no part", Welcome::superseded);
}

TEST_F(Introduction, AnEarlierIncarnationIsRefused) {
  const Incarnation over[] = {4, 3};
  self.past_incarnations = over;
  EXPECT_EQ(welcome(self, &hello, why), Welcome::yes);
  hello = {77, 0, 2, 4, hello.address, {3}};
  refused("earlier incarnation");
}

TEST_F(Introduction, ADiskThatHasSeenTheKnownIncarnationMayHaveRestartedSince) {
  hello.incarnation = 7;
  hello.earlier = {6, 5, 4};
  EXPECT_EQ(welcome(self, &hello, why), Welcome::yes);
}

TEST_F(Introduction, ADiskThatHasNotSeenTheKnownIncarnationIsOldHoweverOftenItWasStarted) {
  hello.incarnation = 9;
  hello.earlier = {8, 7, 4};
  refused("restored from a backup", Welcome::old_disk);
  self.known_incarnation = 0;
  EXPECT_EQ(welcome(self, &hello, why), Welcome::yes);
}

TEST_F(Introduction, AnotherVersionOfTheProtocolIsRefusedByName) {
  std::string bytes;
  encode(hello, bytes);
  bytes[4] = static_cast<char>(protocol_version + 1);
  FrameHeader header;
  const auto error = decode_frame_header(std::as_bytes(std::span(bytes).first(frame_header_size)), header);
  ASSERT_TRUE(error);
  EXPECT_EQ(*error, FrameError::bad_version);
  EXPECT_NE(to_string(*error).find("version"), std::string::npos);
}

}  // namespace
}  // namespace sd::peer
