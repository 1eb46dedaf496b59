// How a node becomes a member: it asks until the cluster state shows it. Whoever leads lets it in (see Leader).
#pragma once
#include "core/control/context.hpp"

namespace sd::control {

class Joining {
 public:
  explicit Joining(Context& context) : context_(context) {}

  // Asks, if it is time. The request to be given to this node's own leader, if it leads itself.
  std::optional<peer::JoinRequest> ask(Time now);
  // A member that stops asks to be taken out.
  void ask_to_leave(Time now);
  void hurry() { asked_ = 0; }

 private:
  peer::JoinRequest request() const;
  void ask_around(const peer::JoinRequest& request);

  Context& context_;
  Time asked_ = 0;
  std::size_t next_ = 0;  // of those that may know who leads
};

}  // namespace sd::control
