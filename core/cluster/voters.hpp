// Who votes in the cluster log: which one change of the voters, if any, makes them better.
//
// A change of voters moves no data, but a bad one can cost the majority. So the rules are few, and each change is safe
// by itself:
// - An odd number, at most five, is wanted: as many as there are fit members. Two members both vote, so that neither
//   disk holds the log alone.
// - Voters are spread over zones: the zone with the fewest is served first.
// - A voter that has been down for long is put out before its successor comes in, since it would count against the
//   majority; one that works and is to go (drained, or too many in its zone) keeps its vote until its successor has
//   one, if that makes no more than five.
// - A change leaves a majority of those that vote then alive: else it could not be committed, nor anything after it.
// - Without a successor a voter that is down keeps its vote, unless the others need each other (then fewer voters need
//   fewer of them).
//
// A pure function; the caller makes one change at a time, and asks again when it has been committed.
#pragma once
#include <optional>
#include <span>

#include "core/base/ids.hpp"

namespace sd::cluster {

inline constexpr std::size_t most_voters = 5;

struct VoterCandidate {
  NodeId id = 0;
  std::uint32_t zone = 0;
  bool voter = false;
  bool up = false;        // in the cluster state, and heard just now
  bool draining = false;  // to be taken away
  bool gone = false;      // down for so long that its vote is better given to another
  bool ready = false;     // it has said that its log is (nearly) complete
  bool leads = false;     // never put out
};

struct VoterChange {
  NodeId id = 0;
  bool promote = false;  // a learner becomes a voter; else a voter becomes a learner
  friend bool operator==(const VoterChange&, const VoterChange&) = default;
};

// `members`: all that hold the log, ordered by id.
std::optional<VoterChange> next_voter_change(std::span<const VoterCandidate> members);

}  // namespace sd::cluster
