#include "sim/network.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace sd::sim {
namespace {

// A process that keeps what it receives, up to `room` bytes at a time.
struct Peer : Host {
  explicit Peer(BufferPool& buffers) : pool(buffers) {}
  StreamId accept(Service) override {
    if (refuse) return 0;
    streams.emplace(++next, pool);
    return next;
  }
  void dialed(StreamId stream, DialResult result) override { results[stream] = result; }
  std::span<std::byte> receive_buffer(StreamId) override {
    return std::span(buffer).first(std::min(room, buffer.size()));
  }
  void received(StreamId stream, std::size_t bytes) override {
    text[stream].append(reinterpret_cast<const char*>(buffer.data()), bytes);
    pieces.push_back(bytes);
    room -= bytes;
  }
  OutQueue* output(StreamId stream) override {
    const auto at = streams.find(stream);
    return at == streams.end() ? nullptr : &at->second;
  }
  void drained(StreamId) override { ++drains; }
  void closed(StreamId stream) override {
    ++closes;
    streams.erase(stream);
  }

  BufferPool& pool;
  StreamId next = 100;
  std::map<StreamId, OutQueue> streams;
  std::map<StreamId, DialResult> results;
  std::map<StreamId, std::string> text;
  std::vector<std::size_t> pieces;
  std::array<std::byte, 4096> buffer{};
  std::size_t room = SIZE_MAX;
  int drains = 0, closes = 0;
  bool refuse = false;
};

struct Fixture {
  explicit Fixture(std::uint64_t seed = 1) : decisions(seed), network(events, decisions, hash, {}), a(pool), b(pool) {
    network.add_machine();
    network.add_machine();
    network.process_started(0, &a);
    network.process_started(1, &b);
  }
  ~Fixture() { network.drop_everything(); }
  void run_until(Time end) {
    while (!events.empty() && events.next_at() <= end) {
      const Event event = events.pop();
      now = event.at;
      network.handle(event, now);
    }
    now = end;
    network.set_now(end);
  }
  void run(Time span) { run_until(now + span); }
  StreamId connect() {
    a.streams.emplace(++a.next, pool);
    network.dial(0, a.next, 1, Service::peer);
    run(milliseconds(10));
    return a.next;
  }
  void send(StreamId stream, const std::string& text) {
    a.streams.at(stream).append_copy(text);
    network.send(0, stream);
  }
  std::string received() const { return b.text.empty() ? "" : b.text.begin()->second; }

  BufferPool pool;
  EventQueue events;
  Decisions decisions;
  TraceHash hash;
  Network network;
  Peer a, b;
  Time now = 0;
};

std::string long_text(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + i * 7 % 26);
  return text;
}

TEST(Network, BytesArriveWholeAndInOrder) {
  Fixture f;
  f.network.config.split_per_thousand = 500;
  const StreamId s = f.connect();
  EXPECT_EQ(f.a.results[s], DialResult::connected);
  const std::string text = long_text(50'000);
  for (std::size_t at = 0; at < text.size(); at += 5000) f.send(s, text.substr(at, 5000));
  f.run(seconds(1));
  EXPECT_EQ(f.received(), text);
  EXPECT_GE(f.a.drains, 1);
  EXPECT_GT(f.b.pieces.size(), 15u) << "pieces of any size";
}

TEST(Network, AReceiverThatDoesNotReadStopsTheSender) {
  Fixture f;
  f.network.config.window = 10'000;
  const StreamId s = f.connect();
  f.b.room = 0;
  f.send(s, long_text(50'000));
  f.run(seconds(1));
  EXPECT_EQ(f.a.streams.at(s).size(), 40'000u);
  f.b.room = SIZE_MAX;
  f.network.resume(1, f.b.streams.begin()->first);
  f.run(seconds(1));
  EXPECT_EQ(f.received(), long_text(50'000));
}

TEST(Network, ABlockedPathStallsAndLosesNothing) {
  Fixture f;
  const StreamId s = f.connect();
  f.network.set_blocked(0, 1, true);
  f.send(s, "hello");
  f.run(seconds(5));
  EXPECT_EQ(f.received(), "");
  EXPECT_EQ(f.a.closes, 0);
  f.network.set_blocked(0, 1, false);
  f.run(seconds(1));
  EXPECT_EQ(f.received(), "hello");
}

TEST(Network, WhatWasStalledMayArriveBehindWhatANewConnectionBrings) {
  int overtaken = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Fixture f(seed);
    f.network.config.late_resume = true;
    const StreamId stalled = f.connect();
    f.network.set_blocked(0, 1, true);
    f.send(stalled, "old ");
    f.network.close(0, stalled);
    f.run(seconds(5));
    f.network.set_blocked(0, 1, false);
    f.send(f.connect(), "new ");
    f.run(milliseconds(10));
    overtaken += f.received() == "new ";
    f.run(seconds(5));
    EXPECT_EQ(f.received(), "old ") << "nothing is lost, and it takes no longer than the stall";
    EXPECT_EQ(f.b.text.size(), 2u);
  }
  EXPECT_GT(overtaken, 10);
}

TEST(Network, WithTheWayBackBlockedTheWindowFills) {
  Fixture f;
  f.network.config.window = 1000;
  const StreamId s = f.connect();
  f.network.set_blocked(1, 0, true);
  f.send(s, long_text(5000));
  f.run(seconds(1));
  EXPECT_EQ(f.received().size(), 1000u);
  f.network.set_blocked(1, 0, false);
  f.run(seconds(1));
  EXPECT_EQ(f.received(), long_text(5000));
}

TEST(Network, ANarrowPathCarriesSoMuchWhateverTheNumberOfConnections) {
  Fixture f;
  const StreamId s = f.connect(), t = f.connect();
  f.network.set_narrow(0, 1, 100);
  f.send(s, long_text(50 << 10));
  f.send(t, long_text(50 << 10));
  const auto arrived = [&] {
    std::size_t sum = 0;
    for (const auto& [stream, text] : f.b.text) sum += text.size();
    return sum;
  };
  f.run(milliseconds(900));
  EXPECT_GT(arrived(), 80u << 10);
  EXPECT_LT(arrived(), 100u << 10);
  f.run(milliseconds(110));
  EXPECT_EQ(arrived(), 100u << 10);
}

TEST(Network, DiallingTellsARefusalFromSilence) {
  Fixture f;
  f.network.process_died(1);
  EXPECT_EQ(f.a.results[f.connect()], DialResult::refused);
  f.network.power_lost(1);
  const StreamId s = f.connect();
  f.run(seconds(5));
  EXPECT_EQ(f.a.results[s], DialResult::failed);
  f.network.power_back(1);
  f.network.process_started(1, &f.b);
  f.network.set_blocked(1, 0, true);
  const StreamId t = f.connect();
  f.run(seconds(5));
  EXPECT_EQ(f.a.results[t], DialResult::failed);
}

TEST(Network, ADeadProcessResetsItsStreams) {
  Fixture f;
  const StreamId s = f.connect();
  f.send(s, "hello");
  f.network.process_died(0);
  f.run(seconds(1));
  EXPECT_EQ(f.b.closes, 1);
  EXPECT_EQ(f.network.connections(), 0u);
}

TEST(Network, AMachineWithoutPowerIsSilentUntilItIsBackAndAsked) {
  Fixture f;
  const StreamId s = f.connect();
  f.network.power_lost(1);
  f.send(s, "hello");
  f.run(seconds(10));
  EXPECT_EQ(f.a.closes, 0) << "half-open";
  f.network.power_back(1);
  f.run(seconds(10));
  EXPECT_EQ(f.a.closes, 1);
}

TEST(Network, ClosingSendsWhatIsQueuedFirst) {
  Fixture f;
  f.network.config.window = 100;
  const StreamId s = f.connect();
  f.send(s, long_text(5000));
  f.network.close(0, s);
  f.a.streams.erase(s);
  f.run(seconds(1));
  EXPECT_EQ(f.received(), long_text(5000));
  EXPECT_EQ(f.b.closes, 1);
  EXPECT_EQ(f.network.connections(), 0u);
}

TEST(Network, APausedProcessHearsEverythingLater) {
  Fixture f;
  f.network.pause(1, f.now + seconds(3));
  const StreamId s = f.connect();
  EXPECT_EQ(f.a.results[s], DialResult::connected) << "its kernel answers";
  f.send(s, "hello");
  f.run(seconds(2));
  EXPECT_EQ(f.received(), "");
  f.run(seconds(2));
  EXPECT_EQ(f.received(), "hello");
}

TEST(Network, AProcessThatRefusesClosesTheConnection) {
  Fixture f;
  f.b.refuse = true;
  f.connect();
  f.run(seconds(1));
  EXPECT_EQ(f.a.closes, 1);
}

TEST(Network, GivesEveryBufferBack) {
  BufferPool* pool = nullptr;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Fixture f(seed);
    pool = &f.pool;
    const StreamId s = f.connect();
    f.send(s, long_text(100'000));
    f.run(microseconds(100 * seed));
    if (seed % 2)
      f.network.process_died(1);
    else
      f.network.power_lost(0);
    f.run(seconds(1));
    f.network.drop_everything();
    f.a.streams.clear();
    f.b.streams.clear();
    EXPECT_EQ(pool->outstanding(), 0u);
  }
}

}  // namespace
}  // namespace sd::sim
