#include "core/control/leadership.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/random.hpp"

namespace sd::control {

namespace {

constexpr Leadership::Timing timing{seconds(3), milliseconds(500), milliseconds(500)};
const auto nobody_gone = [](const Endpoint&) { return false; };

// Members 1 to n, all up, in their first incarnation.
cluster::State members(NodeId n) {
  cluster::State state;
  for (NodeId id = 1; id <= n; ++id) {
    cluster::Member m;
    m.id = id;
    m.incarnation = 1;
    m.address = Endpoint::v4(10, 0, 0, static_cast<std::uint8_t>(id), 7000);
    m.zone = static_cast<std::uint32_t>(id);
    m.vnodes = 128;
    state.apply(id, {0, 1, 0, cluster::Join{m}});
  }
  return state;
}

std::vector<NodeId> ids(const std::vector<Leadership::Silent>& silent) {
  std::vector<NodeId> found;
  for (const auto& one : silent) found.push_back(one.id);
  return found;
}
using Ids = std::vector<NodeId>;

TEST(Leadership, ANewLeaderWaitsForLeasesThatTheOldOneMayHaveGiven) {
  const auto state = members(3);
  Leadership leader(timing, {2, seconds(10), 0, 0});
  EXPECT_EQ(ids(leader.silent(seconds(13), state, 1, nobody_gone)), Ids{});
  EXPECT_EQ(ids(leader.silent(seconds(13) + milliseconds(500), state, 1, nobody_gone)), (Ids{2, 3}));
}

TEST(Leadership, TheOldLeadersOwnLeaseEndsEarlier) {
  const auto state = members(2);
  Leadership leader(timing, {2, seconds(10), 2, seconds(9)});
  EXPECT_EQ(ids(leader.silent(seconds(12) + milliseconds(499), state, 1, nobody_gone)), Ids{});
  EXPECT_EQ(ids(leader.silent(seconds(12) + milliseconds(500), state, 1, nobody_gone)), Ids{2});
}

TEST(Leadership, AMemberIsTakenOutALeaseAndAMarginAfterItsLastOne) {
  const auto state = members(2);
  Leadership leader(timing, {2, 0, 0, 0});
  leader.on_granted(seconds(5), 2, 0, {});
  EXPECT_EQ(ids(leader.silent(seconds(8) + milliseconds(499), state, 1, nobody_gone)), Ids{});
  EXPECT_EQ(ids(leader.silent(seconds(8) + milliseconds(500), state, 1, nobody_gone)), Ids{2});
  // ... and proposed again only after a while.
  EXPECT_EQ(ids(leader.silent(seconds(9), state, 1, nobody_gone)), Ids{});
  EXPECT_EQ(ids(leader.silent(seconds(10), state, 1, nobody_gone)), Ids{2});
}

TEST(Leadership, ThoseThatFellSilentTogetherAreTakenOutTogether) {
  const auto state = members(3);
  Leadership leader(timing, {2, 0, 0, 0});
  leader.on_granted(seconds(5), 2, 0, {});
  leader.on_granted(seconds(5) + milliseconds(400), 3, 0, {});
  EXPECT_EQ(ids(leader.silent(seconds(8) + milliseconds(600), state, 1, nobody_gone)), Ids{});
  EXPECT_EQ(ids(leader.silent(seconds(9), state, 1, nobody_gone)), (Ids{2, 3}));
}

TEST(Leadership, WhoIsGivenTheLogAndNeverBecomesAMemberIsAStranger) {
  auto state = members(2);
  Leadership leader(timing, {2, 0, 0, 0});
  leader.watch_absent(seconds(10), state, {1, 2}, {9});
  leader.watch_absent(seconds(50), state, {1, 2}, {9});
  EXPECT_EQ(leader.stranger_for(seconds(70), 9), seconds(60));
  EXPECT_EQ(leader.stranger_for(seconds(70), 2), 0u);
  state.members[9] = state.members[2];
  leader.watch_absent(seconds(80), state, {1, 2}, {9});
  EXPECT_EQ(leader.stranger_for(seconds(90), 9), 0u);
  state.members.erase(9);
  leader.watch_absent(seconds(91), state, {1, 2}, {});
  leader.watch_absent(seconds(92), state, {1, 2}, {9});  // it asks again
  EXPECT_EQ(leader.stranger_for(seconds(93), 9), seconds(1));
}

TEST(Leadership, AProcessThatIsGoneIsNotWaitedFor) {
  const auto state = members(3);
  Leadership leader(timing, {2, seconds(10), 0, 0});
  const auto gone = [&](const Endpoint& address) { return address == state.member(3)->address; };
  const auto silent = leader.silent(seconds(10), state, 1, gone);
  EXPECT_EQ(ids(silent), Ids{3});
  EXPECT_TRUE(silent.front().gone);
}

TEST(Leadership, WhoIsBeingTakenOutGetsNoLease) {
  const auto state = members(2);
  Leadership leader(timing, {2, 0, 0, 0});
  EXPECT_TRUE(leader.may_grant(seconds(4), state, 2, 1, seconds(4), 2));
  EXPECT_EQ(ids(leader.silent(seconds(4), state, 1, nobody_gone)), Ids{2});
  EXPECT_FALSE(leader.may_grant(seconds(4), state, 2, 1, seconds(4), 2));
  // Until it is let in anew: all that was proposed of it stands before that.
  leader.on_join_request(2);
  EXPECT_TRUE(leader.may_let_in(seconds(5), 2));
  EXPECT_TRUE(leader.may_grant(seconds(5), state, 2, 1, seconds(5), 2));
}

TEST(Leadership, ALeaderThatMayBeAloneOrHasNotAppliedTheLogGivesNoLease) {
  const auto state = members(2);
  const Leadership leader(timing, {7, 0, 0, 0});
  EXPECT_FALSE(leader.may_grant(seconds(4), state, 2, 1, seconds(4) - milliseconds(500), 7));
  EXPECT_TRUE(leader.may_grant(seconds(4), state, 2, 1, seconds(4) - milliseconds(499), 7));
  EXPECT_FALSE(leader.may_grant(seconds(4), state, 2, 1, seconds(4), 6));
  EXPECT_FALSE(leader.may_grant(seconds(4), state, 2, 2, seconds(4), 7));  // another incarnation
  EXPECT_FALSE(leader.may_grant(seconds(4), state, 3, 1, seconds(4), 7));  // no member
}

TEST(Leadership, JoiningIsProposedAgainByTheNextLeaderAtOnce) {
  Leadership first(timing, {2, 0, 0, 0});
  EXPECT_TRUE(first.may_let_in(seconds(4), 2));
  EXPECT_FALSE(first.may_let_in(seconds(4) + milliseconds(100), 2));
  Leadership second(timing, {3, seconds(4), 0, 0});
  EXPECT_TRUE(second.may_let_in(seconds(4) + milliseconds(100), 2));
}

TEST(Leadership, AnAbsenceCountsFromWhenItWasFirstSeen) {
  auto state = members(2);
  Leadership leader(timing, {2, 0, 0, 0});
  leader.watch_absent(seconds(1), state, {1, 2, 9}, {});
  EXPECT_EQ(leader.absent_for(seconds(3), 2), 0u);
  EXPECT_EQ(leader.absent_for(seconds(3), 9), seconds(2));  // a voter that is no member
  state.apply(3, {0, 1, 0, cluster::Remove{2, 1, false}});
  leader.watch_absent(seconds(3), state, {1, 2}, {});
  leader.watch_absent(seconds(5), state, {1, 2}, {});
  EXPECT_EQ(leader.absent_for(seconds(6), 2), seconds(3));
  cluster::Member back = *state.member(2);
  back.incarnation = 2;
  state.apply(4, {0, 1, 0, cluster::Join{back, 1}});
  leader.watch_absent(seconds(7), state, {1, 2}, {});
  EXPECT_EQ(leader.absent_for(seconds(8), 2), 0u);
}

TEST(Leadership, WhoIsNeitherMemberNorInTheLogsConfigurationIsForgotten) {
  const auto state = members(2);
  Leadership leader(timing, {2, 0, 0, 0});
  for (NodeId id = 10; id < 1000; ++id) leader.may_let_in(seconds(1), id);
  leader.watch_absent(seconds(1), state, {1, 2, 9}, {10, 11});
  EXPECT_EQ(leader.watched(), 5u);
}

TEST(Leadership, HistoryIsCleanWhenEveryOwnerSaysSo) {
  auto state = members(2);
  ASSERT_EQ(state.apply(3, {0, 1, 0, cluster::Format{9, 2, false}}).status, Status::ok);
  ASSERT_EQ(state.apply(4, {0, 1, 0, cluster::CreateVdi{"a", 1u << 30, 2}}).status, Status::ok);
  Leadership leader(timing, {2, 0, 0, 0});
  EXPECT_TRUE(leader.all_clean(state));  // nobody owns it
  const Vid vid = state.vdis.begin()->first;
  ASSERT_EQ(state.apply(5, {0, 1, 0, cluster::TakeOwnership{vid, 2, 1, 0}}).status, Status::ok);
  EXPECT_FALSE(leader.all_clean(state));
  leader.on_granted(seconds(1), 2, state.generation(vid) - 1, {});
  EXPECT_FALSE(leader.all_clean(state));
  leader.on_granted(seconds(1), 2, state.generation(vid), {});
  EXPECT_TRUE(leader.all_clean(state));
  state.apply(6, {0, 1, 0, cluster::Remove{2, 1, false}});
  leader.on_granted(seconds(1), 2, state.applied, {});
  EXPECT_FALSE(leader.all_clean(state));  // its owner is down, so nobody sees to it
}

// --- Two leaders and one member

// An old leader and a member are cut off together from the majority, which elects another leader as early as the log
// allows. Requests for leases and their grants take any time; the member's clock goes as slowly as is allowed. In true
// time, nobody may hold a lease when the new leader takes him out.
class TwoLeaders {
 public:
  explicit TwoLeaders(std::uint64_t seed) : random_(seed), state_(members(3)), old_(timing, {1, 0, 0, 0}) {
    cut_ = milliseconds(1000 + random_.below(4000));
    elected_ = cut_ + timing.election_timeout + (random_.below(2) == 0 ? 0 : milliseconds(random_.below(2000)));
    applied_ = elected_ + milliseconds(random_.below(600));
    heals_ = random_.below(2) == 0 ? never : elected_ + milliseconds(random_.below(3000));
    cut_again_ = heals_ == never ? never : heals_ + milliseconds(random_.below(3000));
    slow_ = random_.below(3) == 0 ? 1000 : 858 + random_.below(140);  // thousandths of true time; 858: the bound
    message_limit_ = milliseconds(1 + random_.below(600));
  }

  // Empty if all went well.
  std::string run() {
    for (now_ = 0; now_ < seconds(25) && error_.empty(); now_ += milliseconds(10)) {
      if (now_ == 0 || random_.below(10) == 0) ask();
      deliver();
      old_leads();
      new_leads();
    }
    if (error_.empty() && !removed(old_leader)) error_ = "the old leader was never taken out";
    if (error_.empty() && !removed(member) && cut_again_ == never) error_ = "the member was never taken out";
    return error_;
  }

 private:
  static constexpr NodeId old_leader = 1, new_leader = 2, member = 3;
  struct Message {
    Time arrives = 0;
    NodeId leader = 0;
    bool grant = false;
    Time sent = 0;  // by the member's clock
  };

  Time member_clock() const { return now_ * slow_ / 1000; }
  Time old_contact() const { return std::min(now_, cut_); }
  Time transit() { return now_ + random_.below(message_limit_); }
  bool removed(NodeId id) const { return !state_.is_up(id, 1); }
  bool reaches_new() const { return now_ >= heals_ && now_ < cut_again_; }

  void ask() {
    if (now_ < cut_ + seconds(1)) messages_.push_back({transit(), old_leader, false, member_clock()});
    if (reaches_new()) messages_.push_back({transit(), new_leader, false, member_clock()});
  }

  void deliver() {
    for (std::size_t i = 0; i < messages_.size();) {
      const Message m = messages_[i];
      if (m.arrives > now_) {
        ++i;
        continue;
      }
      messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(i));
      if (m.grant) {
        lease_ = std::max(lease_, m.sent + timing.lease);
      } else if (m.leader == old_leader) {
        // It leads until it has not heard a majority for the longest time-out.
        if (now_ < cut_ + seconds(1) && old_.may_grant(now_, members_, member, 1, old_contact(), 1)) grant(old_, m);
      } else if (new_ && new_->may_grant(now_, state_, member, 1, now_, now_ >= applied_ ? 2 : 1)) {
        grant(*new_, m);
      }
    }
  }
  void grant(Leadership& leader, const Message& request) {
    leader.on_granted(now_, member, 0, {});
    messages_.push_back({transit(), request.leader, true, request.sent});
  }

  void old_leads() {
    if (old_.may_grant(now_, members_, old_leader, 1, old_contact(), 1))
      own_lease_ = std::max(own_lease_, old_contact() + timing.lease);
  }

  void new_leads() {
    if (now_ < elected_) return;
    // What Raft tells it: nobody heard a majority later than a time-out before the election.
    if (!new_) new_.emplace(timing, Leadership::Elected{2, now_, old_leader, now_ - timing.election_timeout});
    for (const auto& one : new_->silent(now_, state_, new_leader, nobody_gone))
      removals_.push_back({one.id, now_ + milliseconds(random_.below(300))});
    for (const auto& [id, at] : removals_)
      if (now_ >= at && !removed(id)) {
        state_.apply(state_.applied + 1, {0, 1, 0, cluster::Remove{id, 1, false}});
        const bool served = id == member ? member_clock() < lease_ : now_ < own_lease_;
        if (served) error_ = "node " + std::to_string(id) + " holds a lease when it is taken out";
      }
    if (removed(member) && member_clock() < lease_) error_ = "the member got a lease after it was taken out";
    if (removed(old_leader) && now_ < own_lease_) error_ = "the old leader serves after it was taken out";
  }

  Random random_;
  const cluster::State members_ = members(3);  // as the old leader sees them
  cluster::State state_;                       // as the new one does
  Leadership old_;
  std::optional<Leadership> new_;
  Time now_ = 0, cut_ = 0, elected_ = 0, applied_ = 0, heals_ = 0, cut_again_ = 0;
  std::uint64_t slow_ = 1000;
  Time message_limit_ = 0;
  Time lease_ = 0;      // of the member, by its clock
  Time own_lease_ = 0;  // of the old leader
  std::vector<Message> messages_;
  std::vector<std::pair<NodeId, Time>> removals_;
  std::string error_;
};

TEST(LeadershipChaos, NobodyIsTakenOutWhileHeHoldsALease) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    const std::string error = TwoLeaders(seed).run();
    ASSERT_EQ(error, "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace sd::control
