// What a member makes of a source with damaged blocks.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "core/base/crc32c.hpp"
#include "core/member/replica.hpp"
#include "core/store/store_bench.hpp"

namespace sd {
namespace {

using peer::ObjectReply;
using peer::ObjectRequest;
using testing::StoreBench;
constexpr std::uint32_t block = limits::block_size;
const Oid oid = Oid::data(1, 3);
constexpr NodeId owner = 99;

// Members 1, 2, ... of a cluster whose messages arrive at once.
class Members {
 public:
  explicit Members(std::size_t count) {
    cluster::Vdi vdi;
    vdi.vid = 1;
    vdi.size = limits::object_size * 8;
    vdi.created_index = 1;
    vdi.owner = owner;
    vdi.owner_index = 5;
    state_.vdis.emplace(1, vdi);
    state_.applied = 9;
    state_.epochs.push_back({1, 5, {}});
    for (NodeId id = 1; id <= count; ++id) {
      StoreOptions options;
      options.journal_bytes = 1u << 20;
      auto member = std::make_unique<Member>(options);
      member->replica = std::make_unique<Replica>(id, member->bench.pool, *member->bench.store, state_);
      members_.emplace(id, std::move(member));
    }
  }
  // What one member was sent it may still hold, out of the other's pool.
  ~Members() {
    for (auto& [id, member] : members_) {
      member->replica.reset();
      member->fx = {};
      member->bench.crash(false);
      member->bench.store.reset();
    }
  }
  StoreBench& at(NodeId id) { return members_.at(id)->bench; }
  void rot(NodeId id, std::uint32_t at_block) {
    (*at(id).disk.contents({FileKind::object, 0, oid.value}))[at_block * block + 5] ^= std::byte{1};
  }

  std::size_t unreadable(NodeId id) const { return members_.at(id)->replica->unreadable(); }
  void set_rate(std::uint64_t rate) { state_.recovery_rates = {rate, rate}; }
  Time now() const { return now_; }

  // `patience`: so many times half a second.
  ObjectReply ask(NodeId id, ObjectRequest request, int patience = 20) {
    request.id = 7;
    request.vid = 1;
    request.generation = 5;
    request.oid = oid;
    members_.at(id)->replica->on_request(now_, owner, std::move(request), true, members_.at(id)->fx);
    std::optional<ObjectReply> answer;
    for (int ticks = 0; !answer && ticks < patience;) {
      bool moved = false;
      for (auto& [self, member] : members_) moved = settle(self, *member, answer) || moved;
      if (moved) continue;
      ++ticks;  // what is asked again is asked after a pause
      now_ += milliseconds(500);
      for (auto& [self, member] : members_) member->replica->tick(now_, member->fx);
    }
    EXPECT_TRUE(answer);
    return answer.value_or(ObjectReply{});
  }

 private:
  struct Member {
    explicit Member(StoreOptions options) : bench(options) {}
    StoreBench bench;
    std::unique_ptr<Replica> replica;
    ReplicaEffects fx;
  };
  bool settle(NodeId self, Member& member, std::optional<ObjectReply>& answer) {
    bool moved = false;
    member.replica->on_store(now_, member.fx);
    member.bench.store->flush_batch(now_, member.fx.store);
    for (auto& op : std::exchange(member.fx.store.disk, {})) {
      member.bench.disk.submit(std::move(op));
      moved = true;
    }
    if (member.bench.disk.in_flight() > 0) {
      member.bench.store->on_disk(now_, member.bench.disk.complete_any(), member.fx.store);
      moved = true;
    }
    for (auto& [to, request] : std::exchange(member.fx.requests, {})) {
      members_.at(to)->replica->on_request(now_, self, std::move(request), true, members_.at(to)->fx);
      moved = true;
    }
    for (auto& [to, reply] : std::exchange(member.fx.replies, {})) {
      moved = true;
      if (to == owner)
        answer = std::move(reply);
      else
        members_.at(to)->replica->on_reply(now_, self, std::move(reply), members_.at(to)->fx);
    }
    return moved || !member.fx.store.done.empty();
  }

  cluster::State state_;
  std::map<NodeId, std::unique_ptr<Member>> members_;
  Time now_ = seconds(1);
};

constexpr Version v1{5ull << Version::round_bits, 1}, v2{5ull << Version::round_bits, 2};

ObjectRequest pull_from(NodeId source, std::vector<NodeId> helpers) {
  ObjectRequest request;
  request.op = ObjectRequest::Op::pull;
  request.version = v2;
  request.source = source;
  request.helpers = std::move(helpers);
  return request;
}

// All members hold four blocks; the first ones also a later write of the second block.
void prepare(Members& m, std::size_t count, std::size_t newest) {
  for (NodeId id = 1; id <= count; ++id) {
    m.at(id).write(oid, v1, {}, 0, m.at(id).pattern(4 * block, 1));
    if (id <= newest) m.at(id).write(oid, v2, v1, block, m.at(id).pattern(block, 2));
    m.at(id).checkpoint();
  }
}

std::string expected(Members& m, std::uint32_t at) {
  StoreBench& b = m.at(1);
  return std::string(at == 1 ? b.pattern(block, 2).text()
                             : b.pattern(4 * block, 1).part(std::size_t{at} * block, block).text());
}

TEST(Repairing, APullTakesABlockThatIsDamagedAtItsSourceFromThePullersOwnOlderCopy) {
  Members m(2);
  prepare(m, 2, 1);
  m.rot(1, 3);
  EXPECT_EQ(m.ask(2, pull_from(1, {})).status, Status::ok);
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(StoreBench::text(m.at(2).read(oid, i * block, block)), expected(m, i));
  EXPECT_EQ(m.at(2).query(oid).info.version, v2);
}

TEST(Repairing, APullTakesABlockThatIsDamagedAtItsSourceFromAnotherMember) {
  Members m(3);
  prepare(m, 3, 2);
  m.rot(1, 1);
  m.rot(3, 0);  // not even in the chunk's good part is the puller's own copy needed
  EXPECT_EQ(m.ask(3, pull_from(1, {2})).status, Status::ok);
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(StoreBench::text(m.at(3).read(oid, i * block, block)), expected(m, i));
}

TEST(Repairing, WhatNobodyHasIsLostAndNothingElse) {
  Members m(3);
  prepare(m, 3, 1);
  m.rot(1, 1);
  EXPECT_EQ(m.ask(3, pull_from(1, {2})).status, Status::ok);
  EXPECT_EQ(m.at(3).read(oid, block, block).status, Status::damaged)
      << "an older version of the block is not what was written";
  for (const std::uint32_t i : {0u, 2u, 3u})
    EXPECT_EQ(StoreBench::text(m.at(3).read(oid, i * block, block)), expected(m, i));
  EXPECT_EQ(m.at(3).write(oid, {v2.generation, 3}, v2, block, m.at(3).pattern(block, 4)).status, Status::ok);
  EXPECT_EQ(StoreBench::text(m.at(3).read(oid, block, block)), m.at(3).pattern(block, 4).text());
}

// The source may be about to be removed: what its disk fails to read once is not lost.
TEST(Repairing, APullAsksItsSourceAgainForABlockThatItsDiskCouldNotRead) {
  Members m(2);
  prepare(m, 2, 1);
  int failures = 2;  // of several blocks, then of the one that nobody else has
  m.at(1).disk.inject = [&](const DiskOp& op) {
    const bool concerned = op.kind == DiskOp::Kind::read && op.file.kind == FileKind::object && op.offset <= block &&
                           op.offset + op.length > block;
    return concerned && failures-- > 0 ? Status::io_error : Status::ok;
  };
  EXPECT_EQ(m.ask(2, pull_from(1, {})).status, Status::ok);
  EXPECT_LT(failures, 0);
  m.at(1).disk.inject = nullptr;
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(StoreBench::text(m.at(2).read(oid, i * block, block)), expected(m, i));
}

TEST(Repairing, CopiesThatAreDamagedInDifferentPlacesRepairEachOther) {
  Members m(2);
  prepare(m, 2, 2);
  m.rot(1, 0);
  m.rot(2, 2);
  for (const NodeId id : {1, 2}) {
    ObjectRequest repair;
    repair.op = ObjectRequest::Op::repair;
    repair.length = limits::object_size;
    repair.helpers = {3 - id};
    EXPECT_EQ(m.ask(id, repair).status, Status::ok);
  }
  for (const NodeId id : {1, 2})
    for (std::uint32_t i = 0; i < 4; ++i)
      EXPECT_EQ(StoreBench::text(m.at(id).read(oid, i * block, block)), expected(m, i));
}

TEST(Repairing, ARepairSaysWhenBlocksStayDamaged) {
  Members m(2);
  prepare(m, 2, 2);
  m.rot(1, 2);
  m.rot(2, 2);
  ObjectRequest repair;
  repair.op = ObjectRequest::Op::repair;
  repair.length = block;
  repair.helpers = {2};
  EXPECT_EQ(m.ask(1, repair).status, Status::damaged);
  EXPECT_EQ(m.unreadable(1), 1u);
  EXPECT_EQ(m.at(1).read(oid, 2 * block, block).status, Status::damaged);
  EXPECT_EQ(m.at(1).read(oid, 0, 2 * block).status, Status::ok);
}

ObjectRequest check_with(std::vector<NodeId> helpers) {
  ObjectRequest request;
  request.op = ObjectRequest::Op::repair;
  request.length = limits::object_size;
  request.background = true;
  request.helpers = std::move(helpers);
  return request;
}

TEST(Repairing, OfAWholeObjectCountsWhatItReadAndNamesTheVersion) {
  Members m(2);
  prepare(m, 2, 2);
  m.rot(1, 0);
  m.rot(1, 2);
  m.rot(2, 2);
  const ObjectReply first = m.ask(1, check_with({2}));
  EXPECT_TRUE(first.exists);
  EXPECT_EQ(first.version, v2);
  EXPECT_EQ(first.read, (peer::BlocksRead{4, 2, 1, 1}));
  EXPECT_EQ(m.unreadable(1), 1u);
  m.at(1).write(oid, {v2.generation, 3}, v2, 2 * block, m.at(1).pattern(block, 3));
  EXPECT_EQ(m.ask(1, check_with({2})).read, (peer::BlocksRead{4, 0, 0, 0}));
  EXPECT_EQ(m.unreadable(1), 0u) << "what was lost was written again";
}

TEST(Repairing, OfAnObjectThatIsNotThereSaysSo) {
  Members m(2);
  prepare(m, 1, 1);
  const ObjectReply reply = m.ask(2, check_with({1}));
  EXPECT_EQ(reply.status, Status::ok);
  EXPECT_FALSE(reply.exists);
  EXPECT_EQ(reply.read, peer::BlocksRead{});
}

TEST(Repairing, ThatNobodyWaitsForKeepsToTheRateOfRecovery) {
  Members m(1);
  constexpr std::uint32_t piece = limits::chunk_size, pieces = 16;
  for (std::uint32_t i = 0; i < pieces; ++i)
    m.at(1).write(oid, {v1.generation, i + 1}, i == 0 ? Version{} : Version{v1.generation, i}, i * piece,
                  m.at(1).pattern(piece, 1));
  m.at(1).checkpoint();
  m.set_rate(4 * piece);
  const Time before = m.now();
  EXPECT_EQ(m.ask(1, check_with({}), 200).read.blocks, pieces * piece / block);
  EXPECT_GE(m.now() - before, seconds(3));
}

// Taken, it would make every honest write that follows look like one that is there already.
TEST(Member, AWriteThatNoOwnerCanHaveNumberedIsRefused) {
  Members members(1);
  ObjectRequest request;
  request.op = ObjectRequest::Op::write;
  request.length = block;
  const auto write = [&](Version version, Version previous) {
    request.version = version;
    request.previous = previous;
    request.payload = {members.at(1).pattern(block, 1)};
    return members.ask(1, request).status;
  };
  const std::uint64_t now = Version::generation_of(5, 0);
  EXPECT_EQ(write({now, ~0ull}, {}), Status::invalid);
  EXPECT_EQ(write({Version::generation_of(6, 0), 1}, {}), Status::invalid);  // of a generation to come
  EXPECT_EQ(write({now, 1}, {}), Status::ok);
  EXPECT_EQ(write({now, 3}, {now, 1}), Status::invalid);
  EXPECT_EQ(write({now, 2}, {now, 1}), Status::ok);
}

}  // namespace
}  // namespace sd
