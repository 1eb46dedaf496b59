// A change of the voters that begins too early, as a script (Ongaro, "bug in single-server membership changes",
// raft-dev, 2015).
//
// One change at a time is safe because the majorities of two neighbouring configurations meet. A leader that starts
// from its predecessor's unfinished change, or starts one before anything of its own term is committed, breaks that:
// two leaders each make a different step, and the majorities of the two results need not meet. Runs of whole clusters
// do not reach it: it needs two elections inside one change.
#pragma once
#include <string>

namespace sd::sim {

// What went wrong, in words; empty if the second leader had to wait, or waited.
std::string early_reconfiguration();

}  // namespace sd::sim
