// Who holds what, now and in every epoch that still matters: the rings of the cluster state, built once for each epoch.
#pragma once
#include <vector>

#include "core/cluster/state.hpp"
#include "core/ring/ring.hpp"

namespace sd::cluster {

class Placement {
 public:
  class Period {
   public:
    EpochRecord record;
    Ring ring;
    // The incarnation of a member in that epoch; 0: it was not part of it.
    Incarnation incarnation(NodeId id) const;
    // Who took part in every write to the object in that epoch: those of its members that were up. Empty: it could not
    // be written.
    ActingSet acting(Oid oid, std::size_t copies) const;
    // Nobody is to wait for what this member alone may hold.
    bool given_up(NodeId id) const;

   private:
    friend class Placement;
    bool all_up = true;
    const RingMember* find(NodeId id) const;
  };

  Placement() = default;
  explicit Placement(const State& state) { follow(state); }
  // Makes it that of `state`, keeping what it has already: the cost is one ring for each epoch that is new and moved
  // data.
  void follow(const State& state);

  bool empty() const { return periods_.empty(); }
  // From the oldest epoch whose writes may not be everywhere yet to the current one, which is the last.
  const std::vector<Period>& periods() const { return periods_; }
  const Period& current() const { return periods_.back(); }
  ActingSet acting(Oid oid, std::size_t copies) const { return empty() ? ActingSet{} : current().acting(oid, copies); }
  // Who is up now by `state` and may have a copy of the object, however old: whose share it was in any of these epochs,
  // up then or not. Each once.
  ActingSet holders(const State& state, Oid oid, std::size_t copies) const;

 private:
  std::vector<Period> periods_;
};

}  // namespace sd::cluster
