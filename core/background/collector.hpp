// Removes what this member stores and nobody can need: copies that belong elsewhere by now, leftovers of deleted disks,
// objects that no index names.
//
// The danger is the last good copy. So nothing is looked at before the cluster log says that every object is redundant
// in the current epoch and no older one matters; and a copy that belongs elsewhere goes only after each of its acting
// members, all `copies` of them, has said that it holds the whole object in this version or a later one. One that has
// lost blocks of it, since nobody who was asked could read them, first takes from here what it can: a disk that cannot
// read now may do so later, and this copy may be the last. Whatever changes the epoch or the disk's owner meanwhile
// ends the search: it begins anew when the log says the same of the new epoch.
//
// Why a removal cannot hit what is being written: it names the version that was looked at and does nothing to another
// one. And an index entry is set on all members before the first write of its object is sent, so an object that was
// there before its entry was looked up, and is not named then, is one whose entry was lost together with the power,
// unflushed like the object.
//
// One pass looks at every object once; there is one for each epoch that becomes clean, another soon if a copy had to be
// kept because its members did not have it just then, and now and then one more.
#pragma once
#include <map>
#include <vector>

#include "core/base/time.hpp"
#include "core/cluster/placement.hpp"
#include "core/peer/message.hpp"
#include "core/store/store.hpp"

namespace sd {

struct CollectorStats {
  std::uint64_t removed = 0;    // copies that belong elsewhere
  std::uint64_t leftovers = 0;  // of deleted disks
  std::uint64_t orphans = 0;    // not named by an index
  std::uint64_t kept = 0;       // in the last pass: belong elsewhere, but their members do not all have them
};

class Collector {
 public:
  using Requests = std::vector<std::pair<NodeId, peer::ObjectRequest>>;

  Collector(NodeId self, const Store& store, const cluster::State& state, const cluster::Placement& placement)
      : self_(self), store_(store), state_(state), placement_(placement) {}

  // `may`: this node serves, and recovery is enabled. Requests go to members, this one among them.
  void tick(Time now, bool may, Requests& out);
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply, Requests& out);
  // Nothing is left to look at in this epoch.
  bool done() const {
    return !running_ && !again_ && !state_.epochs.empty() && state_.epochs.size() == 1 &&
           done_index_ == state_.epochs.back().log_index;
  }
  const CollectorStats& stats() const { return stats_; }
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  static constexpr std::uint32_t page_entries = limits::block_size / 4;

  enum class Why : std::uint8_t { elsewhere, leftover, orphan };
  struct Candidate {
    enum class Step : std::uint8_t { look, verify, repair, collect } step = Step::look;
    Why why{};
    Oid oid;
    ObjectInfo info;
    ActingSet left;  // to be asked yet; the last one is being asked
    Time asked_at = 0;
  };
  struct Page {
    Vid vid = 0;
    std::uint32_t number = 0;
    bool loaded = false;
    std::vector<std::uint8_t> set;
    ActingSet left;  // as above
    std::uint64_t id = 0;
    Time asked_at = 0;
    unsigned damaged = 0;  // answers
  };

  void begin(Time now);
  void advance(Time now, Requests& out);
  bool look_at(Time now, Oid oid, Requests& out);
  void ask(Time now, std::uint64_t id, Candidate& candidate, Requests& out);
  NodeId asked(const Candidate& candidate) const;
  peer::ObjectRequest page_request(peer::ObjectRequest::Op op) const;
  void ask_page(Time now, Requests& out);
  void repair_page(Requests& out);
  bool still_valid() const;

  NodeId self_;
  const Store& store_;
  const cluster::State& state_;
  const cluster::Placement& placement_;
  bool running_ = false;
  bool again_ = false;                             // something could not be judged in the last pass
  std::uint64_t pass_index_ = 0, done_index_ = 0;  // of the epoch, in the log
  Time pass_done_at_ = 0;
  std::vector<Oid> waiting_;
  std::size_t next_ = 0;
  Page page_;
  std::map<std::uint64_t, Candidate> candidates_;  // by the id of the request under way
  std::map<Oid, unsigned> fruitless_;              // repairs of this epoch that left blocks damaged
  std::uint64_t last_number_ = 0;
  CollectorStats stats_;
};

}  // namespace sd
