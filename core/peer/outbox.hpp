// What a node says to others, until its links take it at the end of a step.
#pragma once
#include <utility>
#include <vector>

#include "core/base/ids.hpp"
#include "core/peer/message.hpp"

namespace sd::peer {

struct Outbox {
  std::vector<std::pair<NodeId, Message>> messages;
  std::vector<std::pair<Endpoint, Message>> by_address;  // to peer ports whose node may not be known
};

}  // namespace sd::peer
