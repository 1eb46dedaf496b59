// Disks: full, empty, old, another node's, damaged. What they hold is used as far as it can be trusted, and never
// further.
#include <gtest/gtest.h>

#include "core/client/service.hpp"
#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

TEST(WipedDisk, ComesBackAsANewMemberAndGetsItsCopies) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 8));
    const NodeId before = s.status(who).id;
    s.cut_power({who});
    s.wipe(who);
    s.run(s.lease_end() * 2);
    s.start({who});
    ASSERT_TRUE(s.until([&] { return s.serves(who); })) << "node " << who << s.trouble();
    EXPECT_NE(s.status(who).id, before);
    const std::uint32_t other = (who + 1) % 3;
    EXPECT_TRUE(s.until([&] { return s.redundant() && !s.state(other).member(before); }, seconds(120)))
        << "node " << who << ": nobody waits for the lost disk" << s.trouble();
    for (const auto& finding : client::check_cluster(s.state(other), s.status(other)).findings)
      ADD_FAILURE() << "node " << who << ": " << finding.text;
    EXPECT_EQ(s.settle(), "") << "node " << who;
  }
}

TEST(WipedDisk, ThatIsBackBeforeItIsMissedIsNoCopy) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 2});
    ASSERT_TRUE(s.write_all(0, 8));
    s.cut_power({who});
    s.wipe(who);
    s.start({who});
    EXPECT_TRUE(s.read_all((who + 1) % 3)) << "node " << who << s.trouble();
    EXPECT_EQ(s.settle(), "") << "node " << who;
  }
}

// A disk as it was some time ago (a snapshot of a machine, a restored backup): its data are older than what was
// acknowledged since.
void old_image(bool restarted_since, bool cleanly) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 4));
    ASSERT_EQ(s.flush(0), Answer::ok);
    if (cleanly)
      s.stop({who});
    else
      s.cut_power({who});
    const auto image = s.disk(who).image();
    s.start({who});
    ASSERT_TRUE(s.until([&] { return s.redundant(); }, seconds(120)));
    ASSERT_TRUE(s.write_all((who + 1) % 3, 4));
    ASSERT_EQ(s.flush((who + 1) % 3), Answer::ok);
    if (restarted_since) {
      s.cut_power({who});
      s.run(milliseconds(200));
      s.start({who});
      ASSERT_TRUE(s.until([&] { return s.redundant(); }, seconds(120)));
      ASSERT_TRUE(s.write_all((who + 2) % 3, 6));
    }
    s.cut_power({who});
    s.disk(who).restore(*image);
    s.run(milliseconds(300));
    s.start({who});
    s.run(seconds(5));
    EXPECT_TRUE(s.read_all((who + 1) % 3)) << "node " << who << s.trouble();
    ASSERT_TRUE(s.write_all((who + 2) % 3, 6)) << "node " << who << s.trouble();
    s.run(seconds(5));
    EXPECT_EQ(s.settle_without({who}), "") << "node " << who;
  }
}
TEST(OldDisk, OfTheLastIncarnationIsNotTrusted) { old_image(false, false); }
TEST(OldDisk, OfAnEarlierIncarnationIsNotTrusted) { old_image(true, false); }
TEST(OldDisk, OfACleanStopIsNotTrusted) { old_image(true, true); }

// Of node 2, which has begun another incarnation since.
auto image_of_the_incarnation_before(Scenario& s) {
  EXPECT_TRUE(s.write_all(0, 4));
  EXPECT_EQ(s.flush(0), Answer::ok);
  s.cut_power({2});
  auto image = s.disk(2).image();
  s.start({2});
  EXPECT_TRUE(s.until([&] { return s.redundant(); }, seconds(120)));
  return image;
}

// The machine is back so soon that nobody missed it, on a disk from before its present incarnation began: that
// incarnation's number is given twice. It must not be taken for the one that holds what was written since; the member
// that does hold it is away, and has to be waited for. The node stays out, however often it is started, until it has an
// empty disk.
TEST(OldDisk, IsNotTakenForTheIncarnationThatItRepeats) {
  Scenario s({.nodes = 3, .copies = 3});
  const auto image = image_of_the_incarnation_before(s);
  ASSERT_TRUE(s.write_all(0, 4));
  s.cut_power({0, 2});  // as many as three copies allow for; what was not flushed is with node 1 only
  s.disk(2).restore(*image);
  s.partition({1}, {0, 2});
  s.start({0, 2});
  const auto early = s.ask(OpClass::read, 0, 0, 8);
  s.run(seconds(15));
  EXPECT_NE(s.answer(early), Answer::ok) << s.trouble();
  s.heal_network();
  EXPECT_TRUE(s.until([&] { return s.serves(0) && s.serves(1); })) << s.trouble();
  EXPECT_TRUE(s.read_all(0)) << s.trouble();
  for (int starts = 0; starts < 3; ++starts) {
    s.run(seconds(2));
    EXPECT_FALSE(s.serves(2));
    s.cut_power({2});
    s.start({2});
  }
  s.cut_power({2});
  s.wipe(2);
  EXPECT_EQ(s.settle(), "");
}

// Nobody has to be there for it: the starts of an old disk do not add up to a newer one.
TEST(OldDisk, ThatWasStartedOftenBeforeItMeetsTheOthersIsNotTrusted) {
  Scenario s({.nodes = 3, .copies = 2});
  const auto image = image_of_the_incarnation_before(s);
  ASSERT_TRUE(s.write_all(0, 8));
  ASSERT_EQ(s.flush(0), Answer::ok);
  s.cut_power({2});
  s.disk(2).restore(*image);
  s.partition({0, 1}, {2});
  for (int starts = 0; starts < 30; ++starts) {
    s.start({2});
    s.run(milliseconds(100));
    s.kill({2});
  }
  s.heal_network();
  s.start({2});
  s.run(seconds(5));
  EXPECT_FALSE(s.serves(2));
  EXPECT_EQ(s.settle_without({2}), "");
}

// The reverse: a disk that was there all the time is never taken for an old one, however many of its starts came to
// nothing.
TEST(Restarts, ThatNobodySawKeepNoNodeOut) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 4));
  s.kill({0, 1, 2});
  s.partition({0}, {1, 2});
  s.partition({1}, {2});
  for (int starts = 0; starts < 40; ++starts) {
    s.start({0, 1, 2});
    s.run(milliseconds(100));
    s.kill({0, 1, 2});
  }
  s.heal_network();
  EXPECT_EQ(s.settle(), "");
  EXPECT_TRUE(s.came_by(Probe::old_incarnation_shown));
}

TEST(MovedDisk, CarriesItsNodesIdentityToTheOtherMachine) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 6));
  ASSERT_EQ(s.flush(0), Answer::ok);
  s.stop({1});
  s.stop({2});
  const auto first = s.disk(1).image();
  const auto second = s.disk(2).image();
  s.disk(1).restore(*second);
  s.disk(2).restore(*first);
  s.start({1, 2});
  EXPECT_TRUE(s.until([&] { return s.redundant(); }, seconds(120)));
  EXPECT_EQ(s.settle(), "");
}

TEST(FullDisk, RefusesWritesAndServesReadsAndTrims) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 6));
    s.fill_disk(who);
    EXPECT_EQ(s.write(0, 7 * Scenario::object, 64), Answer::error);
    EXPECT_EQ(s.write(1, 3 * Scenario::object + 64, 64), Answer::error);
    EXPECT_TRUE(s.read_all(who)) << s.trouble();
    EXPECT_EQ(s.trim(0, 0, 8), Answer::ok);
    s.empty_disk(who);
    EXPECT_TRUE(s.until([&] { return s.write(0, 7 * Scenario::object, 64) == Answer::ok; }));
    EXPECT_EQ(s.settle(), "") << "node " << who;
  }
}

void restart_full(bool flushed) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 6));
    if (flushed) {
      ASSERT_EQ(s.flush(0), Answer::ok);
    }
    s.fill_disk(who);
    s.cut_power({who});
    s.run(seconds(1));
    s.start({who});
    EXPECT_TRUE(s.until([&] { return s.serves(who); })) << "node " << who << " " << s.trouble();
    EXPECT_TRUE(s.read_all((who + 1) % 3)) << s.trouble();
    s.empty_disk(who);
    EXPECT_EQ(s.settle(), "") << "node " << who;
  }
}
TEST(FullDisk, OfANodeThatRestartsDoesNotKeepItOut) { restart_full(true); }
// A member that has lost what was not flushed and has no room to pull it is no copy; the others are read without it.
TEST(FullDisk, OfANodeThatRestartsWithoutAllDataLeavesTheOthersReadable) { restart_full(false); }

TEST(FullDisk, CanBeEmptiedByDeletingADisk) {
  Scenario s({.nodes = 3, .copies = 3, .vdis = 2});
  ASSERT_TRUE(s.write_all(0, 6, 0));
  for (std::uint32_t i = 0; i < 32; ++i) ASSERT_EQ(s.write(0, i * 512, 512, 1), Answer::ok);
  s.run(seconds(5));
  for (std::uint32_t who = 0; who < 3; ++who) s.fill_disk_to_reserve(who);
  s.run(seconds(2));
  const std::uint64_t used = s.disk(0).used();
  EXPECT_EQ(s.delete_disk("vol1"), "");
  s.run(seconds(10));
  EXPECT_LT(s.disk(0).used() + (6u << 20), used);
  EXPECT_EQ(s.write(0, 7 * Scenario::object, 64, 0), Answer::ok) << "there is room again";
  EXPECT_TRUE(s.read_all(0, 0)) << s.trouble();
  for (std::uint32_t who = 0; who < 3; ++who) s.empty_disk(who);
  EXPECT_EQ(s.settle_without({}).find("vol1"), std::string::npos);
}

TEST(DamagedDisk, IsRepairedFromAnotherCopyAndNeverShown) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(0, 6));
    s.cut_power({who});
    s.start({who});
    ASSERT_TRUE(s.until([&] { return s.redundant(); }));
    for (int bits = 0; bits < 5; ++bits) s.disk(who).flip_bit(FileKind::object);
    for (std::uint32_t node = 0; node < 3; ++node) EXPECT_TRUE(s.read_all(node)) << s.trouble();
    EXPECT_EQ(s.settle_without({}), "");
  }
}

TEST(DamagedDisk, ThatCannotBeReadIsReadFromAnother) {
  for (std::uint32_t who = 0; who < 3; ++who) {
    Scenario s({.nodes = 3, .copies = 3});
    ASSERT_TRUE(s.write_all(who, 6));
    s.run(seconds(3));
    s.disk(who).config.read_error_per_million = 1'000'000;
    EXPECT_TRUE(s.read_all((who + 1) % 3)) << s.trouble();
    EXPECT_TRUE(s.read_all((who + 2) % 3)) << s.trouble();
    EXPECT_EQ(s.settle_without({}), "");
  }
}

// A bit of one node's journal rots while the power is off, of one node or of all: whatever the bit belongs to, what was
// flushed is with the others.
void rotten_journal(bool power_of_all) {
  bool noticed = false;
  for (std::uint64_t seed = 1; seed <= 36; ++seed) {
    Scenario s({.nodes = 3, .copies = 3, .seed = seed});
    const std::uint32_t who = seed % 3;
    for (std::uint32_t round = 0; round < 6; ++round) {
      ASSERT_EQ(s.write(0, round * 64, 64), Answer::ok);
      ASSERT_EQ(s.flush(0), Answer::ok);
    }
    if (power_of_all)
      s.power_off_all();
    else
      s.cut_power({who});
    ASSERT_TRUE(s.disk(who).flip_bit(FileKind::journal));
    s.start({0, 1, 2});
    EXPECT_TRUE(s.until([&] { return s.serves(who); }));
    noticed |= s.came_by(Probe::journal_damaged);
    EXPECT_EQ(s.settle(), "") << "seed " << seed;
  }
  EXPECT_TRUE(noticed) << "no bit was one of a batch that had been synced";
}
TEST(DamagedJournal, OfOneNodeThatLostItsPowerLosesNothing) { rotten_journal(false); }
TEST(DamagedJournal, OfOneNodeWhenAllLostTheirPowerLosesNothingThatWasFlushed) { rotten_journal(true); }

// The newest metadata of objects rot while the node runs, and it goes on to change the objects. When it comes back it
// finds older metadata, which are whole, and changes that do not follow them: that copy counts for nothing until it is
// made anew.
TEST(DamagedDisk, WithOlderMetadataIsNotTakenForTheNewest) {
  bool noticed = false;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Scenario s({.nodes = 3, .copies = 3, .seed = seed});
    const std::uint32_t who = seed % 3;
    for (std::uint32_t round = 0; round < 4; ++round) {
      ASSERT_TRUE(s.write_all(0, 4));
      s.run(seconds(12));  // until a checkpoint
    }
    for (int bits = 0; bits < 4; ++bits) ASSERT_TRUE(s.disk(who).flip_bit(FileKind::object_meta));
    ASSERT_EQ(s.write(0, 16, 8), Answer::ok);
    for (std::uint32_t object = 1; object < 4; ++object)
      ASSERT_EQ(s.write(0, object * Scenario::object + 16, 8), Answer::ok);
    ASSERT_EQ(s.flush(0), Answer::ok);
    s.cut_power({who});
    s.start({who});
    EXPECT_TRUE(s.until([&] { return s.serves(who); }));
    EXPECT_TRUE(s.read_all(who)) << "seed " << seed << s.trouble();
    noticed |= s.came_by(Probe::metadata_lost);
    EXPECT_EQ(s.settle(), "") << "seed " << seed;
  }
  EXPECT_TRUE(noticed);
}

// What an operator's check finds that nobody has come by yet: each kind of wrong copy once, at one member of three.
// `said` counts it, and afterwards all copies are equal and good.
class CheckedDisk : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(s.write_all(0, objects));
    s.run(seconds(12));  // until a checkpoint
    other = (s.owner() + 1) % 3;
  }
  // More objects than a member remembers were in use there since.
  void forget_the_first_at_every_member() {
    for (std::uint32_t i = 1; i < objects; ++i) ASSERT_EQ(s.write(0, i * Scenario::object, 8), Answer::ok);
    s.run(seconds(12));
  }
  void expect_good_from_now_on() {
    const auto again = s.check_disk();
    EXPECT_TRUE(again.done && again.good());
    EXPECT_EQ(again.damaged + again.restored, 0u);
    EXPECT_EQ(again.copies, 3 * (objects + 1)) << "of the data, and of the index";
    EXPECT_EQ(s.settle(), "");
  }
  static constexpr std::uint32_t objects = 200;
  Scenario s{{.nodes = 3, .copies = 3, .objects = objects}};
  std::uint32_t other = 0;
};

TEST_F(CheckedDisk, ThatIsGoodIsLeftAsItIs) {
  const auto said = s.check_disk();
  EXPECT_TRUE(said.done && said.good());
  EXPECT_EQ(said.objects, objects + 1);
  EXPECT_EQ(said.damaged + said.repaired + said.restored, 0u);
  EXPECT_EQ(said.bytes, 3u * 4096 * (objects + 1));
  expect_good_from_now_on();
}

TEST_F(CheckedDisk, WithARottenBlockIsRepaired) {
  ASSERT_TRUE(s.disk(other).flip_bit_at(s.object_file(7), 5));
  const auto said = s.check_disk();
  EXPECT_TRUE(said.done && said.good());
  EXPECT_EQ(said.damaged, 1u);
  EXPECT_EQ(said.repaired, 1u);
  expect_good_from_now_on();
}

TEST_F(CheckedDisk, WithACopyDeletedBehindTheNodesBackGetsItAgain) {
  forget_the_first_at_every_member();
  s.disk(other).lose(s.object_file(0));
  s.disk(other).lose(s.object_file(0, FileKind::object_meta));
  const auto said = s.check_disk();
  EXPECT_TRUE(said.done && said.good());
  EXPECT_EQ(said.restored, 1u);
  expect_good_from_now_on();
}

TEST_F(CheckedDisk, WithACopyThatGrewOldGetsTheNewOne) {
  s.disk(other).config.lost_write_per_million = 1'000'000;
  ASSERT_EQ(s.write(0, 0, 8), Answer::ok);
  s.run(seconds(12));
  s.disk(other).config.lost_write_per_million = 0;
  forget_the_first_at_every_member();
  const auto said = s.check_disk();
  EXPECT_TRUE(said.done && said.good());
  EXPECT_EQ(said.restored, 1u);
  expect_good_from_now_on();
}

TEST_F(CheckedDisk, WithABlockThatNobodyHasSaysSoAndServesTheRest) {
  for (std::uint32_t node = 0; node < 3; ++node) ASSERT_TRUE(s.disk(node).flip_bit_at(s.object_file(7), 5));
  for (int times = 0; times < 2; ++times) {
    const auto said = s.check_disk();
    EXPECT_TRUE(said.done);
    EXPECT_FALSE(said.good());
    EXPECT_EQ(said.lost, 1u);
    EXPECT_EQ(said.damaged, 3u);
    EXPECT_EQ(said.repaired, 0u);
  }
  EXPECT_EQ(s.read(0, 7 * Scenario::object, 8), Answer::error);
  EXPECT_EQ(s.read(0, 6 * Scenario::object, 8), Answer::ok);
  EXPECT_EQ(s.write(0, 7 * Scenario::object, 8), Answer::ok) << "which ends the matter";
  expect_good_from_now_on();
}

TEST_F(CheckedDisk, ThroughAChangeOfItsOwnerIsCheckedToTheEnd) {
  ASSERT_TRUE(s.disk(other).flip_bit_at(s.object_file(objects - 1), 5));
  s.kill_after(s.owner(), 3);  // in the midst of it
  const auto said = s.check_disk(0, other);
  EXPECT_TRUE(said.done);
  EXPECT_EQ(said.repaired, 1u);
  EXPECT_EQ(said.lost + said.unchecked, 0u);
  EXPECT_GT(said.absent, 0u) << "of the one that was killed";
  EXPECT_EQ(s.settle(), "");
}

// A recovery that cannot be done is not done: the one good copy stays, and history is not forgotten, until it is.
TEST(FailedRecovery, KeepsTheLastGoodCopy) {
  for (std::uint32_t victim = 0; victim < 3; ++victim) {
    Scenario s({.nodes = 4, .copies = 2, .objects = 12});
    ASSERT_TRUE(s.write_all(3, 12));
    ASSERT_EQ(s.flush(3), Answer::ok);
    // Nobody has room for the copies that are to be made anew.
    for (std::uint32_t node = 0; node < 4; ++node)
      if (node != victim) s.fill_disk_to_reserve(node);
    s.cut_power({victim});
    s.run(seconds(20));
    const std::uint32_t leader = s.leader();
    if (leader < 4) {
      EXPECT_GT(s.state(leader).epochs.size(), 1u) << "recovery counts as done although it cannot be";
    }
    for (std::uint32_t node = 0; node < 4; ++node)
      if (node != victim) s.empty_disk(node);
    EXPECT_TRUE(s.until([&] { return s.read_all(3); })) << s.trouble();
    EXPECT_EQ(s.settle(), "") << "without node " << victim;
  }
}

TEST(FailedRecovery, BecauseTheSourceIsUnreadableKeepsHistory) {
  Scenario s({.nodes = 4, .copies = 2, .objects = 12});
  ASSERT_TRUE(s.write_all(3, 12));
  ASSERT_EQ(s.flush(3), Answer::ok);
  s.run(seconds(3));
  for (std::uint32_t node = 1; node < 4; ++node) s.disk(node).config.read_error_per_million = 1'000'000;
  s.cut_power({0});
  s.run(seconds(20));
  for (std::uint32_t node = 1; node < 4; ++node) s.disk(node).config.read_error_per_million = 0;
  s.start({0});
  EXPECT_EQ(s.settle(), "");
}

// No error, and no answer either: everybody would wait for it.
TEST(HungDisk, CostsTheNodeAndNotTheCluster) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 4));
  const std::uint32_t owner = s.owner();
  for (const std::uint32_t hung : {owner, (owner + 1) % 3}) {
    const std::uint32_t other = (hung + 1) % 3;
    const auto starts = s.machine(hung).incarnations();
    s.hang_disk(hung, true);
    const auto asked = s.ask(OpClass::fua, other, 0, 8);
    EXPECT_TRUE(s.until([&] { return s.machine(hung).running() && s.status(hung).disk_silent_for > 0; }, seconds(10)));
    EXPECT_EQ(s.wait(asked, seconds(40)), Answer::ok) << s.trouble();
    EXPECT_TRUE(!s.machine(hung).running() || s.machine(hung).incarnations() > starts) << "it has given up";
    s.hang_disk(hung, false);
    s.kill({hung});
    s.start({hung});
    ASSERT_TRUE(s.until([&] { return s.serves(hung); })) << s.trouble();
  }
  EXPECT_EQ(s.settle(), "");
}

TEST(HungDisk, ThatAnswersInTimeCostsNothing) {
  Scenario s({.nodes = 3, .copies = 3});
  ASSERT_TRUE(s.write_all(0, 4));
  s.disk(1).config.stall_per_thousand = 1000;
  s.disk(1).config.stall = seconds(12);
  const auto asked = s.ask(OpClass::fua, 0, 0, 8);
  EXPECT_EQ(s.wait(asked, seconds(40)), Answer::ok) << s.trouble();
  EXPECT_TRUE(s.machine(1).running());
  s.disk(1).config.stall_per_thousand = 0;
  EXPECT_TRUE(s.until([&] { return s.status(1).disk_silent_for == 0; }));
  EXPECT_EQ(s.settle(), "");
}

}  // namespace
}  // namespace sd::sim
