// One attempt to find out which copy of an object counts, and to make the others equal to it.
//
//   querying -> pulling -> establishing -> ready
//
// Born when the members are asked, dead when the object is ready or when the attempt is given up; the next one is a new
// object. The members of every epoch that may still matter are asked for their version, which also fences older
// generations. The verdict (verdict.hpp) says which copy wins; the acting members that lack it pull it; and the
// decision is written down, as a version of this generation, unless every member that could ever object has agreed: one
// that was away may hold a history of its own with a version above the winner's, which must not win later over what was
// seen.
//
// A member that has no room to be made equal keeps nobody from reading: once it has marked what it has as no copy, the
// others are as good as all, until the next attempt succeeds. Only reads: what is acknowledged is held by all acting
// members.
#pragma once
#include <vector>

#include "core/replication/context.hpp"
#include "core/replication/verdict.hpp"

namespace sd::replication {

class Peering {
 public:
  // What the attempt has come to, after an answer.
  struct Next {
    enum class Kind : std::uint8_t {
      go_on,       // more answers are to come
      ready,       // all acting members hold winner()
      again,       // given up; to be tried again later
      fail,        // likewise, and what waits for the object fails with `status`
      reads_only,  // likewise, and Object::doubts names who may be read from meanwhile
    };
    Kind kind = Kind::go_on;
    Status status = Status::ok;
  };

  // Asks the members of object.acting, and all others that may hold it.
  Peering(Context& context, Object& object);
  ~Peering();
  Peering(const Peering&) = delete;
  Peering& operator=(const Peering&) = delete;

  // Answers to the operation under way.
  Next on_reply(Op& op, NodeId from, peer::ObjectReply&& reply);
  // Asks again those that have not answered. A pull is not repeated: see stalled().
  void repeat(Op& op);
  // A pull makes no progress: it is to be given up.
  bool stalled() const;
  // A client wants an object that recovery is copying at its leisure.
  void hurry();

  std::uint64_t op() const { return op_; }
  // What the members were made equal to, or the version that this was given.
  Version winner() const { return winner_; }
  // The version that it had: tells which writes it includes.
  Version adopted() const { return adopted_; }
  // Writes that the winner holds already, ordered, and others that it may have held: nobody remembers.
  void take_known(std::vector<Origin>& known, std::vector<Origin>& forgotten) const;

 private:
  enum class Stage : std::uint8_t { querying, pulling, establishing };
  struct Answer {
    NodeId from = 0;
    peer::ObjectReply reply;
  };

  std::uint64_t begin(Op::Kind kind, ActingSet waiting_for);
  Next on_query_reply(Op& op, NodeId from, peer::ObjectReply&& reply);
  Next on_pull_reply(Op& op, NodeId from, peer::ObjectReply&& reply);
  Next on_establish_reply(Op& op, NodeId from, const peer::ObjectReply& reply);
  peer::ObjectRequest query() const;
  Question question() const;
  Next decide();
  Next wait_for_members(const char* why);
  void pull(const ActingSet& laggards);
  peer::ObjectRequest pull_request(NodeId member) const;
  std::vector<NodeId> helpers_for(NodeId member) const;
  Next pull_failed(Status status);
  Next serve_reads_only();
  void tell_without_room(NodeId member);
  Next establish();
  peer::ObjectRequest establishing_write() const;

  Context& context_;
  Object& object_;
  Stage stage_ = Stage::querying;
  std::uint64_t op_ = 0;         // the question under way
  std::vector<Answer> answers_;  // to the query
  // From the verdict:
  Version winner_;
  Version adopted_;
  bool final_ = false;  // the decision need not be written down
  // Of pulling:
  NodeId source_ = 0;
  ActingSet without_room_;   // they cannot pull, and have marked what they hold as no copy
  bool background_ = false;  // nobody waits for the object
};

}  // namespace sd::replication
