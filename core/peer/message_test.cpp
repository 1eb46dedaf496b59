#include "core/peer/message.hpp"

#include <gtest/gtest.h>

#include "core/base/crc32c.hpp"
#include "core/base/limits.hpp"
#include "core/peer/receiver.hpp"

namespace sd::peer {
namespace {

class PeerMessage : public testing::Test {
 protected:
  BufferPool pool;

  std::string frame(const Message& message) {
    std::string bytes;
    encode(message, bytes);
    if (const Payload* payload = payload_of(message))
      for (const Slice& slice : *payload) bytes.append(slice.text());
    return bytes;
  }
  // What comes behind an introduction.
  std::vector<Message> receive(const std::string& behind, std::size_t step,
                               std::optional<FrameError>* error = nullptr) {
    auto messages = receive_from_stranger(frame(Hello{1, 0, 2, 3, {}, {}}) + behind, step, error);
    EXPECT_FALSE(messages.empty());
    if (!messages.empty()) messages.erase(messages.begin());
    return messages;
  }
  std::vector<Message> receive_from_stranger(const std::string& bytes, std::size_t step,
                                             std::optional<FrameError>* error = nullptr) {
    Receiver receiver(pool);
    std::vector<Message> messages;
    for (std::size_t at = 0; at < bytes.size() && !receiver.error();) {
      const auto buffer = receiver.buffer();
      const std::size_t n = std::min({buffer.size(), bytes.size() - at, step});
      std::memcpy(buffer.data(), bytes.data() + at, n);
      receiver.received(n);
      at += n;
      while (auto message = receiver.next()) messages.push_back(std::move(*message));
    }
    if (error) *error = receiver.error();
    return messages;
  }
  ObjectRequest a_write(std::size_t size) {
    ObjectRequest request;
    request.id = 7;
    request.op = ObjectRequest::Op::write;
    request.vid = 0x7c2b25;
    request.generation = 12;
    request.oid = Oid::data(0x7c2b25, 3);
    request.version = {12 << 16, 9};
    request.previous = {12 << 16, 8};
    request.offset = 4096;
    request.length = static_cast<std::uint32_t>(size);
    request.payload.push_back(pool.zeros(size));
    request.payload.front().mutable_data()[size - 1] = std::byte{0x5a};
    return request;
  }
};

TEST_F(PeerMessage, ArrivesWholeHoweverTheStreamIsCut) {
  const std::string bytes = frame(Hello{1, 0, 2, 3, Endpoint::v4(127, 0, 0, 1, 7000), {7, 8}}) +
                            frame(a_write(70'000)) + frame(LeaseRequest{4, 5, 6, {7, 8}});
  for (const std::size_t step : {1ul, 23ul, 24ul, 4096ul, 65'536ul, 1'000'000ul}) {
    const auto messages = receive(bytes, step);
    ASSERT_EQ(messages.size(), 3u) << step;
    const auto& write = std::get<ObjectRequest>(messages[1]);
    EXPECT_EQ(write.version, (Version{12 << 16, 9}));
    ASSERT_EQ(write.payload.size(), 1u);
    EXPECT_EQ(write.payload.front().data()[69'999], std::byte{0x5a});
    EXPECT_EQ(std::get<LeaseRequest>(messages[2]).purged, (std::vector<Vid>{7, 8}));
  }
}

TEST_F(PeerMessage, WhatARepairHasReadComesBackAsItWas) {
  ObjectReply reply;
  reply.id = 4;
  reply.exists = true;
  reply.read = {1024, 3, 2, 1};
  GatewayRequest request;
  request.op = GatewayRequest::Op::check;
  request.length = 65'536;
  const auto messages = receive(frame(reply) + frame(request), 4096);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(std::get<ObjectReply>(messages[0]).read, reply.read);
  EXPECT_EQ(std::get<GatewayRequest>(messages[1]).op, request.op);
}

TEST_F(PeerMessage, LargePayloadIsReceivedOnAPageBoundary) {
  const auto messages = receive(frame(a_write(1u << 20)), 1u << 20);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(std::get<ObjectRequest>(messages[0]).payload.front().data()) % 4096, 0u);
}

TEST_F(PeerMessage, AnyFlippedBitIsNoticed) {
  const std::string good = frame(a_write(512));
  for (std::size_t bit = 0; bit < good.size() * 8; bit += 5) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    std::optional<FrameError> error;
    const auto messages = receive(bad, 1000, &error);
    EXPECT_TRUE(messages.empty() && error) << "bit " << bit;
  }
}

TEST_F(PeerMessage, OversizeFramesAreRefusedBeforeAnythingIsAllocated) {
  std::string bytes = frame(Hello{});
  bytes[12] = bytes[13] = bytes[14] = bytes[15] = '\xff';
  const std::uint32_t crc = crc32c(bytes.data(), frame_header_size - 4);
  std::memcpy(bytes.data() + frame_header_size - 4, &crc, 4);
  std::optional<FrameError> error;
  receive(bytes, 1000, &error);
  EXPECT_EQ(error, FrameError::too_large);
}

TEST_F(PeerMessage, AStrangerMustIntroduceItselfBeforeAnythingIsAllocatedForIt) {
  const auto before = pool.outstanding();
  std::optional<FrameError> error;
  const auto messages = receive_from_stranger(frame(a_write(1u << 20)).substr(0, frame_header_size), 1000, &error);
  EXPECT_TRUE(messages.empty());
  EXPECT_EQ(error, FrameError::not_introduced);
  EXPECT_EQ(pool.outstanding(), before);
}

TEST_F(PeerMessage, RangesOutsideAnObjectAreMalformed) {
  ObjectRequest request = a_write(512);
  request.payload.clear();
  request.offset = limits::object_size - 100;
  std::optional<FrameError> error;
  receive(frame(request), 1000, &error);
  EXPECT_EQ(error, FrameError::malformed);
}

}  // namespace
}  // namespace sd::peer
