// Figure 8 of the Raft paper, as a script: a leader of a later term finds that a majority holds an entry of an earlier
// term, and must not count it as committed before one of its own is.
//
// Runs of whole clusters do not reach it: a new leader's first entry travels with the older ones, so a follower that
// lacked them acknowledges both at once. The rule matters when an answer for the older ones alone arrives first, and
// that is what is played here.
#pragma once
#include <string>

namespace sd::sim {

// What went wrong, in words; empty if the older entry waited for the newer.
std::string figure8();

}  // namespace sd::sim
