#include "sim/device_model.hpp"

#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace sd::sim {
namespace {

using Kind = DeviceModel::Kind;

// A disk of which one sector matters; the history is told in words.
struct Disk {
  DeviceModel model{1, 100};

  OpId write(bool fua = false) { return model.begin(Kind::write, 5, 1, fua); }
  OpId zeros() { return model.begin(Kind::zeros, 5, 1, false); }
  OpId read() { return model.begin(Kind::read, 5, 1, false); }
  OpId flush() { return model.begin(Kind::flush, 0, 0, false); }
  void done(OpId op) { model.end(op); }
  OpId written(bool fua = false) {
    const OpId op = write(fua);
    done(op);
    return op;
  }
  void flushed() { done(flush()); }
  void returns(OpId read_op, OpId value) {
    std::vector<std::byte> data(512);
    if (value != 0) model.fill(value, data);
    model.end(read_op, data);
  }
  void reads(OpId value) { returns(read(), value); }
  bool ok() const { return !model.violation(); }
  bool lost_durable() const { return model.violation() && model.violation()->kind == Violation::Class::durability; }
};

TEST(DeviceModel, AcceptsAPlainHistory) {
  Disk d;
  d.reads(0);
  const OpId a = d.written();
  d.reads(a);
  const OpId b = d.written();
  d.reads(b);
  d.done(d.zeros());
  d.reads(0);
  EXPECT_TRUE(d.ok());
}

TEST(DeviceModel, RejectsAStaleRead) {
  Disk d;
  const OpId a = d.written();
  d.written();
  d.reads(a);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, NamesTheWriteThatWasLostAndTheFlushThatCoveredIt) {
  Disk d;
  d.written();
  const OpId lost = d.written();
  const OpId flush = d.flush();
  const OpId later = d.written();  // begun after the flush, so that nothing covers it
  d.done(flush);
  d.model.power_lost();
  d.reads(0);
  ASSERT_TRUE(d.lost_durable());
  EXPECT_EQ(d.model.violation()->what.find("write " + std::to_string(later)), std::string::npos);
  EXPECT_NE(d.model.violation()->what.find("acknowledged last before it was write " + std::to_string(lost) + " ("),
            std::string::npos)
      << d.model.violation()->what;
  EXPECT_NE(d.model.violation()->what.find("covered by flush " + std::to_string(flush) + " ("), std::string::npos)
      << d.model.violation()->what;
}

TEST(DeviceModel, AFlushAfterTheLossOfPowerCoversNothingFromBeforeIt) {
  Disk d;
  const OpId durable = d.written(true);
  d.written();
  d.model.power_lost();
  d.flushed();
  d.model.power_lost();
  d.reads(0);
  ASSERT_FALSE(d.ok());
  EXPECT_NE(d.model.violation()->what.find("before it was write " + std::to_string(durable) + " ("), std::string::npos)
      << d.model.violation()->what;
}

TEST(DeviceModel, SaysThatNobodyFlushedTheWriteOrThatItWasDurableByItself) {
  Disk a;
  a.written();
  a.reads(0);
  ASSERT_FALSE(a.ok());
  EXPECT_NE(a.model.violation()->what.find("flushed by nobody"), std::string::npos) << a.model.violation()->what;
  Disk b;
  b.written(true);
  b.model.power_lost();
  b.reads(0);
  ASSERT_TRUE(b.lost_durable());
  EXPECT_NE(b.model.violation()->what.find("with FUA"), std::string::npos) << b.model.violation()->what;
}

TEST(DeviceModel, RejectsALostWrite) {
  Disk d;
  d.written();
  d.reads(0);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, RejectsAValueFromNowhere) {
  Disk d;
  std::vector<std::byte> junk(512, std::byte{0x5a});
  d.model.end(d.read(), junk);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, RejectsAMixedSector) {
  Disk d;
  const OpId a = d.written();
  const OpId b = d.written();
  std::vector<std::byte> first(512);
  std::vector<std::byte> second(512);
  d.model.fill(a, first);
  d.model.fill(b, second);
  std::copy(first.begin() + 256, first.end(), second.begin() + 256);
  d.model.end(d.read(), second);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, RejectsDataOfAnotherSector) {
  Disk d;
  const OpId elsewhere = d.model.begin(Kind::write, 6, 1, false);
  std::vector<std::byte> data(512);
  d.model.fill(elsewhere, data);
  d.model.end(elsewhere);
  d.model.end(d.read(), data);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, RejectsAReadBeforeItsWrite) {
  Disk d;
  const OpId r = d.read();
  std::vector<std::byte> data(512);
  DeviceModel other(1, 100);
  other.begin(Kind::read, 5, 1, false);
  other.fill(other.begin(Kind::write, 5, 1, false), data);  // what operation 2 is going to write
  d.model.end(r, data);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, ConcurrentWritesMayEndInEitherOrder) {
  for (const bool first : {true, false}) {
    Disk d;
    const OpId a = d.write();
    const OpId b = d.write();
    d.done(a);
    d.done(b);
    d.reads(first ? a : b);
    d.reads(first ? a : b);
    EXPECT_TRUE(d.ok());
    d.reads(first ? b : a);
    EXPECT_FALSE(d.ok()) << "once the order was seen it stays";
  }
}

TEST(DeviceModel, AReadThatOverlapsAWriteMaySeeEitherButNotGoBack) {
  Disk d;
  const OpId a = d.written();
  const OpId b = d.write();
  d.reads(a);
  d.reads(b);
  EXPECT_TRUE(d.ok());
  d.reads(a);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, TwoReadsMayNotSeeTwoWritesInOppositeOrders) {
  Disk d;
  const OpId a = d.write();
  const OpId b = d.write();
  d.reads(a);
  d.reads(b);
  d.done(a);
  d.done(b);
  EXPECT_TRUE(d.ok());
  d.reads(a);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, AWriteThatNobodySawInItsTimeIsLost) {
  Disk d;
  const OpId a = d.written();
  const OpId r = d.read();
  const OpId b = d.write();
  d.done(b);
  d.returns(r, a);
  EXPECT_TRUE(d.ok()) << "the read began before the write";
  d.reads(a);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, AnUnansweredWriteMayHappenLateButOnlyOnce) {
  Disk d;
  const OpId a = d.written();
  const OpId late = d.write();
  d.model.unknown(late);
  d.reads(a);
  d.reads(a);
  d.reads(late);
  EXPECT_TRUE(d.ok());
  const OpId b = d.written();
  d.reads(b);
  EXPECT_TRUE(d.ok());
  d.reads(late);
  EXPECT_FALSE(d.ok()) << "resurrected";
}

TEST(DeviceModel, AFencedWriteStaysAway) {
  Disk d;
  const OpId a = d.written();
  const OpId late = d.write();
  d.model.unknown(late);
  d.model.fence(late);
  const OpId b = d.written();
  d.reads(b);
  EXPECT_TRUE(d.ok());
  d.reads(late);
  EXPECT_FALSE(d.ok());
  (void)a;
}

TEST(DeviceModel, AWriteFencedAfterItHappenedStays) {
  Disk d;
  const OpId late = d.write();
  d.model.unknown(late);
  d.model.fence(late);
  d.reads(late);
  EXPECT_TRUE(d.ok());
  d.reads(0);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, PowerLossMayTakeUnflushedWrites) {
  for (int survivor = 0; survivor < 3; ++survivor) {
    Disk d;
    const OpId a = d.written();
    d.flushed();
    const OpId b = d.written();
    const OpId c = d.written();
    d.model.power_lost();
    const OpId values[] = {a, b, c};
    d.reads(values[survivor]);
    EXPECT_TRUE(d.ok());
    d.reads(values[survivor]);
    EXPECT_TRUE(d.ok());
    d.reads(values[(survivor + 1) % 3]);
    EXPECT_FALSE(d.ok()) << "once read it stays";
  }
}

TEST(DeviceModel, PowerLossTakesNoFlushedWrite) {
  Disk d;
  d.written();
  const OpId b = d.written();
  d.flushed();
  d.model.power_lost();
  d.reads(0);
  EXPECT_TRUE(d.lost_durable());
  Disk e;
  const OpId old = e.written();
  e.written();
  e.flushed();
  e.model.power_lost();
  e.reads(old);
  EXPECT_TRUE(e.lost_durable());
  (void)b;
}

TEST(DeviceModel, PowerLossTakesNoFuaWrite) {
  Disk d;
  const OpId a = d.written();
  d.written(true);
  d.model.power_lost();
  d.reads(a);
  EXPECT_TRUE(d.lost_durable());
}

TEST(DeviceModel, AFlushCoversWhatHadReturnedBeforeItBegan) {
  Disk d;
  const OpId f = d.flush();
  const OpId a = d.written();
  d.done(f);
  d.model.power_lost();
  d.reads(0);
  EXPECT_TRUE(d.ok()) << "the write came after the flush began";
  (void)a;
}

TEST(DeviceModel, AWriteInFlightAtPowerLossHappensThenOrNever) {
  Disk d;
  const OpId a = d.written(true);
  const OpId b = d.write();
  d.model.power_lost();
  d.reads(a);
  EXPECT_TRUE(d.ok());
  d.reads(b);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, AWriteInFlightWhenSomeLosePowerMayStillHappen) {
  Disk d;
  const OpId a = d.written(true);
  const OpId b = d.write();
  d.model.members_lost_power();
  d.reads(a);
  const OpId c = d.written();
  d.reads(c);
  d.reads(b);
  EXPECT_TRUE(d.ok());
  d.reads(c);
  EXPECT_FALSE(d.ok()) << "only once";
}

TEST(DeviceModel, AWriteAnsweredAfterSomeLostPowerHappenedBeforeItsAnswer) {
  Disk d;
  const OpId a = d.written(true);
  const OpId b = d.write();
  d.model.members_lost_power();
  d.done(b);
  const OpId c = d.written();
  d.reads(c);
  EXPECT_TRUE(d.ok());
  d.reads(b);
  EXPECT_FALSE(d.ok());
  (void)a;
}

TEST(DeviceModel, WhatWasFlushedSurvivesThatSomeLosePower) {
  Disk d;
  const OpId a = d.written();
  d.written();
  d.flushed();
  d.model.members_lost_power();
  d.reads(a);
  EXPECT_TRUE(d.lost_durable());
}

TEST(DeviceModel, UnflushedWritesSurviveAnythingLess) {
  Disk d;
  const OpId a = d.written();
  const OpId b = d.written();
  d.reads(a);
  EXPECT_FALSE(d.ok());
  EXPECT_FALSE(d.lost_durable());
  (void)b;
}

TEST(DeviceModel, ZerosNeedAWriterOfZeros) {
  Disk d;
  const OpId a = d.written();
  const OpId z1 = d.zeros();
  const OpId z2 = d.zeros();
  d.reads(a);
  d.done(z1);
  d.reads(0);
  const OpId b = d.write();
  d.reads(b);
  d.reads(0);  // z2 took effect after b
  d.done(z2);
  d.done(b);
  EXPECT_TRUE(d.ok());
  d.reads(b);
  EXPECT_FALSE(d.ok());
}

TEST(DeviceModel, AWrongGuessAboutZerosIsTakenBack) {
  // z1, read of zeros, w seen, then zeros again: the first read must count for z1, although z2 had begun.
  Disk d;
  d.written();
  d.done(d.zeros());
  const OpId z2 = d.zeros();
  const OpId w = d.write();
  d.reads(0);
  d.reads(w);
  d.done(w);
  d.reads(0);
  d.done(z2);
  EXPECT_TRUE(d.ok());
  d.reads(w);
  EXPECT_FALSE(d.ok());
}

// A correct device, driven at random with overlapping operations and losses of power, is never accused; and every wrong
// answer that is certainly wrong is noticed.
TEST(DeviceModel, NeverAccusesACorrectDevice) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    Disk d;
    struct Open {
      OpId op;
      Kind kind;
      bool applied;
      OpId seen;
      bool fua;
    };
    std::vector<Open> open;
    OpId value = 0;
    OpId durable = 0;
    for (int i = 0; i < 400 && d.ok(); ++i) {
      const auto roll = random.below(100);
      if (roll < 40 && open.size() < 6) {
        const auto pick = random.below(10);
        const Kind kind = pick < 4 ? Kind::read : pick < 7 ? Kind::write : pick < 9 ? Kind::zeros : Kind::flush;
        const bool fua = kind == Kind::write && random.below(5) == 0;
        open.push_back(
            {d.model.begin(kind, kind == Kind::flush ? 0 : 5, kind == Kind::flush ? 0 : 1, fua), kind, false, 0, fua});
      } else if (roll < 97 && !open.empty()) {
        const std::size_t which = random.below(open.size());
        Open& o = open[which];
        if (!o.applied && random.below(12) == 0) {  // never answered, and never happens
          if (o.kind != Kind::flush && o.kind != Kind::read)
            d.model.unknown(o.op);
          else
            continue;
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
        } else if (!o.applied) {
          o.applied = true;
          if (o.kind == Kind::write) value = o.op;
          if (o.kind == Kind::zeros) value = 0;
          if (o.kind == Kind::flush || o.fua) durable = value;
          o.seen = value;
        } else {
          if (o.kind == Kind::read)
            d.returns(o.op, o.seen);
          else
            d.done(o.op);
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
        }
      } else if (roll == 99) {
        d.model.power_lost();
        if (random.below(2) == 0) value = durable;
        durable = value;
        open.clear();
      }
    }
    EXPECT_TRUE(d.ok()) << "seed " << seed << ": " << d.model.violation()->what;
    EXPECT_EQ(d.model.inconclusive(), 0u);
  }
}

}  // namespace
}  // namespace sd::sim
