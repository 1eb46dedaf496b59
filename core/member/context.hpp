// What the machines of a member share: the store, what is remembered and counted, the jobs under way, and the input
// being handled.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/slot_table.hpp"
#include "core/base/time.hpp"
#include "core/cluster/state.hpp"
#include "core/member/throttle.hpp"
#include "core/peer/message.hpp"
#include "core/store/store.hpp"

namespace sd {

// Since the start of the process.
struct ReplicaStats {
  std::uint64_t pulled_objects = 0, pulled_bytes = 0;    // copied from other members
  std::uint64_t repaired_blocks = 0, lost_blocks = 0;    // damaged and replaced; damaged everywhere
  std::uint64_t scanned_bytes = 0, scanned_objects = 0;  // read by repairs, the scrub's among them
};

struct ReplicaEffects {
  std::vector<std::pair<NodeId, peer::ObjectReply>> replies;
  // fetches, to the source of a pull; `lost`, to an owner, perhaps this node
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;
  StoreEffects store;
};

namespace member_detail {

using Request = peer::ObjectRequest;
using Reply = peer::ObjectReply;

class Copying;

// An answer of the store that nobody waits for.
struct Ignored {};

// A read of this member's own chunk, on behalf of the job `parent`.
struct Look {
  enum class Why : std::uint8_t { delta, search } why = Why::delta;
  std::uint64_t parent = 0;
  std::uint32_t chunk = 0;
};

// A request that one or two calls of the store answer; see server.hpp.
struct Served {
  enum class Step : std::uint8_t {
    done,               // the store's answer is the answer
    then_flush,         // a write that must be durable
    look_before_write,  // a first write: is what is there void?
    look,               // query: is what is there a leftover?
    look_for_puller,    // fetch_info
  };
  NodeId from = 0;
  Request request;
  Step step = Step::done;
};

// What an answer of the store, or of another member, belongs to. Its id is the ticket of the store's calls.
using Job = std::variant<Ignored, Look, Served, std::unique_ptr<Copying>>;

struct Context {
  Context(NodeId self_id, BufferPool& buffers, Store& objects, const cluster::State& s);
  ~Context();

  // Whether this is the object of a deleted disk that had the same number.
  bool leftover(const ObjectInfo& info, Vid vid) const {
    const auto* vdi = state.find(vid);
    return info.exists && vdi && info.version.log_index() < vdi->created_index;
  }
  // Removes what must never be seen again; nobody waits for it.
  void forget(Oid oid);
  // Reads a chunk of this member's own copy; the answer goes to the job look.parent.
  void look(const Look& look, Oid oid);
  // What every answer says.
  Reply reply_to(const Request& request, Status status) const {
    Reply reply;
    reply.id = request.id;
    reply.asker = request.asker;
    reply.vid = request.vid;
    reply.status = status;
    reply.generation = state.generation(request.vid);
    return reply;
  }
  Reply reply_to(const Request& request, Status status, const std::optional<ObjectInfo>& info) const {
    Reply reply = reply_to(request, status);
    reply.full = full;
    reply.offset = request.offset;
    if (!info) return reply;
    reply.exists = info->exists;
    reply.incomplete = info->incomplete;
    reply.lossy = info->lossy;
    reply.version = info->version;
    reply.base = info->base;
    return reply;
  }
  // An object that lost its metadata is met by those who look at it unasked: the scrub, a collector. Only the owner can
  // have it made whole. `job`: whose request met it.
  void tell_owner(std::uint64_t job, const Request& request);
  void answer(NodeId to, Reply&& reply) { out->replies.emplace_back(to, std::move(reply)); }

  NodeId self;
  BufferPool& pool;
  Store& store;
  const cluster::State& state;
  bool full = false;  // this member is short of space
  Throttle throttle;
  ReplicaStats stats;
  std::set<Oid> unreadable;  // with blocks that no member had, as they were last read from end to end
  SlotTable<Job> jobs;
  std::map<Oid, std::uint64_t> copying;  // the pull or repair of an object
  // Of the input being handled:
  Time now = 0;
  ReplicaEffects* out = nullptr;
};

}  // namespace member_detail
}  // namespace sd
