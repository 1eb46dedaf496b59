// What the machines of one disk at its owner share: who and what they are, the operations under way, and the input
// being handled.
#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/base/slot_table.hpp"
#include "core/base/time.hpp"
#include "core/cluster/placement.hpp"
#include "core/peer/message.hpp"
#include "core/replication/member_set.hpp"

namespace sd::replication {

struct Object;

// One operation on one object, or on the disk; its id is that of the requests sent for it.
struct Op {
  enum class Kind : std::uint8_t { read, write, zero, query, pull, establish, flush, check, clear };
  // Why it was begun; means something to whoever did, and is told when it ends.
  struct Cause {
    enum class Purpose : std::uint8_t { client, load_page, set_entry };
    Purpose purpose = Purpose::client;
    std::uint64_t io = 0;
    std::uint32_t part = 0;
    std::uint32_t entry = 0;  // load_page: the page; all others: the data object's index
  };
  // What a read has met so far.
  struct Failures {
    ActingSet tried;        // members that failed
    bool bad_copy = false;  // a member's copy turned out damaged
    // of a write too: damage stood in its way once, and everybody was asked for good blocks
    bool repaired = false;
  };
  Kind kind{};
  Cause cause;
  Object* object = nullptr;
  std::uint32_t offset = 0, length = 0;
  Payload payload;
  Origin origin;
  Version version, previous;  // read, check: `version` is the least that its answer must be of
  Failures failures;
  Time sent = 0;
  unsigned repeats = 0;
  ActingSet waiting_for;  // members that have not answered
};

// Whoever began operations is told of their ends.
class OpOwner {
 public:
  // The operation is over and its number means nothing any more. May begin others.
  virtual void finish(std::uint64_t op, Status status, Payload&& payload) = 0;
  // A member's copy was made whole.
  virtual void restored(Oid oid) = 0;

 protected:
  ~OpOwner() = default;
};

struct Limits {
  std::size_t objects = 16384;                 // remembered; beyond it idle ones are forgotten
  std::size_t writes_per_object = max_recent;  // sent and not yet acknowledged; others wait
};

struct Context {
  Context(NodeId self_id, Vid disk, BufferPool& buffers, const cluster::State& s, const cluster::Placement& p,
          const Limits& bounds, OpOwner& o)
      : self(self_id),
        vid(disk),
        pool(buffers),
        state(s),
        placement(p),
        limits(bounds),
        owner(o),
        zero_block(buffers.zeros(64u << 10)) {}

  peer::ObjectRequest make(peer::ObjectRequest::Op op, std::uint64_t id, Oid oid) const {
    peer::ObjectRequest request;
    request.id = id;
    request.op = op;
    request.vid = vid;
    request.generation = generation;
    request.oid = oid;
    return request;
  }
  void send(NodeId member, peer::ObjectRequest&& request) { requests->emplace_back(member, std::move(request)); }
  void notice(std::string text) { notices->push_back(std::move(text)); }
  void finish(std::uint64_t op, Status status, Payload&& payload = {}) { owner.finish(op, status, std::move(payload)); }
  Payload zeros(std::uint32_t length) const {
    Payload payload;
    for (std::uint32_t done = 0; done < length;) {
      const auto n = std::min<std::uint32_t>(length - done, static_cast<std::uint32_t>(zero_block.size()));
      payload.push_back(zero_block.part(0, n));
      done += n;
    }
    return payload;
  }
  // Who may hold the object by any epoch that still counts, and is up.
  ActingSet members_to_ask(Oid oid) const {
    ActingSet members;
    for (const auto& period : placement.periods())
      for (const NodeId member : period.acting(oid, copies))
        if (is_up(member) && !member_set::contains(members, member)) members.push_back(member);
    return members;
  }
  bool is_up(NodeId member) const {
    const auto* m = state.member(member);
    return m && m->up;
  }

  NodeId self;
  Vid vid;
  BufferPool& pool;
  const cluster::State& state;
  const cluster::Placement& placement;
  const Limits limits;
  OpOwner& owner;
  std::uint64_t generation = 0;
  Time generation_since = 0;
  std::uint8_t copies = 0;
  bool serving = true;
  SlotTable<Op> ops;
  std::vector<NodeId> dirty;              // members that hold acknowledged writes which no flush covers yet, ordered
  std::vector<NodeId> full;               // members short of space, ordered
  std::vector<NodeId> told_without_room;  // in this generation, ordered
  Slice zero_block;
  // Of the input being handled:
  Time now = 0;
  std::vector<std::pair<NodeId, peer::ObjectRequest>>* requests = nullptr;
  std::vector<std::string>* notices = nullptr;
};

}  // namespace sd::replication
