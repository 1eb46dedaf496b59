// Schedules for planted bugs that seeds drawn at random do not catch: each passes as things are, and fails with its
// bug.
#include <gtest/gtest.h>

#include <functional>

#include "core/base/sim_bug.hpp"
#include "sim/scenario.hpp"

namespace sd::sim {
namespace {

using Answer = Scenario::Answer;

#ifdef SD_SIM_BUGS
// What the run says with that bug, and that it says nothing without.
void expect_caught(SimBug bug, const std::function<std::string()>& script) {
  EXPECT_EQ(script(), "");
  planted_bug = bug;
  const std::string said = script();
  planted_bug = SimBug::count;
  EXPECT_NE(said, "");
}

// An owner falls silent until its removal is proposed; then it reaches the leader again, gets a lease, and never learns
// what the log says.
TEST(PlantedBugs, ALeaseForAMemberWhoseRemovalIsOnItsWay) {
  expect_caught(SimBug::grant_while_removing, [] {
    Scenario s({.nodes = 3, .copies = 3});
    const std::uint32_t leader = s.leader();
    const std::uint32_t owner = (leader + 1) % 3;
    const std::uint32_t other = (leader + 2) % 3;
    EXPECT_TRUE(s.write_all(owner, 2));
    EXPECT_EQ(s.owner(), owner);
    EXPECT_EQ(s.read(other, 0, 8), Answer::ok);  // its guest is connected
    s.partition({owner}, {leader, other});
    s.run(s.lease_end() - milliseconds(200));
    s.partition({leader}, {other});  // so that the removal cannot be committed
    const std::uint64_t last = s.status(leader).last_index;
    s.until([&] { return s.status(leader).last_index > last || s.leader() != leader; }, seconds(1));
    s.unblock({owner}, {leader});
    s.unblock({leader}, {owner});
    s.until([&] { return s.serves(owner); }, milliseconds(300));
    s.partition({owner}, {leader, other});
    s.unblock({leader}, {other});
    s.unblock({other}, {leader});
    s.wait(s.ask(OpClass::write, other, 0, 8), seconds(20));
    EXPECT_TRUE(planted_bug != SimBug::count || s.came_by(Probe::lease_refused_removing));
    return s.settle();
  });
}

// A member that has not heard of a deletion yet finds out which disk of that name there is before it shows one.
TEST(PlantedBugs, AMemberShowsADiskThatItHasNotHeardWasDeleted) {
  expect_caught(SimBug::stale_exports, [] {
    Scenario s({.nodes = 3, .copies = 3, .lease = seconds(3), .lease_margin = milliseconds(500)});
    EXPECT_TRUE(s.write_all(1, 4));
    const std::uint32_t leader = s.leader();
    const std::uint32_t late = (leader + 1) % 3;
    const std::uint32_t other = (leader + 2) % 3;
    s.one_way({leader, other}, {late});
    EXPECT_EQ(s.delete_disk("vol0", leader), "");
    EXPECT_EQ(s.create_disk("vol0", leader), "");
    s.use_disk(0, "vol0");
    EXPECT_TRUE(s.serves(late)) << "its lease is not over";
    const auto asked = s.ask(OpClass::read, late, 0, 8);
    s.run(milliseconds(500));
    s.heal_network();
    if (s.wait(asked) != Answer::ok) return "not answered: " + s.trouble();
    return s.settle();
  });
}

// A gateway that stores nothing knows a disk that was deleted, and whose number another has. What it sends on is for
// the one it knows.
TEST(PlantedBugs, ARequestForADeletedDiskMeetsTheNextOfItsNumber) {
  expect_caught(SimBug::number_is_disk, [] {
    Scenario s({.nodes = 4, .copies = 3, .gateways = 1, .lease = seconds(5), .lease_margin = milliseconds(500)});
    constexpr std::uint32_t gateway = 3;
    const auto vid_at = [&] {
      const cluster::Vdi* vdi = s.state(0).find("vol0");
      return vdi ? vdi->vid : 0;
    };
    EXPECT_TRUE(s.write_all(0, 2));
    EXPECT_EQ(s.read(gateway, 0, 8), Answer::ok);
    const Vid vid = vid_at();
    s.one_way({0, 1, 2}, {gateway});
    EXPECT_EQ(s.delete_disk("vol0", 0), "");
    EXPECT_TRUE(s.until([&] { return s.state(0).find(vid) == nullptr; }, seconds(3))) << "all that store purged it";
    EXPECT_EQ(s.create_disk("vol0", 0), "");
    EXPECT_EQ(vid_at(), vid);
    s.ask(OpClass::write, gateway, 0, 8);
    s.run(milliseconds(100));
    s.use_disk(0, "vol0");  // the one that is: the write is not for it
    EXPECT_EQ(s.read(0, 0, 8), Answer::ok);
    s.run(seconds(2));
    s.heal_network();
    s.run(seconds(2));
    if (s.read(0, 0, 8) != Answer::ok) return "not answered: " + s.trouble();
    return s.settle();
  });
}

// All power is lost just after the first write of an object, and of the object and its entry in the index only the
// object survives: it reads as zeros. Then likewise, and of another first write only the entry survives.
TEST(PlantedBugs, AnObjectThatNoIndexNamedComesBackWithTheNextEntry) {
  expect_caught(SimBug::keep_orphans, [] {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      Scenario s({.nodes = 5, .copies = 2, .seed = seed});
      for (std::uint32_t object = 0; object < 6; ++object) {
        const std::uint64_t at = object * Scenario::object;
        for (int round = 0; round < 3; ++round) {
          if (s.write(0, at + 64 * static_cast<std::uint64_t>(round), 8) != Answer::ok) return s.trouble();
          s.power_off_all();
          s.start({0, 1, 2, 3, 4});
          if (!s.until([&] { return s.serving() == 5; })) return s.trouble();
          s.reconnect(0);
          if (s.read(0, at, 256) != Answer::ok) return "not answered: " + s.trouble();
          if (!s.trouble().empty()) return s.trouble();
        }
      }
    }
    return std::string();
  });
}

// The disk says ok to the writes of an object and its metadata and carries none out; then the node forgets what it knew
// of the object, and reads it again: whole, every checksum right, and old.
TEST(PlantedBugs, AReadOfACopyThatItsDiskLetGrowOld) {
  expect_caught(SimBug::believe_old_reads, [] {
    Scenario s({.nodes = 3, .copies = 3, .objects = 200});
    EXPECT_TRUE(s.write_all(0, 200));
    const std::uint32_t owner = s.owner();
    s.run(seconds(12));  // until a checkpoint
    s.disk(owner).config.lost_write_per_million = 1'000'000;
    EXPECT_EQ(s.write(owner, 0, 8), Answer::ok);
    s.run(seconds(12));
    s.disk(owner).config.lost_write_per_million = 0;
    for (std::uint32_t object = 1; object < 200; ++object)
      EXPECT_EQ(s.read(owner, object * Scenario::object, 8), Answer::ok);
    EXPECT_EQ(s.read(owner, 0, 8), Answer::ok);
    EXPECT_TRUE(planted_bug != SimBug::count || s.came_by(Probe::read_from_older_copy));
    return s.trouble();
  });
}

// Nobody asks for the objects, and no epoch changes: only the scrub comes by.
TEST(PlantedBugs, MetadataThatRotAtOneMember) {
  expect_caught(SimBug::lost_copy_untold, [] {
    Scenario s({.nodes = 3, .copies = 3, .objects = 200});
    EXPECT_TRUE(s.write_all(0, 200));
    s.run(seconds(12));  // until a checkpoint
    const std::uint32_t other = (s.owner() + 1) % 3;
    for (int bits = 0; bits < 10; ++bits) EXPECT_TRUE(s.disk(other).flip_bit(FileKind::object_meta));
    s.run(seconds(3700));
    return s.settle();
  });
}

// A member that has lost what was not flushed comes back on a full disk, which has no room for that: history must stay
// open until it has.
TEST(PlantedBugs, AFullMemberThatLacksItsCopies) {
  expect_caught(SimBug::full_counts_as_copy, [] {
    std::string said;
    for (std::uint32_t who = 0; who < 3; ++who) {
      Scenario s({.nodes = 3, .copies = 3});
      EXPECT_TRUE(s.write_all(0, 6));
      s.fill_disk(who);
      s.cut_power({who});
      s.run(seconds(1));
      s.start({who});
      s.until([&] { return s.serves(who); });
      s.read_all((who + 1) % 3);
      s.run(seconds(20));
      s.empty_disk(who);
      said += s.settle();
    }
    return said;
  });
}

// A voter is back with a new disk, before anybody has missed it: the others tell the leader of it, which cannot reach
// it. With a vote it would be the third of four that a majority needs, and not know of which group.
TEST(PlantedBugs, AVoteForOneThatHoldsNothingOfTheLog) {
  expect_caught(SimBug::promote_unheard, [] {
    std::string said;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {  // whose turn it is to get a vote is decided by ids
      Scenario s({.nodes = 4, .copies = 2, .zones = 3, .seed = seed});
      EXPECT_TRUE(s.write_all(0, 2));
      const std::uint32_t leader = s.leader();
      std::uint32_t victim = (leader + 1) % 4;
      while (!s.status(victim).voter) victim = (victim + 1) % 4;
      s.cut_power({victim});
      s.wipe(victim);
      s.partition({leader}, {victim});
      s.start({victim});
      s.run(seconds(2));
      s.kill({leader});  // and with it whatever it had on its way
      said += s.settle();
    }
    return said;
  });
}

// Nobody is told whom to call, and nobody knows what is committed until there is a leader.
TEST(PlantedBugs, AColdStartOfNodesThatKnowNobody) {
  expect_caught(SimBug::call_nobody, [] {
    Scenario s({.nodes = 3, .copies = 3});
    EXPECT_TRUE(s.write_all(0, 2));
    EXPECT_EQ(s.flush(0), Scenario::Answer::ok);
    s.power_off_all();
    s.forget_seeds({0, 1, 2});
    return s.settle();
  });
}

// The disk of a member cannot read for a while, which is when its data moves elsewhere: what its successors lack, it
// still has.
TEST(PlantedBugs, ACopyThatCouldNotBeReadWhenItMoved) {
  expect_caught(SimBug::collect_unread, [] {
    Scenario s({.nodes = 3, .copies = 1, .objects = 12});
    EXPECT_TRUE(s.write_all(0, 12));
    s.run(seconds(8));  // all of it is in object files, and nothing in memory
    const NodeId id = s.status(2).id;
    s.disk(2).config.read_error_per_million = 1'000'000;
    EXPECT_EQ(s.order(client::NodeDrain{id, true}), "");
    EXPECT_TRUE(s.until([&] { return s.leader() < 3 && s.state(s.leader()).is_drained(id); })) << s.trouble();
    s.run(milliseconds(100));
    s.disk(2).config.read_error_per_million = 0;
    s.run(seconds(10));
    EXPECT_TRUE(planted_bug != SimBug::count || s.came_by(Probe::repaired_by_leftover));
    return s.settle();
  });
}

// A disk from before the present incarnation, whose number it repeats; the one member that has what was written in it
// is away.
TEST(PlantedBugs, AIncarnationThatIsRepeated) {
  expect_caught(SimBug::repeat_incarnation, [] {
    std::string said;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {  // what is lost with the power is a matter of chance
      Scenario s({.nodes = 3, .copies = 3, .seed = seed});
      s.write_all(0, 4);
      s.flush(0);
      s.cut_power({2});
      const auto image = s.disk(2).image();
      s.start({2});
      s.until([&] { return s.redundant(); }, seconds(120));
      s.write_all(0, 4);
      s.cut_power({0, 2});
      s.disk(2).restore(*image);
      s.partition({1}, {0, 2});
      s.start({0, 2});
      s.run(seconds(5));
      s.read_all(0);
      s.heal_network();
      said += s.settle_without({2});
    }
    return said;
  });
}

// What was flushed is with one member that is away, and with one whose disk is put back to before.
TEST(PlantedBugs, AnOldDiskThatIsLetIn) {
  expect_caught(SimBug::old_disk_joins, [] {
    Scenario s({.nodes = 3, .copies = 2});  // most objects are with nodes 0 and 2
    s.write_all(1, 8);
    s.flush(1);
    s.cut_power({0});
    const auto image = s.disk(0).image();
    s.start({0});
    s.until([&] { return s.redundant(); }, seconds(120));
    s.write_all(1, 8);
    s.flush(1);
    s.cut_power({0, 2});
    s.kill({1});
    s.disk(0).restore(*image);
    s.start({0, 1});
    s.run(seconds(35));
    s.read_all(1);
    s.cut_power({0});
    s.start({2});
    return s.settle_without({0});
  });
}

// Likewise; but the one whose disk is put back was being drained, and is forgotten together with the incarnation that
// its disk must know.
TEST(PlantedBugs, AMemberThatIsForgottenWhileItIsNeeded) {
  expect_caught(SimBug::forget_early, [] {
    Scenario s({.nodes = 4, .copies = 2, .objects = 16});
    std::uint32_t drained = 0;
    while (s.status(drained).voter) ++drained;
    const std::uint32_t reader = s.leader();
    s.write_all(reader, 16);
    s.flush(reader);
    s.cut_power({drained});
    const auto image = s.disk(drained).image();
    s.start({drained});
    s.until([&] { return s.redundant(); }, seconds(120));
    s.write_all(reader, 16);
    s.flush(reader);
    const NodeId id = s.status(drained).id;
    std::uint32_t other = reader;  // some object is with these two alone
    for (std::uint32_t object = 0; object < 16; ++object)
      for (std::uint32_t node = 0; node < 4; ++node)
        if (s.holds(drained, object) && s.holds(node, object) && node != drained && node != reader) other = node;
    s.cut_power({drained, other});
    EXPECT_EQ(s.order(client::NodeDrain{id, true}, reader), "");
    s.run(seconds(10));
    EXPECT_TRUE(planted_bug != SimBug::count || s.state(reader).member(id))
        << "history is open: it may be the only one to have something";
    s.disk(drained).restore(*image);
    s.start({drained});
    s.run(seconds(35));
    s.read_all(reader);
    s.cut_power({drained});
    s.start({other});
    return s.settle_without({drained});
  });
}

// A write is on its way to the only copy's journal when the cluster changes; found there by the owner, it is flushed.
TEST(PlantedBugs, AWriteThatIsToldOfBeforeItIsInTheJournal) {
  expect_caught(SimBug::tell_unwritten, [] {
    Scenario s({.nodes = 4, .copies = 1});
    EXPECT_TRUE(s.write_all(0, 8));
    const std::uint32_t owner = s.owner();
    std::uint32_t index = 0, member = owner;
    for (; index < 8 && (member == owner || member == s.leader()); ++index)
      for (std::uint32_t node = 0; node < 4; ++node)
        if (s.holds(node, index)) member = node;
    --index;
    std::uint32_t other = 0;
    while (other == owner || other == member || other == s.leader()) ++other;
    s.disk(member).config.write_min = s.disk(member).config.write_max = seconds(3);
    const auto asked = s.ask(OpClass::fua, owner, index * Scenario::object + 8, 8);
    s.run(milliseconds(20));
    s.kill({other});
    s.wait(asked);
    s.power_off_all();
    s.disk(member).config.write_min = s.disk(member).config.write_max = microseconds(50);
    return s.settle();
  });
}

// Two owners, one after the other, are cut off while they write to themselves: neither write was acknowledged, each is
// above what the others have. What a client has seen of the first is gone when the second comes back, unless it was
// written down which history counts.
TEST(PlantedBugs, AHistoryThatWasNotChosenAndComesBack) {
  expect_caught(SimBug::skip_establish, [] {
    std::string said;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      Scenario s({.nodes = 3, .copies = 3, .seed = seed});
      const std::uint32_t third = s.leader();
      const std::uint32_t first = (third + 1) % 3;
      const std::uint32_t second = (third + 2) % 3;
      EXPECT_TRUE(s.write_all(first, 1));
      EXPECT_EQ(s.owner(), first);
      s.partition({first}, {second, third});
      s.ask(OpClass::write, first, 0, 8);
      EXPECT_EQ(s.read(second, 0, 16), Answer::ok);
      EXPECT_TRUE(planted_bug != SimBug::count || s.came_by(Probe::establishes));
      EXPECT_EQ(s.owner(), second);
      s.heal_network();
      s.partition({second}, {first, third});
      s.ask(OpClass::write, second, 8, 8);
      EXPECT_EQ(s.read(third, 0, 16), Answer::ok);
      said += s.settle();
    }
    return said;
  });
}

// A write has reached one member, which dies. What the others have is written down in its place, with a newer version,
// and while that is on its way another one dies. The version that is then found does not include the write.
TEST(PlantedBugs, AWriteThatIsNotInWhatWasWrittenDownAfterIt) {
  expect_caught(SimBug::newer_means_done, [] {
    std::string said;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      Scenario s({.nodes = 5, .copies = 4, .gateways = 1, .seed = seed});
      const std::uint32_t owner = 4;
      EXPECT_TRUE(s.write_all(owner, 1));
      if (s.leader() == owner) continue;
      const std::uint32_t leader = s.leader();
      const std::uint32_t late = (leader + 1) % 4;
      const std::uint32_t early = (leader + 2) % 4;
      const std::uint32_t lone = (leader + 3) % 4;
      const NodeId lone_id = s.status(lone).id;
      s.partition({owner}, {leader, late, early});
      const auto asked = s.ask(OpClass::write, owner, 0, 8);
      s.run(milliseconds(20));
      s.kill({lone});
      EXPECT_TRUE(s.until([&] {
        return !s.state(leader).member(lone_id)->up && !s.state(late).member(lone_id)->up &&
               !s.state(early).member(lone_id)->up;
      }));
      s.heal_network();
      EXPECT_TRUE(s.until([&] { return s.came_by(Probe::establishes); }));
      s.one_way({owner}, {late});
      s.run(milliseconds(20));
      s.kill({early});
      s.run(milliseconds(500));
      s.heal_network();
      EXPECT_EQ(s.wait(asked), Answer::ok);
      EXPECT_TRUE(s.came_by(Probe::establishes_twice));
      said += s.settle();
    }
    return said;
  });
}

// Seconds of data wait for the path to an owner and back, whose lease is one second.
TEST(PlantedBugs, HeartbeatsBehindData) {
  expect_caught(SimBug::beats_behind_bulk, [] {
    Scenario s({.nodes = 3, .copies = 3});
    const std::uint32_t owner = (s.leader() + 1) % 3;
    EXPECT_TRUE(s.write_all(owner, 8));
    s.narrow_links(owner, 1000);
    for (std::uint32_t i = 0; i < 96; ++i) s.ask(OpClass::write, i % 3, i % 8 * Scenario::object + i / 8 * 128, 128);
    const bool silent = s.until([&] { return s.serving() < 3; }, seconds(6));
    return silent ? "a node lost its lease, though it lived and was heard" : s.settle();
  });
}

#endif

}  // namespace
}  // namespace sd::sim
