// What a change of the cluster costs each node, as the cluster grows: applying the command, placing anew, finding an
// object's members.
#pragma once

namespace sd::sim {

// Prints a table for 10, 50 and 200 members. Returns an exit code.
int measure_epochs();

}  // namespace sd::sim
