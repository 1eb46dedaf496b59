// What leaves first on a connection to another node.
#include "core/peer/link.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace sd {
namespace {

constexpr std::size_t ahead = 10;

struct Link {
  void control(std::string_view text) { out.put(text, nullptr, false, ahead); }
  void bulk(std::string_view header, std::string_view payload) {
    const Payload bytes{pool.copy_of(payload)};
    out.put(header, &bytes, true, ahead);
  }
  // What a connection that has room for n bytes takes.
  std::string send(std::size_t n) {
    std::string sent;
    for (out.fill(ahead); n > 0 && !out.queue.empty(); out.fill(ahead)) {
      std::size_t part = 0;
      out.queue.peek(1, [&](std::span<const std::byte> bytes) {
        part = std::min(n, bytes.size());
        sent.append(reinterpret_cast<const char*>(bytes.data()), part);
      });
      out.queue.consume(part);
      n -= part;
    }
    return sent;
  }

  BufferPool pool;
  OutLink out{pool};
};

TEST(OutLink, KeepsTheOrderWhileLittleIsQueued) {
  Link link;
  link.bulk("a:", "1 ");
  link.control("beat ");
  link.bulk("b:", "2 ");
  EXPECT_EQ(link.send(100), "a:1 beat b:2 ");
}

TEST(OutLink, ControlOvertakesWhatIsNotCommitted) {
  Link link;
  link.bulk("a:", "0123456789 ");
  link.bulk("b:", "1 ");
  link.bulk("c:", "2 ");
  link.control("beat ");
  link.control("log ");
  EXPECT_EQ(link.out.waiting(), 30u);
  EXPECT_EQ(link.send(100), "a:0123456789 beat log b:1 c:2 ");
  EXPECT_EQ(link.out.waiting(), 0u);
  EXPECT_EQ(link.out.appended, 30u);
}

TEST(OutLink, NothingComesIntoTheMiddleOfAFrame) {
  for (std::size_t n = 1; n < 52; ++n) {
    Link link;
    for (const char* name : {"a:", "b:", "c:", "d:"}) link.bulk(name, "0123456789 ");
    std::string sent = link.send(n);
    link.control("beat ");
    sent += link.send(1000);
    std::string rest = sent;
    const auto at = rest.find("beat ");
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(at % 13, 0u) << sent;
    EXPECT_LE(at, n + ahead + 13) << "behind what was committed and no more: " << sent;
    EXPECT_EQ(rest.erase(at, 5), "a:0123456789 b:0123456789 c:0123456789 d:0123456789 ");
  }
}

TEST(OutLink, BulkOvertakesNothing) {
  Link link;
  link.bulk("a:", "0123456789 ");
  link.bulk("b:", "1 ");
  link.control("log ");
  link.bulk("c:", "2 ");
  std::string sent = link.send(15);
  link.bulk("d:", "3 ");
  sent += link.send(100);
  EXPECT_EQ(sent, "a:0123456789 log b:1 c:2 d:3 ");
}

TEST(OutLink, ForgetsAllThatWaits) {
  Link link;
  for (int i = 0; i < 5; ++i) link.bulk("a:", "0123456789");
  link.control("beat");
  link.out.clear();
  EXPECT_EQ(link.send(100), "");
  link.bulk("b:", "1");
  EXPECT_EQ(link.send(100), "b:1");
}

}  // namespace
}  // namespace sd
