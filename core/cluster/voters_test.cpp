#include "core/cluster/voters.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/random.hpp"

namespace sd::cluster {
namespace {

// A member for each character: V a voter, L a learner; small letters are down; each in the zone given.
class Voters : public testing::Test {
 protected:
  std::vector<VoterCandidate> members;

  void make(const std::string& kinds, const std::string& zones = {}) {
    members.clear();
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      VoterCandidate m;
      m.id = i + 1;
      m.zone = zones.empty() ? static_cast<std::uint32_t>(i) : static_cast<std::uint32_t>(zones[i]);
      m.voter = kinds[i] == 'V' || kinds[i] == 'v';
      m.up = kinds[i] == 'V' || kinds[i] == 'L';
      m.ready = true;
      members.push_back(m);
    }
    for (auto& m : members)
      if (m.voter && m.up) {
        m.leads = true;
        break;
      }
  }
  std::size_t voters() const {
    return static_cast<std::size_t>(std::ranges::count_if(members, &VoterCandidate::voter));
  }
  // Makes changes until there are none, and gives the kinds; each change leaves a majority of the voters up if it found
  // one.
  std::string settle() {
    for (int steps = 0; steps < 40; ++steps) {
      const auto change = next_voter_change(members);
      if (!change) return kinds();
      auto& m = members[change->id - 1];
      EXPECT_NE(m.voter, change->promote) << kinds();
      EXPECT_FALSE(m.leads && !change->promote);
      m.voter = change->promote;
      EXPECT_LE(voters(), most_voters);
      const auto live =
          static_cast<std::size_t>(std::ranges::count_if(members, [](const auto& c) { return c.voter && c.up; }));
      EXPECT_GE(live, voters() / 2 + 1) << kinds();
    }
    ADD_FAILURE() << "no end of changes: " << kinds();
    return kinds();
  }
  std::string kinds() const {
    std::string text;
    for (const auto& m : members) text += m.voter ? (m.up ? 'V' : 'v') : (m.up ? 'L' : 'l');
    return text;
  }
};

TEST_F(Voters, AnOddNumberUpToFiveAndTwoIfThereAreTwo) {
  const std::pair<std::string, std::string> cases[] = {{"V", "V"},       {"VL", "VV"},       {"VLL", "VVV"},
                                                       {"VLLL", "VVVL"}, {"VLLLL", "VVVVV"}, {"VLLLLLLL", "VVVVVLLL"}};
  for (const auto& [before, after] : cases) {
    make(before);
    EXPECT_EQ(settle(), after);
  }
}

TEST_F(Voters, AVoterThatIsDownKeepsItsVoteForAWhile) {
  make("VVvL");
  EXPECT_FALSE(next_voter_change(members));
}

TEST_F(Voters, OneThatIsGoneIsPutOutBeforeItsSuccessorComesIn) {
  make("VVvL");
  members[2].gone = true;
  EXPECT_EQ(next_voter_change(members), (VoterChange{3, false}));
  EXPECT_EQ(settle(), "VVlV");
}

TEST_F(Voters, OneThatIsGoneKeepsItsVoteIfNobodyCanReplaceIt) {
  make("VVv");
  members[2].gone = true;
  EXPECT_FALSE(next_voter_change(members));
  make("VVvL");
  members[2].gone = true;
  members[3].ready = false;
  EXPECT_FALSE(next_voter_change(members));
}

TEST_F(Voters, NoneIsPutOutIfTheRestIsNoMajority) {
  make("vVvL");  // the first is dead and not yet given up; the third said that it leaves
  members[2].gone = true;
  EXPECT_FALSE(next_voter_change(members)) << "two voters, one of them dead, could not even commit that";
}

TEST_F(Voters, FewerVotersIfTheOthersNeedEachOther) {
  make("VVVvv");
  members[3].gone = members[4].gone = true;
  EXPECT_EQ(settle(), "VVVll");
}

TEST_F(Voters, ADrainedVoterHandsOverFirst) {
  make("VVVL");
  members[1].draining = true;
  EXPECT_EQ(next_voter_change(members), (VoterChange{4, true}));
  EXPECT_EQ(settle(), "VLVV");
  make("VV");
  members[1].draining = true;
  EXPECT_EQ(settle(), "VL");
  make("VVV");
  members[1].draining = true;
  EXPECT_FALSE(next_voter_change(members)) << "two voters are no better than three of which one goes";
}

TEST_F(Voters, AreSpreadOverZones) {
  make("VLLLL", "aaabc");
  EXPECT_EQ(settle(), "VVVVV");
  make("VLLLLLL", "aaaabcd");
  EXPECT_EQ(settle(), "VVLLVVV");
  make("VVVLL", "aaabc");  // five fit ones: all of them
  EXPECT_EQ(settle(), "VVVVV");
  make("VVVL", "aaab");  // one of the crowded zone is replaced
  EXPECT_EQ(settle(), "VVLV");
}

TEST_F(Voters, EveryClusterSettlesAndNoChangeCostsTheMajority) {
  Random random(1);
  for (int run = 0; run < 20000; ++run) {
    std::string shape = "V", zones = "a";
    const auto others = random.below(8);
    std::size_t up = 1, votes = 1;
    for (std::uint64_t i = 0; i < others; ++i) {
      const char kind = "VVLLvl"[random.below(6)];
      if ((kind == 'V' || kind == 'v') && votes == most_voters) continue;
      shape += kind;
      zones += static_cast<char>('a' + random.below(4));
      votes += kind == 'V' || kind == 'v';
      up += kind == 'V';
    }
    if (up < votes / 2 + 1) continue;  // without a majority nothing can change
    make(shape, zones);
    for (auto& m : members) {
      m.gone = !m.up && random.below(2) == 0;
      m.draining = !m.leads && random.below(6) == 0;
      m.ready = m.voter || random.below(4) != 0;
    }
    settle();
  }
}

}  // namespace
}  // namespace sd::cluster
