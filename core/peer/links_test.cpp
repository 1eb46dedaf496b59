// Links over a transport that fails in every way, judged by what the other ends receive.
#include "core/peer/links.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/base/limits.hpp"
#include "core/base/random.hpp"
#include "core/peer/receiver.hpp"

namespace sd {
namespace {

Endpoint address(std::uint32_t n) {
  return Endpoint::v4(10, 0, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n), 7001);
}

// Connections as the driver sees them, and what has arrived at their other ends.
class Wire final : public Links::Transport {
 public:
  struct Connection {
    explicit Connection(const Endpoint& address, BufferPool& pool) : to(address), receiver(pool) {}
    Endpoint to;
    bool up = false;
    peer::Receiver receiver;
    bool greeted = false;
    std::uint64_t control = 0, bulk = 0;  // the newest number of each class
  };
  explicit Wire(BufferPool& pool) : pool_(pool) {}

  StreamId dial(const Endpoint& to) override {
    for (const auto& [number, other] : open) EXPECT_NE(other.to, to) << "one connection to an address";
    open.emplace(++last_, Connection(to, pool_));
    return last_;
  }
  void close(StreamId stream) override { EXPECT_EQ(open.erase(stream), 1u) << "a connection is closed once"; }
  void has_output(StreamId stream) override {
    ASSERT_TRUE(open.contains(stream));
    EXPECT_TRUE(open.at(stream).up) << "nothing is sent before the connection stands";
  }
  void hello(Incarnation asked_for, std::string& out) const override {
    peer::Hello hello;
    hello.node = 1;
    hello.incarnation = 7;
    if (asked_for != 0) hello.earlier = {asked_for};
    peer::encode(hello, out);
  }
  void log(std::string) override {}

  // The other end receives what fits into `room` bytes.
  void receive(Connection& at, OutQueue& queue, std::size_t room) {
    while (room > 0 && !queue.empty()) {
      std::size_t taken = 0;
      queue.peek(1, [&](std::span<const std::byte> bytes) {
        const auto buffer = at.receiver.buffer();
        taken = std::min({room, bytes.size(), buffer.size()});
        std::memcpy(buffer.data(), bytes.data(), taken);
      });
      queue.consume(taken);
      room -= taken;
      at.receiver.received(taken);
      while (auto message = at.receiver.next()) judge(at, *message);
      ASSERT_FALSE(at.receiver.error());
    }
  }

  std::map<StreamId, Connection> open;
  std::set<std::uint64_t> arrived;

 private:
  void judge(Connection& at, const peer::Message& message) {
    if (!at.greeted) {
      EXPECT_TRUE(std::holds_alternative<peer::Hello>(message)) << "a connection begins with an introduction";
      at.greeted = true;
      return;
    }
    std::uint64_t number = 0;
    std::uint64_t* newest = &at.control;
    if (const auto* lease = std::get_if<peer::LeaseRequest>(&message)) {
      number = lease->recovered;
    } else if (const auto* request = std::get_if<peer::ObjectRequest>(&message)) {
      number = request->id;
      newest = &at.bulk;
      EXPECT_EQ(total_size(request->payload), request->length);
    }
    EXPECT_GT(number, *newest) << "messages of a class keep their order";
    *newest = number;
    EXPECT_TRUE(arrived.insert(number).second) << "no message arrives twice";
  }

  BufferPool& pool_;
  StreamId last_ = 0;
};

class LinksChaos : public testing::Test {
 protected:
  void send(Links& links, std::uint32_t to, bool bulk) {
    if (bulk) {
      peer::ObjectRequest request;
      request.id = ++sent_;
      request.length = static_cast<std::uint32_t>(random.below(20000));
      if (request.length > 0) request.payload.push_back(pool.zeros(request.length));
      links.send(now, address(to), request);
    } else {
      peer::LeaseRequest lease;
      lease.recovered = ++sent_;
      links.send(now, address(to), lease);
    }
  }
  void step(Links& links, Wire& wire) {
    const std::uint64_t what = random.below(100);
    if (what < 40 || wire.open.empty()) {
      send(links, static_cast<std::uint32_t>(random.below(4)), random.below(2) == 0);
      return;
    }
    auto at = wire.open.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random.below(wire.open.size())));
    const StreamId stream = at->first;
    const Endpoint to = at->second.to;
    if (!at->second.up) {
      const auto result = static_cast<DialResult>(random.below(4) == 0 ? 1 + random.below(2) : 0);
      if (result == DialResult::connected)
        at->second.up = true;
      else
        wire.open.erase(at);  // its end, as a driver tells it
      EXPECT_EQ(links.on_dialed(now, to, stream, result), result == DialResult::refused);
      EXPECT_EQ(links.refused(to), result == DialResult::refused);
    } else if (what < 85) {
      OutQueue* queue = links.output(to, stream);
      ASSERT_NE(queue, nullptr);
      wire.receive(at->second, *queue, random.below(30000));
    } else if (what < 88) {
      wire.open.erase(at);
      links.on_closed(now, to, stream, random.below(2) == 0);
    } else if (what < 90) {
      links.show(now, to, 1 + random.below(3));
    } else if (what < 91) {
      links.introduce_anew(now);
    } else if (what < 93) {
      links.probe(now, to);
    } else {
      now += milliseconds(random.below(400));
      links.drop_stuck(now);
    }
  }

  BufferPool pool;
  Random random{1};
  Time now = seconds(1);
  std::uint64_t sent_ = 0;
};

TEST_F(LinksChaos, WhateverBreaksMessagesArriveOnceAndInOrder) {
  std::size_t arrived = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    random = Random(seed);
    Wire wire(pool);
    Links links(pool, wire, 1 + random.below(64u << 10), seconds(1));
    for (int i = 0; i < 500 && !HasFailure(); ++i) {
      step(links, wire);
      ASSERT_EQ(links.check_state(), "") << "seed " << seed;
    }
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    arrived += wire.arrived.size();
  }
  EXPECT_GT(arrived, 2000u);
}

// Anybody may say that a node is here or there.
TEST_F(LinksChaos, OnlySoManyAddressesAreKnown) {
  Wire wire(pool);
  Links links(pool, wire, 1024, seconds(1));
  send(links, 0, false);
  wire.open.begin()->second.up = true;
  links.on_dialed(now, address(0), wire.open.begin()->first, DialResult::connected);
  for (std::uint32_t i = 1; i < 3 * limits::max_members; ++i) {
    now += 1;
    send(links, i, false);
  }
  EXPECT_EQ(links.size(), 2 * limits::max_members);
  EXPECT_EQ(wire.open.size(), links.size()) << "who is forgotten is not dialled any more";
  EXPECT_TRUE(links.up(address(0))) << "a connection that stands is kept";
  EXPECT_EQ(links.check_state(), "");
}

// What is half open would hold up the cluster log for as long as it lasts.
TEST_F(LinksChaos, AConnectionThatTakesNothingIsDropped) {
  Wire wire(pool);
  Links links(pool, wire, 1024, seconds(1));
  send(links, 0, false);
  wire.open.begin()->second.up = true;
  links.on_dialed(now, address(0), wire.open.begin()->first, DialResult::connected);
  for (int i = 0; i < 12; ++i) {
    links.drop_stuck(now);
    now += milliseconds(125);
  }
  EXPECT_TRUE(wire.open.empty());
  EXPECT_FALSE(links.up(address(0)));
  now += seconds(1);
  send(links, 0, false);
  EXPECT_EQ(wire.open.size(), 1u);
}

}  // namespace
}  // namespace sd
