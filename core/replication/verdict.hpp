// Which of the copies that the members of an object have counts: a pure function of their answers.
//
// The problem: members were up in different epochs, some have restarted and lost what they had not flushed, and an
// owner that was cut off may have gone on writing to itself. "The newest wins" alone would bring back what was never
// acknowledged, and miss what was while a member is away. The rules:
// - A write of an epoch was held by all acting members of that epoch when it was acknowledged. So one of them that has
//   kept what it held is enough to know that nothing of that epoch is missing: the epoch is *covered*.
// - If all of them restarted and all of them answered, then what was not flushed is lost as in a power failure, and
//   each answer tells what is left. If some are away, one of those may have kept what the others lost. They are waited
//   for, but not for ever: after a time more members than the policy tolerates have failed.
// - A version is dropped if every member that holds it has restarted since, and some member that has not restarted and
//   would have had to acknowledge it lacks it. Nobody was told of it and nobody has read it. Nobody knows any more
//   whose writes it contains either: its gateway asks for them again, and they would be carried out a second time, over
//   what others wrote meanwhile.
// - The newest version that is left, and that enough members hold to make the object from, wins.
#pragma once
#include <cstdint>
#include <vector>

#include "core/base/ids.hpp"
#include "core/cluster/placement.hpp"

namespace sd::replication {

// An epoch that may still count, as it concerns one object.
struct Period {
  std::uint64_t log_index = 0;  // of the command that began it
  ActingSet acting;             // its members that took part in every write of it
  ActingSet restarted;          // of those: began a new incarnation since
  ActingSet given_up;           // of those: nobody is to wait for what they alone may hold
};

// From the oldest such epoch to the current one.
std::vector<Period> periods_of(const cluster::State& state, const cluster::Placement& placement, Oid oid,
                               std::size_t copies);

// What one member said of its copy. Every member answers once.
struct Answer {
  NodeId from = 0;
  Version version;          // {0, 0}: it has nothing
  bool incomplete = false;  // what it holds is no copy: a pull was cut off, or there was no room
};

struct Question {
  std::vector<Period> periods;
  std::vector<Answer> answers;
  ActingSet acting;                 // of the current epoch: they are made equal to the winner
  ActingSet damaged;                // members whose damaged blocks are to be replaced
  ActingSet bad_sources;            // members that could not read their copy
  NodeId self = 0;                  // preferred as the source
  std::size_t needed = 1;           // members that must hold a version for the object to be made from it: D
  std::uint64_t created_index = 0;  // of the disk: what was over before does not matter
  bool patience_over = false;       // members that are away are not waited for any more
};

struct Verdict {
  enum class Outcome : std::uint8_t {
    decided,
    no_whole_copy,      // too few members have what the object can be made from
    waits_for_members,  // some that are away may hold newer data
    given_up,           // everybody who held it in some epoch was given up, so "never written" is not to be believed
  };
  Outcome outcome = Outcome::no_whole_copy;
  // The rest counts if it is decided. {0, 0}: the object was never written.
  Version winner;
  bool dropped = false;       // a newer version was; the decision has to be written down above it
  NodeId source = 0;          // a member that holds the winner
  bool only_damaged = false;  // every such member has damaged blocks, or could not be read just now: any will do
  ActingSet laggards;         // acting members that have to be made equal, or whose damaged blocks are to be replaced
  // Nobody is left who could object later, so the decision need not be written down: everybody who took part in any of
  // the periods has answered, nothing was dropped, and nobody outside the acting set lacks the winner. Such a member
  // will not be made equal. Once the members that hold the winner are gone or have restarted, what it lacks would look
  // like a write that was acknowledged to nobody.
  bool final = false;

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

Verdict judge(const Question& question);

// Whether everybody has answered who took part in any of the periods.
bool all_heard(const std::vector<Period>& periods, const std::vector<Answer>& answers);

}  // namespace sd::replication
