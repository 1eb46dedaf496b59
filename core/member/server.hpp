// Requests that one or two calls of the store answer: writes, reads, queries, flushes, what a puller asks for, removal.
//
// - A first write of an object is looked into: its owner knows that nothing was ever there, so whatever an earlier
//   generation left is void. Writes that follow wait behind it.
// - A query may open a new round of its generation: writes of earlier rounds are refused from then on.
#pragma once
#include <map>
#include <vector>

#include "core/member/context.hpp"

namespace sd::member_detail {

class Server {
 public:
  explicit Server(Context& context) : context_(context) {}

  // Any request but a pull, a repair and `lost`. `copying`: the object is being pulled or repaired.
  void start(NodeId from, Request&& request, bool copying);
  // The store's answer to the job `id`, which is over unless another call of the store was made for it. Returns whether
  // it is over.
  bool on_store(std::uint64_t id, Served& served, StoreDone&& done);
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  bool refused(const Request& request);
  bool waits_for_first(NodeId from, Request& request);
  void fence(Oid oid, std::uint64_t generation);
  void begin(std::uint64_t id, Served& served);
  void write(std::uint64_t id, Served& served);
  void on_looked_before_write(std::uint64_t id, Served& served, const StoreDone& done);
  bool on_looked_for_puller(std::uint64_t id, Served& served, StoreDone& done);
  void answer(Served& served, Status status, const StoreDone& done);
  void answer_fetch(const Request& request, const StoreDone& done, Reply& reply) const;

  Context& context_;
  // writes behind a first write that is being looked into
  std::map<Oid, std::vector<std::pair<NodeId, Request>>> looking_;
  std::map<Oid, std::uint64_t> fences_;  // the lowest generation that may still write, where it is not that of the log
};

}  // namespace sd::member_detail
