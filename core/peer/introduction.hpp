// Whether a node that introduces itself on the peer port may be listened to.
//
// What arrives may be a port scanner's bytes, a node of another cluster whose seed was mistyped, a copy of a data
// directory, or the words of a process that has ended long ago. Each is refused with a sentence that says which, and
// what to do about it.
//
// The worst of them is a node whose disk is brought back as it was some time ago (a restored backup, an image of a
// machine). Its data is old, and as a voter it has forgotten what it promised. It is known by its incarnations: each
// start draws a new one and is written to the disk's list before the node says a word, so a disk whose list lacks the
// incarnation that the cluster knows of its node is older than that incarnation, however often it has been started
// since. Such a node is not listened to, neither as a voter nor as a member; it has to come back as a new one.
#pragma once
#include <span>
#include <string>

#include "core/peer/message.hpp"

namespace sd::peer {

// What the listening node knows.
struct Listener {
  NodeId node = 0;
  std::uint64_t group = 0;           // 0: it has yet to join a cluster
  std::uint64_t replaced_group = 0;  // what an operator replaced by this one; 0: none
  // the last one as a member, in the log, of the node that introduces itself; 0: none
  Incarnation known_incarnation = 0;
  std::span<const Incarnation> past_incarnations;  // its incarnations that are over, as it said itself
};

enum class Welcome : std::uint8_t {
  yes,
  no,
  // its disk does not know of `known_incarnation`, or it is not the newest incarnation's voice; it is to be told
  // (KnownIncarnation)
  old_disk,
  superseded,  // it is this node that has to go: an operator has replaced its cluster while it was away
};

// `hello` is what came first; nullptr: something else. Unless it is welcome, `why` is a sentence for the log.
Welcome welcome(const Listener& self, const Hello* hello, std::string& why);
// Whether a disk in this incarnation, which lists these earlier ones, may be what became of `known` (0: nothing is
// known).
bool follows(Incarnation known, Incarnation incarnation, std::span<const Incarnation> earlier);

}  // namespace sd::peer
