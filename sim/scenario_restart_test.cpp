// Nodes stop and start, one, some or all, in any order: nothing acknowledged is lost, and nobody has to be told
// anything.
#include <gtest/gtest.h>

#include <algorithm>

#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

// The loss of any single node shows no object as zeros, with two copies or three; and a write then does not make a new,
// empty object.
TEST(Loss, OfAnyNodeLeavesEveryObjectReadable) {
  for (const std::uint32_t copies : {2u, 3u})
    for (std::uint32_t victim = 0; victim < 3; ++victim) {
      Scenario s({.nodes = 3, .copies = copies, .objects = 24});
      ASSERT_TRUE(s.write_all(0, 24));
      s.kill({victim});
      const std::uint32_t other = (victim + 1) % 3;
      EXPECT_TRUE(s.read_all(other)) << s.trouble();
      EXPECT_EQ(s.write(other, 2, 2), Answer::ok);
      EXPECT_TRUE(s.read_all((victim + 2) % 3)) << s.trouble();
      EXPECT_EQ(s.settle(), "") << copies << " copies, without node " << victim;
    }
}

// As many losses as the copies allow for, one after the other, each once the one before has been made good.
TEST(Loss, OfOneNodeAfterTheOtherLosesNothing) {
  Scenario s({.nodes = 5, .copies = 2, .objects = 12});
  ASSERT_TRUE(s.write_all(0, 12));
  for (const std::uint32_t victim : {4u, 3u}) {
    s.cut_power({victim});
    s.run(2 * s.lease_end());
    ASSERT_TRUE(s.until([&] { return s.leader() < 5 && s.state(s.leader()).epochs.size() == 1; }, seconds(120)))
        << s.trouble() << s.troubles();
  }
  EXPECT_TRUE(s.read_all(0)) << s.trouble();
  EXPECT_EQ(s.settle(), "");
}

// More than the copies allow for: exactly what is gone fails, with an error, and never with zeros.
TEST(Loss, OfMoreThanTheCopiesIsSaidAndNeverShownAsZeros) {
  Scenario s({.nodes = 5, .copies = 2, .objects = 16, .op_timeout = seconds(100)});
  ASSERT_TRUE(s.write_all(0, 16));
  ASSERT_EQ(s.flush(0), Answer::ok);
  s.cut_power({3, 4});
  s.wipe(3);
  s.wipe(4);
  std::vector<Scenario::Asked> reads;
  for (std::uint32_t i = 0; i < 16; ++i) reads.push_back(s.ask(OpClass::read, 0, i * Scenario::object, 8));
  std::uint32_t good = 0;
  std::uint32_t bad = 0;
  for (const auto& each : reads) {
    const Answer answer = s.wait(each, seconds(120));
    good += answer == Answer::ok;
    bad += answer == Answer::error;
  }
  EXPECT_EQ(s.trouble(), "");
  EXPECT_EQ(good + bad, 16u) << "a request without any answer is no clean report";
  EXPECT_GT(good, 8u) << "objects of the others are not concerned";
}

// The one node that has some objects is away for longer than anybody waits: those fail with an error, the others are
// there, and so are all once it is back.
TEST(Loss, OfTheOnlyCopiesForAWhileFailsExactlyTheirObjects) {
  Scenario s({.nodes = 4, .copies = 1, .objects = 16, .op_timeout = seconds(100)});
  std::uint32_t owner = 0;
  while (!s.holds_index(owner)) ++owner;
  ASSERT_TRUE(s.write_all(owner, 16));
  const std::uint32_t victim = (owner + 1) % 4;
  std::vector<bool> concerned;
  for (std::uint32_t i = 0; i < 16; ++i) concerned.push_back(s.holds(victim, i));
  ASSERT_NE(std::ranges::find(concerned, true), concerned.end());
  s.kill({victim});
  std::vector<Scenario::Asked> reads;
  for (std::uint32_t i = 0; i < 16; ++i) reads.push_back(s.ask(OpClass::read, owner, i * Scenario::object, 8));
  for (std::uint32_t i = 0; i < 16; ++i)
    EXPECT_EQ(s.wait(reads[i], seconds(90)), concerned[i] ? Answer::error : Answer::ok)
        << "object " << i << s.trouble();
  EXPECT_TRUE(s.came_by(Probe::peering_fails_waiting));
  s.start({victim});
  EXPECT_EQ(s.settle(), "");
}

// The index says which objects exist. Without it nothing is zeros, and nothing is written.
TEST(Loss, OfTheIndexForAWhileFailsTheDiskAndShowsNoZeros) {
  Scenario s({.nodes = 4, .copies = 1, .op_timeout = seconds(100)});
  std::uint32_t victim = 0;
  while (!s.holds_index(victim)) ++victim;
  ASSERT_TRUE(s.write_all(victim, 8));
  const std::uint32_t other = (victim + 1) % 4;
  s.kill({victim});  // which also is the owner, so another one has to load the index
  std::vector<Scenario::Asked> asked;
  for (std::uint32_t i = 0; i < 8; ++i)
    asked.push_back(s.ask(i % 4 == 3 ? OpClass::write : OpClass::read, other, i * Scenario::object, 8));
  for (const auto& each : asked) EXPECT_EQ(s.wait(each, seconds(90)), Answer::error) << s.trouble();
  EXPECT_TRUE(s.came_by(Probe::index_page_fails));
  s.start({victim});
  EXPECT_EQ(s.settle(), "");
}

void cold_start(const std::vector<std::uint32_t>& down, const std::vector<std::uint32_t>& up, bool cleanly) {
  const std::string order = std::string(cleanly ? "stopped " : "cut off ") + std::to_string(down[0]) +
                            std::to_string(down[1]) + std::to_string(down[2]) + ", started " + std::to_string(up[0]) +
                            std::to_string(up[1]) + std::to_string(up[2]);
  Scenario s({.nodes = 3, .copies = 3, .objects = 4});
  ASSERT_TRUE(s.write_all(down[2], 4));
  for (std::uint32_t object = 0; object < 4; ++object)
    ASSERT_EQ(s.write(down[2], object * Scenario::object + 1024, 512), Answer::ok);
  ASSERT_EQ(s.flush(down[2]), Answer::ok);
  for (const std::uint32_t node : down) {
    if (cleanly)
      s.stop({node});
    else
      s.cut_power({node});
    s.run(milliseconds(700));  // what is left may go on, and write
    s.ask(OpClass::write, down[2], 8, 8);
    s.run(milliseconds(700));
  }
  for (const std::uint32_t node : up) {
    s.start({node});
    s.run(s.lease_end() * 2);
  }
  ASSERT_TRUE(s.until([&] { return s.serving() == 3; })) << order << s.trouble();
  ASSERT_TRUE(s.until([&] { return s.redundant(); })) << order << s.trouble();
  std::uint64_t moved = 0;
  for (std::uint32_t node = 0; node < 3; ++node) moved += s.status(node).recovery.pulled_bytes;
  EXPECT_LE(moved, 8 * limits::block_size)
      << order << ": more was copied than the one block that was written while members were away";
  EXPECT_EQ(s.settle(), "") << order;
}

TEST(ColdStart, AfterCleanStopsInEveryOrder) {
  std::vector<std::uint32_t> down{0, 1, 2};
  do {
    std::vector<std::uint32_t> up{0, 1, 2};
    do cold_start(down, up, true);
    while (std::ranges::next_permutation(up).found);
  } while (std::ranges::next_permutation(down).found);
}

TEST(ColdStart, AfterLossesOfPowerInEveryOrder) {
  std::vector<std::uint32_t> down{0, 1, 2};
  do {
    std::vector<std::uint32_t> up{0, 1, 2};
    do cold_start(down, up, false);
    while (std::ranges::next_permutation(up).found);
  } while (std::ranges::next_permutation(down).found);
}

// The power fails when an object is on its member's disk, and the index does not name it yet on its own. It was never
// flushed, and is gone once it was read as zeros: a first write of another place does not bring it back.
TEST(ColdStart, AnObjectThatNoIndexNamesDoesNotComeBack) {
  bool voided = false;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Scenario s({.nodes = 4, .copies = 1, .seed = seed});
    ASSERT_EQ(s.read(0, 0, 8), Answer::ok);
    std::uint32_t names = 0;
    while (!s.holds_index(names)) ++names;
    std::uint32_t index = 0;
    while (s.holds(names, index)) ++index;
    s.disk(names).config.sync_min = s.disk(names).config.sync_max = seconds(20);
    ASSERT_EQ(s.write(0, index * Scenario::object, 8), Answer::ok);
    s.run(seconds(1));
    s.power_off_all();
    s.disk(names).config.sync_min = microseconds(100);
    s.disk(names).config.sync_max = milliseconds(2);
    s.start({0, 1, 2, 3});
    ASSERT_TRUE(s.until([&] { return s.redundant(); })) << s.trouble();
    EXPECT_EQ(s.read(1, index * Scenario::object, 8), Answer::ok);
    EXPECT_EQ(s.write(1, index * Scenario::object + 64, 8), Answer::ok);
    EXPECT_EQ(s.read(1, index * Scenario::object, 8), Answer::ok) << s.trouble();
    voided |= s.came_by(Probe::first_write_voids);
    EXPECT_EQ(s.settle(), "") << "seed " << seed;
  }
  EXPECT_TRUE(voided);
}

TEST(ColdStart, WithOneNodeMissingServesEverything) {
  for (std::uint32_t missing = 0; missing < 3; ++missing) {
    Scenario s({.nodes = 3, .copies = 2});
    ASSERT_TRUE(s.write_all(0, 8));
    ASSERT_EQ(s.flush(0), Answer::ok);
    s.power_off_all();
    s.run(seconds(5));
    s.start({(missing + 1) % 3, (missing + 2) % 3});
    EXPECT_TRUE(s.until([&] { return s.serving() == 2; }));
    EXPECT_TRUE(s.read_all((missing + 1) % 3)) << "without node " << missing << s.trouble();
    EXPECT_TRUE(s.came_by(Probe::peering_patience_over)) << "the missing node may have had what was not flushed";
    EXPECT_EQ(s.settle(), "") << "without node " << missing;
  }
}

TEST(PowerLoss, OfAllKeepsWhatWasFlushed) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Scenario s({.nodes = 3, .copies = 3, .seed = seed});
    ASSERT_TRUE(s.write_all(0, 6));
    ASSERT_EQ(s.flush(1), Answer::ok);  // through another gateway than the writes
    for (std::uint32_t i = 0; i < 6; ++i) s.ask(OpClass::write, 2, i * Scenario::object + 4, 8);
    s.run(milliseconds(3));
    s.power_off_all();
    s.run(seconds(3));
    EXPECT_EQ(s.settle(), "") << "seed " << seed;
  }
}

TEST(Restart, OfEverythingAtOnceKeepsDisksAndTheirNames) {
  Scenario s({.nodes = 3, .copies = 3, .vdis = 2});
  ASSERT_TRUE(s.write_all(0, 4, 0));
  ASSERT_TRUE(s.write_all(1, 4, 1));
  s.kill({0, 1, 2});
  s.run(seconds(1));
  s.start({0, 1, 2});
  ASSERT_TRUE(s.until([&] { return s.serving() == 3; }));
  EXPECT_NE(s.state(2).find("vol0"), nullptr);
  EXPECT_NE(s.state(2).find("vol1"), nullptr);
  EXPECT_EQ(s.state(0).epoch(), s.state(2).epoch());
  EXPECT_EQ(s.settle(), "");
}

TEST(Restart, OfOneNodeAfterTheOtherUnderWritesLosesNothing) {
  Scenario s({.nodes = 3, .copies = 2});
  ASSERT_TRUE(s.write_all(0, 8));
  for (std::uint32_t node = 0; node < 3; ++node) {
    for (std::uint32_t i = 0; i < 8; ++i) s.ask(OpClass::write, (node + 1) % 3, i * Scenario::object, 8);
    s.stop({node});
    for (std::uint32_t i = 0; i < 8; ++i) s.ask(OpClass::write, (node + 2) % 3, i * Scenario::object + 4, 8);
    s.run(seconds(1));
    s.start({node});
    ASSERT_TRUE(s.until([&] { return s.redundant(); }, seconds(120))) << s.trouble();
  }
  EXPECT_EQ(s.settle(), "");
}

TEST(Restart, BackAtOnceUnderTheSameIdentity) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 4));
  const NodeId before = s.status(2).id;
  s.kill({2});
  s.start({2});
  ASSERT_TRUE(s.until([&] { return s.serves(2); }));
  EXPECT_EQ(s.status(2).id, before);
  EXPECT_EQ(s.state(0).members.size(), 3u);
  EXPECT_EQ(s.settle(), "");
}

}  // namespace
}  // namespace sd::sim
