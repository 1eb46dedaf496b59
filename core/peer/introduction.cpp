#include "core/peer/introduction.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"

namespace sd::peer {

bool follows(Incarnation known, Incarnation incarnation, std::span<const Incarnation> earlier) {
  return known == 0 || incarnation == known || std::ranges::find(earlier, known) != earlier.end() ||
         SD_BUG(old_disk_joins);
}

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
      why =
          "an operator has replaced this node's cluster by a new configuration (`dog cluster recover force`), in which "
          "this node has no part; empty its "
          "data directory to let it join as a new node";
      return Welcome::superseded;
    }
    why = who + (hello->group == self.replaced_group
                     ? "it belongs to the configuration that `dog cluster recover force` has replaced; empty its data "
                       "directory to let it join as a new node"
                     : "it belongs to another cluster; give it an empty data directory to let it join this one");
    return Welcome::no;
  }
  const auto name = [](Incarnation which) { return std::to_string(starts_of(which)); };
  if (std::ranges::find(self.past_incarnations, hello->incarnation) != self.past_incarnations.end()) {
    why = who + "it is an earlier incarnation (" + name(hello->incarnation) + ") of a node that has restarted since";
    return Welcome::no;
  }
  if (!follows(self.known_incarnation, hello->incarnation, hello->earlier)) {
    why = who + "its disk knows nothing of incarnation " + name(self.known_incarnation) +
          " of this node. If its data directory was restored from a backup or an image: empty it to let "
          "it join as a new node";
    return Welcome::old_disk;
  }
  return Welcome::yes;
}

}  // namespace sd::peer
