#include "core/control/identity.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/peer/message.hpp"

namespace sd::control {
namespace {

constexpr auto block = limits::block_size;

// The identity file of one node, through its starts.
class File {
 public:
  // Starts once; `stop_after` so many operations the power is gone, and of a write that was under way only the first
  // half has arrived.
  Identity start(std::size_t stop_after = 100) {
    Identity identity(random_.next());
    std::vector<DiskOp> ops;
    identity.start(ops);
    while (!ops.empty()) {
      DiskOp op = std::move(ops.front());
      ops.clear();
      const bool torn = stop_after-- == 0;
      DiskDone done;
      done.tag = op.tag;
      done.kind = op.kind;
      if (op.kind == DiskOp::Kind::read) {
        done.data = pool_.copy_of(bytes_);
        if (bytes_.empty()) done.status = Status::not_found;
      } else if (op.kind == DiskOp::Kind::write) {
        bytes_.resize(std::max(bytes_.size(), op.offset + op.length));
        std::size_t at = op.offset;
        for (const Slice& slice : op.slices) {
          std::memcpy(bytes_.data() + at, slice.data(), torn ? slice.size() / 2 : slice.size());
          at += slice.size();
        }
      }
      if (torn) break;
      identity.on_disk(std::move(done), pool_, random_, ops);
    }
    return identity;
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  BufferPool pool_;
  Random random_{1};
  std::vector<std::byte> bytes_;
};

TEST(Identity, IsDrawnOnceAndHasAnIncarnationForEachStart) {
  File file;
  const Identity first = file.start();
  ASSERT_EQ(first.progress(), Identity::Progress::ready);
  EXPECT_NE(first.id(), 0u);
  EXPECT_EQ(starts_of(first.incarnation()), 1u);
  EXPECT_EQ(first.shown(), std::vector<Incarnation>{});
  const Identity second = file.start();
  EXPECT_EQ(second.id(), first.id());
  EXPECT_EQ(starts_of(second.incarnation()), 2u);
  EXPECT_EQ(second.shown(), std::vector<Incarnation>{first.incarnation()});
  EXPECT_TRUE(second.has_been(first.incarnation()));
  EXPECT_FALSE(second.has_been(first.incarnation() + 1));
}

TEST(Identity, AWriteThatWasTornLeavesTheOneBefore) {
  File file;
  const NodeId id = file.start().id();
  for (int i = 0; i < 5; ++i) {
    EXPECT_NE(file.start(1).progress(), Identity::Progress::ready);
    const Identity next = file.start();
    ASSERT_EQ(next.progress(), Identity::Progress::ready);
    EXPECT_EQ(next.id(), id);
  }
}

TEST(Identity, TheFirstStartMayBeTornAnywhere) {
  for (std::size_t stop = 0; stop < 4; ++stop) {
    File file;
    file.start(stop);
    EXPECT_NE(file.start().progress(), Identity::Progress::reading) << stop;
  }
}

TEST(Identity, ADamagedFileIsNotReplacedByAnotherIdentity) {
  File file;
  file.start();
  file.start();
  for (std::size_t at = 0; at < file.bytes().size(); at += block) file.bytes()[at + 20] ^= std::byte{1};
  const Identity identity = file.start();
  EXPECT_EQ(identity.progress(), Identity::Progress::failed);
  EXPECT_NE(identity.reason().find("damaged"), std::string::npos);
}

TEST(Identity, RemembersSoManyIncarnationsAndShowsTheOneThatWasAskedFor) {
  File file;
  const Incarnation first = file.start().incarnation();
  const Incarnation second = file.start().incarnation();
  for (std::size_t i = 0; i < max_kept_incarnations - 2; ++i) file.start();
  Identity identity = file.start();
  EXPECT_TRUE(identity.has_been(first));
  EXPECT_EQ(identity.shown().size(), peer::max_earlier_incarnations);
  EXPECT_EQ(std::ranges::count(identity.shown(), second), 0);
  EXPECT_EQ(std::ranges::count(identity.shown(second), second), 1);
  identity.ask_for(second);
  EXPECT_EQ(identity.shown().size(), peer::max_earlier_incarnations);
  EXPECT_EQ(std::ranges::count(identity.shown(), second), 1);
  // What is older than the list may have been.
  file.start();
  file.start();
  EXPECT_TRUE(file.start().has_been(first));
}

}  // namespace
}  // namespace sd::control
