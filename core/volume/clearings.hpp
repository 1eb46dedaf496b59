// Before an object's first entry in the index, while history is open: members may hold an object of that name which no
// index names, because the power failed before its entry was durable. It must be gone for good before the entry may be:
// a later loss of power could keep the entry and lose the first write, and what guests have seen as zeros would come
// back.
//
//   asking -> (somebody holds one) -> removing -> flushing -> done
//          -> (nobody does) --------------------------------> done
#pragma once
#include <map>
#include <utility>
#include <vector>

#include "core/replication/context.hpp"

namespace sd::volume_detail {

class Clearings {
 public:
  explicit Clearings(replication::Context& context) : context_(context) {}

  // Of the data object. True if there is nothing to wait for: nobody can hold it.
  bool start(std::uint32_t index);
  // True if the clearing of op.cause.entry is done.
  bool on_reply(std::uint64_t id, replication::Op& op, NodeId from, const peer::ObjectReply& reply);
  void send(std::uint64_t id, replication::Op& op);
  // A new generation: others may hold it, and some that were asked may be gone. All that were under way are stopped,
  // and have to be started anew.
  std::vector<std::uint32_t> stop_all();
  void clear() { clearings_.clear(); }

 private:
  enum class Stage : std::uint8_t { asking, removing, flushing };
  struct Clearing {
    Stage stage = Stage::asking;
    std::vector<std::pair<NodeId, Version>> holders;
  };

  replication::Context& context_;
  std::map<std::uint32_t, Clearing> clearings_;  // by data object
};

}  // namespace sd::volume_detail
