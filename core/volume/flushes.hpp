// Flushes of one disk: every member that holds acknowledged writes which no flush covers yet makes them durable.
//
// A flush waits for the members that are up when it begins, and for those of flushes still under way: what another
// flush has yet to make durable counts too. A member that goes down meanwhile is not waited for: what it held alone
// counts as lost until it is back, and the verdict knows that (core/replication/verdict.hpp).
#pragma once
#include <optional>
#include <vector>

#include "core/replication/context.hpp"

namespace sd::volume_detail {

class Flushes {
 public:
  explicit Flushes(replication::Context& context) : context_(context) {}

  // True if there is nothing to wait for.
  bool start(std::uint64_t io);
  // The request whose flush has ended with this answer.
  std::optional<std::uint64_t> on_reply(std::uint64_t id, replication::Op& op, NodeId from,
                                        const peer::ObjectReply& reply);
  // A new generation: the others are asked anew. Returns the requests whose flush has ended.
  std::vector<std::uint64_t> on_generation();
  void send(std::uint64_t id, replication::Op& op);
  void clear() { ops_.clear(); }

 private:
  std::uint64_t end(std::uint64_t id, const replication::Op& op);

  replication::Context& context_;
  std::vector<std::uint64_t> ops_;
};

}  // namespace sd::volume_detail
