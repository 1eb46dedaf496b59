#include "core/base/out_queue.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sd {
namespace {

std::vector<std::string> segments(const OutQueue& queue, std::size_t max = 1000) {
  std::vector<std::string> out;
  queue.peek(
      max, [&](std::span<const std::byte> s) { out.emplace_back(reinterpret_cast<const char*>(s.data()), s.size()); });
  return out;
}

std::string all(const OutQueue& queue) {
  std::string out;
  for (const auto& segment : segments(queue)) out += segment;
  return out;
}

TEST(OutQueue, StartsEmpty) {
  BufferPool pool;
  OutQueue queue(pool);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(segments(queue).empty());
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(OutQueue, GathersHeadersInOneSegment) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("one");
  queue.append_copy("two");
  EXPECT_EQ(segments(queue), (std::vector<std::string>{"onetwo"}));
  EXPECT_EQ(queue.size(), 6u);
}

TEST(OutQueue, KeepsHeadersAndPayloadInOrder) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("h1");
  const Slice payload = pool.copy_of("payload");
  queue.append(payload);
  queue.append_copy("h2");
  EXPECT_EQ(segments(queue), (std::vector<std::string>{"h1", "payload", "h2"}));
}

TEST(OutQueue, DoesNotCopyPayload) {
  BufferPool pool;
  OutQueue queue(pool);
  const Slice payload = pool.copy_of("payload");
  queue.append(payload);
  queue.peek(1, [&](std::span<const std::byte> s) { EXPECT_EQ(s.data(), payload.data()); });
}

TEST(OutQueue, DropsEmptySlices) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append(Slice{});
  queue.append_copy("");
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(segments(queue).empty()) << "a gathering write of nothing would look like a closed connection";
}

TEST(OutQueue, ConsumesAcrossSegments) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("abc");
  queue.append(pool.copy_of("defg"));
  queue.append_copy("hi");
  queue.consume(5);
  EXPECT_EQ(all(queue), "fghi");
  EXPECT_EQ(queue.size(), 4u);
  queue.consume(4);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(segments(queue).empty());
}

TEST(OutQueue, GathersAfterAPartOfTheHeaderWasSent) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("abcdef");
  queue.consume(2);
  queue.append_copy("gh");
  EXPECT_EQ(segments(queue), (std::vector<std::string>{"cdefgh"}));
}

TEST(OutQueue, HeadersLargerThanOneBlockStayWhole) {
  BufferPool pool;
  OutQueue queue(pool);
  std::string large(10'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7);
  queue.append_copy("x");
  queue.append_copy(large);
  EXPECT_EQ(all(queue), "x" + large);
}

TEST(OutQueue, PeekStopsAtTheLimit) {
  BufferPool pool;
  OutQueue queue(pool);
  for (const char* part : {"a", "b", "c"}) queue.append(pool.copy_of(part));
  EXPECT_EQ(segments(queue, 2), (std::vector<std::string>{"a", "b"}));
  std::vector<Slice> slices;
  EXPECT_EQ(queue.peek_slices(2, slices), 2u);
  EXPECT_EQ(slices.size(), 2u);
}

// A sender may still have the bytes in the kernel while the queue is cleared because the stream closed.
TEST(OutQueue, PeekedSlicesOutliveTheQueueEntries) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("header");
  queue.append(pool.copy_of("payload"));
  std::vector<Slice> slices;
  queue.peek_slices(10, slices);
  queue.clear();
  for (int i = 0; i < 10; ++i) queue.append_copy("overwriting the gathered headers");
  EXPECT_EQ(slices[0].text(), "header");
  EXPECT_EQ(slices[1].text(), "payload");
}

// While a write of the front is under way, more headers are appended to the same block.
TEST(OutQueue, AppendingDoesNotChangeBytesBeingSent) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("first");
  std::vector<Slice> sending;
  queue.peek_slices(10, sending);
  queue.append_copy("second");
  EXPECT_EQ(sending[0].text(), "first");
  queue.consume(5);
  EXPECT_EQ(all(queue), "second");
}

TEST(OutQueue, GivesBackItsBlocks) {
  BufferPool pool;
  {
    OutQueue queue(pool);
    for (int i = 0; i < 1000; ++i) {
      queue.append_copy("header");
      queue.append(pool.copy_of("payload"));
    }
    queue.consume(queue.size() - 1);
    EXPECT_LE(pool.outstanding(), 3u) << "sent payload is released at once, not when the queue runs empty";
  }
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(OutQueue, ClearForgetsEverything) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("abc");
  queue.append(pool.copy_of("def"));
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(pool.outstanding(), 0u);
  queue.append_copy("new");
  EXPECT_EQ(all(queue), "new");
}

TEST(OutQueueDeath, OnlyQueuedBytesCanHaveBeenSent) {
  BufferPool pool;
  OutQueue queue(pool);
  queue.append_copy("abc");
  EXPECT_DEATH(queue.consume(4), "only queued bytes");
}

}  // namespace
}  // namespace sd
