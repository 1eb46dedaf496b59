// Which messages of Raft are refused before anything of them is taken over, not even their term.
//
// A Raft node trusts what a leader says: it drops entries that conflict, and replaces its log by a snapshot. That is
// sound between nodes that keep the rules. Bytes from outside keep none: an entry of a term before the one in front of
// it, another past for what is committed, or a second leader of one term, break what the code behind relies on. So each
// message is judged first, by what it says alone and by what this node knows for certain.
//
// A message of an earlier term is not compared with the log: a leader of the past may hold entries that lost, and is
// told so. What can be wrong without a contradiction (a member that lies about its own disk) is not found here.
#pragma once
#include <string_view>

#include "core/raft/message.hpp"

namespace sd::raft {

class Raft;

// A term costs an election, and each new term a sync. No living group gets this far ahead of a node that knows it; and
// whoever makes terms up needs a thousand million messages to use them up. A node that has no term yet has nothing to
// compare with.
inline constexpr Term max_term_jump = 1ull << 32;

// Why no node of this group can have sent the message; empty if one may have.
std::string_view why_refused(const Message& message, const Raft& node);

}  // namespace sd::raft
