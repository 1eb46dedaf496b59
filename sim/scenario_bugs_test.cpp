// Schedules for planted bugs that seeds drawn at random do not catch: each passes as things are, and fails with its bug.
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

// An owner falls silent until its removal is proposed; then it reaches the leader again, gets a lease, and never learns what the log says.
TEST(PlantedBugs, ALeaseForAMemberWhoseRemovalIsOnItsWay) {
  expect_caught(SimBug::grant_to_condemned, [] {
    Scenario s({.nodes = 3, .copies = 3});
    const std::uint32_t leader = s.leader();
    const std::uint32_t owner = (leader + 1) % 3;
    const std::uint32_t other = (leader + 2) % 3;
    EXPECT_TRUE(s.write_all(owner, 2));
    EXPECT_EQ(s.owner(), owner);
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
    return s.settle();
  });
}

// The disk says ok to the writes of an object and its metadata and carries none out; then the node forgets what it knew of the object, and reads
// it again: whole, every checksum right, and old.
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
    for (std::uint32_t object = 1; object < 200; ++object) EXPECT_EQ(s.read(owner, object * Scenario::object, 8), Answer::ok);
    EXPECT_EQ(s.read(owner, 0, 8), Answer::ok);
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
#endif

}  // namespace
}  // namespace sd::sim
