// Whose writes a member carried out last, object by object: so that a new owner answers a write that is asked for
// again, instead of carrying it out a second time over what others wrote in between.
//
// The memory is bounded, and lost with the process: by then whoever asked for a write has asked again, or is gone. What
// falls out of it is not forgotten silently: for each gateway the highest number that fell out is kept, and any write
// of that gateway up to there counts as "may have been carried out".
//
// Promise: a write that this incarnation carried out is in `last` or covered by `forgotten` of `of(oid)`, from the time
// it is remembered until its object is removed.
#pragma once
#include <deque>
#include <map>
#include <vector>

#include "core/base/ids.hpp"
#include "core/peer/message.hpp"

namespace sd {

class WriteMemory {
 public:
  // Writes remembered of one object, at least 1 and at most peer::max_recent; objects of which anything is remembered.
  WriteMemory(std::size_t writes, std::size_t objects) : max_writes_(writes), max_objects_(objects) {}

  // The member carried this write out. Does nothing if it is known already, or nobody's.
  void remember(Oid oid, const Origin& origin);
  // The object became a copy of its source's: what the source remembers is what counts.
  void replace(Oid oid, peer::RecentWrites&& writes) { entry(oid) = std::move(writes); }
  // The object is gone.
  void remove(Oid oid) { objects_.erase(oid); }
  // What an owner is told.
  peer::RecentWrites of(Oid oid) const;

  std::size_t objects() const { return objects_.size(); }

 private:
  peer::RecentWrites& entry(Oid oid);

  std::size_t max_writes_, max_objects_;
  std::map<Oid, peer::RecentWrites> objects_;
  std::deque<Oid> order_;          // by first use; the oldest is forgotten first
  std::vector<Origin> forgotten_;  // of the objects of which nothing is remembered, all together
};

}  // namespace sd
