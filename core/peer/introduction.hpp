// Whether a node that introduces itself on the peer port may be listened to.
//
// What arrives may be a port scanner's bytes, a node of another cluster whose seed was mistyped, a copy of a data directory, or the words of
// a process that has ended long ago. Each is refused with a sentence that says which, and what to do about it.
#pragma once
#include <string>

#include "core/peer/message.hpp"

namespace sd::peer {

// What the listening node knows.
struct Listener {
  NodeId node = 0;
  std::uint64_t group = 0;              // 0: it has yet to join a cluster
  std::uint64_t replaced_group = 0;     // what an operator replaced by this one; 0: none
  Incarnation newest_life = 0;          // of the node that introduces itself, as far as known
};

enum class Welcome : std::uint8_t {
  yes,
  no,
  superseded,  // it is this node that has to go: an operator has replaced its cluster while it was away
};

// `hello` is what came first; nullptr: something else. Unless it is welcome, `why` is a sentence for the log.
Welcome welcome(const Listener& self, const Hello* hello, std::string& why);

}  // namespace sd::peer
