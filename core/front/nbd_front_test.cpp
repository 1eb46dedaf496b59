// What stands between NBD sessions and disks: which disk an export means, who waits, what is abandoned.
#include "core/front/nbd_front.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/nbd/client.hpp"

namespace sd::front {
namespace {

class FakeHost final : public Host {
 public:
  const cluster::State& state() const override { return state_; }
  bool knows_disks(Time) override { return knows; }
  std::uint64_t submit(const Ticket& ticket, IoRequest&& io) override {
    requests.emplace_back(ticket, std::move(io));
    return requests.size();
  }
  void abandon(const Front&, StreamId stream) override { abandoned.push_back(stream); }

  void apply(cluster::CommandBody body) { state_.apply(state_.applied + 1, {9, 1, 0, std::move(body)}); }
  void create(const std::string& name) {
    cluster::CreateVdi create;
    create.name = name;
    create.size = 64u << 20;
    apply(create);
  }

  bool knows = true;
  std::vector<std::pair<Ticket, IoRequest>> requests;
  std::vector<StreamId> abandoned;

 private:
  cluster::State state_;
};

// A client on a stream of the front.
class Peer {
 public:
  Peer(NbdFront& front, BufferPool& pool, StreamId stream, const std::string& name)
      : front_(front), stream_(stream), client(options(name), pool) {
    front_.open(stream_, fx_);
    carry(0);
  }
  // Until nothing is left to be carried.
  void carry(Time now) {
    for (bool moved = true; moved;) {
      moved = carry(
          *front_.output(stream_), [&] { return client.receive_buffer(); },
          [&](std::size_t n) { client.on_received(n, done); });
      moved |= carry(
          const_cast<OutQueue&>(client.output()), [&] { return front_.receive_buffer(stream_); },
          [&](std::size_t n) { front_.on_received(now, stream_, n, fx_); });
    }
  }

 private:
  static nbd::ClientOptions options(const std::string& name) {
    nbd::ClientOptions o;
    o.export_name = name;
    return o;
  }
  static bool carry(OutQueue& from, auto&& buffer, auto&& received) {
    bool moved = false;
    while (!from.empty()) {
      const auto to = buffer();
      if (to.empty()) break;
      std::size_t n = 0;
      from.peek(1, [&](std::span<const std::byte> bytes) {
        n = std::min(bytes.size(), to.size());
        std::memcpy(to.data(), bytes.data(), n);
      });
      from.consume(n);
      received(n);
      moved = true;
    }
    return moved;
  }

  NbdFront& front_;
  StreamId stream_;
  StreamEffects fx_;

 public:
  nbd::Client client;
  nbd::ClientEffects done;
};

class NbdFrontTest : public ::testing::Test {
 protected:
  NbdFrontTest() {
    cluster::Member member;
    member.id = 9;
    member.incarnation = 1;
    member.address = Endpoint::v4(10, 0, 0, 1, 7000);
    member.vnodes = 128;
    host_.apply(cluster::Join{member});
    host_.apply(cluster::Format{1, 1, true});
    host_.create("a");
  }
  void answer(std::size_t request, Payload payload = {}) {
    IoDone done;
    done.ticket = request + 1;
    done.payload = std::move(payload);
    front_.on_io(0, host_.requests[request].first, std::move(done), fx_);
  }

  BufferPool pool_;
  FakeHost host_;
  NbdFront front_{host_, pool_, {}};
  StreamEffects fx_;
};

TEST_F(NbdFrontTest, ADiskIsAnExport) {
  Peer peer(front_, pool_, 1, "a");
  ASSERT_TRUE(peer.client.ready());
  EXPECT_EQ(peer.client.served().size, 64u << 20);
  peer.client.read(4096, 8192);
  peer.carry(0);
  ASSERT_EQ(host_.requests.size(), 1u);
  EXPECT_EQ(host_.requests[0].second.kind, IoRequest::Kind::read);
  EXPECT_EQ(host_.requests[0].second.offset, 4096u);
  answer(0);
  peer.carry(0);
  ASSERT_EQ(peer.done.completions.size(), 1u);
  EXPECT_EQ(peer.done.completions[0].status, Status::ok);
  Peer nobody(front_, pool_, 2, "b");
  EXPECT_TRUE(nobody.done.failed);
}

TEST_F(NbdFrontTest, TheEmptyNameIsTheOnlyDiskIfThereIsOne) {
  EXPECT_TRUE(Peer(front_, pool_, 1, "").client.ready());
  host_.create("b");
  EXPECT_TRUE(Peer(front_, pool_, 2, "").done.failed);
}

TEST_F(NbdFrontTest, AClientWaitsWhileTheNodeCannotTell) {
  host_.knows = false;
  Peer waits(front_, pool_, 1, "a"), gives_up(front_, pool_, 2, "a");
  front_.tick(seconds(14), fx_);
  waits.carry(seconds(14));
  EXPECT_FALSE(waits.client.ready());
  EXPECT_FALSE(waits.done.failed);
  front_.on_closed(0, 1, fx_);
  for (const Time now : {seconds(15), seconds(30)}) {  // it asks twice: for the contexts, and for the disk
    front_.tick(now, fx_);
    gives_up.carry(now);
  }
  EXPECT_TRUE(gives_up.done.failed);
  host_.knows = true;
  Peer later(front_, pool_, 3, "a");
  EXPECT_TRUE(later.client.ready());
}

// A guest that is still connected to a deleted disk must not write into the next disk of that number.
TEST_F(NbdFrontTest, AnExportIsOneDiskNotANumber) {
  Peer peer(front_, pool_, 1, "a");
  const cluster::DiskId disk = host_.state().find("a")->disk();
  host_.apply(cluster::DeleteVdi{disk});
  host_.apply(cluster::PurgeVdi{disk});
  host_.create("a");
  ASSERT_EQ(host_.state().find("a")->vid, disk.vid);
  peer.client.write(0, pool_.zeros(4096));
  peer.carry(0);
  EXPECT_EQ(host_.requests.size(), 0u);
  ASSERT_EQ(peer.done.completions.size(), 1u);
  EXPECT_NE(peer.done.completions[0].status, Status::ok);
}

TEST_F(NbdFrontTest, BlockStatusTellsObjects) {
  Peer peer(front_, pool_, 1, "a");
  peer.client.submit(nbd::Command::block_status, limits::object_size / 2, 3 * limits::object_size);
  peer.carry(0);
  ASSERT_EQ(host_.requests.size(), 1u);
  EXPECT_EQ(host_.requests[0].second.offset, 0u);
  EXPECT_EQ(host_.requests[0].second.length, 4u) << "objects";
  const std::byte bits{0b0101};
  Payload payload;
  payload.push_back(pool_.copy_of(std::span(&bits, 1)));
  answer(0, std::move(payload));
  peer.carry(0);
  ASSERT_EQ(peer.done.completions.size(), 1u);
  const auto& extents = peer.done.completions[0].extents;
  ASSERT_EQ(extents.size(), 4u);
  EXPECT_EQ(extents[0].length, limits::object_size / 2);
  EXPECT_EQ(extents[3].length, limits::object_size / 2);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(extents[i].flags, i % 2 == 0 ? 0u : 3u) << i;
}

TEST_F(NbdFrontTest, WhatNobodyWaitsForIsAbandoned) {
  Peer busy(front_, pool_, 1, "a"), idle(front_, pool_, 2, "a");
  busy.client.write(0, pool_.zeros(4096));
  busy.carry(0);
  front_.on_closed(0, 1, fx_);
  front_.on_closed(0, 2, fx_);
  EXPECT_EQ(host_.abandoned, std::vector<StreamId>{1});
  answer(0);  // too late, and harmless
  EXPECT_EQ(front_.connections(), 0u);
}

}  // namespace
}  // namespace sd::front
