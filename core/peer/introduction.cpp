#include "core/peer/introduction.hpp"

namespace sd::peer {

Welcome welcome(const Listener& self, const Hello* hello, std::string& why) {
  if (!hello || hello->node == 0) {
    why = "a connection to the peer port introduced itself wrongly; closed. Is a client using the peer port?";
    return Welcome::no;
  }
  const std::string who = "refused " + to_string(hello->address) + ": ";
  if (hello->node == self.node) {
    why = who + "it has this node's own identity; is its data directory a copy of this one's?";
    return Welcome::no;
  }
  if (hello->group != 0 && self.group != 0 && hello->group != self.group) {
    if (hello->replaced_group == self.group) {
      why = "an operator has replaced this node's cluster by a new configuration (`dog cluster recover force`), in which this node has no part; empty its "
            "data directory to let it join as a new node";
      return Welcome::superseded;
    }
    why = who + (hello->group == self.replaced_group
                     ? "it belongs to the configuration that `dog cluster recover force` has replaced; empty its data directory to let it join as a new node"
                     : "it belongs to another cluster; give it an empty data directory to let it join this one");
    return Welcome::no;
  }
  if (hello->incarnation < self.newest_life) {
    why = who + "it is an earlier life of a node that has restarted since (life " + std::to_string(hello->incarnation) + ", and " +
          std::to_string(self.newest_life) + " was seen); was its data directory restored from a backup?";
    return Welcome::no;
  }
  return Welcome::yes;
}

}  // namespace sd::peer
