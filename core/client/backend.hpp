// What the client port asks of its node: the cluster's state, proposals to its log, and input and output on disks.
#pragma once
#include <string>
#include <vector>

#include "core/base/payload.hpp"
#include "core/base/random.hpp"
#include "core/base/time.hpp"
#include "core/client/node_status.hpp"
#include "core/cluster/state.hpp"

namespace sd::client {

struct IoRequest {
  enum class Kind : std::uint8_t { read, write, zero, flush, check } kind = Kind::read;
  Vid vid = 0;
  std::uint64_t offset = 0;  // the range lies inside the VDI; may cross objects
  std::uint32_t length = 0;  // not 0, except for flush; at most max_io for reads and writes; of a check: objects
  bool fua = false;
  Payload data;  // of a write: `length` bytes
};

// What the service asks of its node. No call calls back into the service; results come later, by ticket. Ticket 0 is a
// refusal: too busy. It outlives the sessions of the service: a request that waits for memory is put to it later.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const cluster::State& state() const = 0;
  // The state holds all that was decided before `since`, or nobody can be asked. If not, that is found out: ask again.
  virtual bool is_current(Time) { return true; }
  virtual NodeStatus status() const = 0;
  virtual std::uint8_t default_copies() const = 0;               // NodeOptions::default_copies
  virtual std::uint64_t propose(cluster::CommandBody body) = 0;  // then Service::on_proposed
  // Whoever asked is gone, and may ask elsewhere: what was proposed is not repeated.
  virtual void forget_proposal(std::uint64_t) {}
  virtual std::uint64_t io(IoRequest request) = 0;  // then Service::on_io
  virtual Random& random() = 0;
  // For an operator who has lost the majority of the voters for good: this node goes on alone. Empty, or why not.
  virtual std::string force_new_configuration() { return "not possible here"; }
  virtual std::vector<NodeId> voters() const { return {}; }                       // of the cluster log
  virtual std::vector<NodeId> unreachable_voters() const { return {}; }           // while there is no leader
  virtual std::string name_of(NodeId id) const { return "node " + id_text(id); }  // its address, if that is known
};

}  // namespace sd::client
