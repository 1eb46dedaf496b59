// A pull or a repair: work on one object that takes many calls of the store and of other members, one at a time for
// each object. What they have in common: an owner that asked, a reason why it has to end, the throttle, and the search
// for good blocks (search.hpp).
#pragma once
#include "core/member/context.hpp"
#include "core/member/search.hpp"

namespace sd::member_detail {

class Copying {
 public:
  // What it has come to, after an input.
  struct Next {
    enum class Kind : std::uint8_t {
      go_on,
      finished,  // the owner is answered with `status` and `info`
      repair,    // a pull of what is here already, but for damage: it goes on as a repair of the same request
    };
    Kind kind = Kind::go_on;
    Status status = Status::ok;
    std::optional<ObjectInfo> info = {};
  };

  Copying(Context& context, std::uint64_t id, NodeId from, Request&& request)
      : context_(context),
        id_(id),
        from_(from),
        request_(std::move(request)),
        search_(context, id, request_),
        last_progress_(context.now) {}
  virtual ~Copying() = default;
  Copying(const Copying&) = delete;
  Copying& operator=(const Copying&) = delete;

  // The first call of the store.
  virtual Next start() = 0;
  // An answer of the store to a call with this job's ticket.
  virtual Next on_store(StoreDone&& done) = 0;
  // ... to a Look of this job.
  virtual Next on_look(const Look& look, StoreDone&& done) = 0;
  virtual Next on_reply(NodeId from, Reply&& reply) = 0;
  // The throttle has room.
  virtual Next go_on() = 0;
  // Every 100 ms. Asks again what was not answered; gives up what makes no progress.
  Next tick();
  // The owner asks for the same again, perhaps under another number.
  Next take_over(NodeId from, const Request& repeated);
  // It has to end with this, as soon as no call of the store is under way.
  void fail(Status status) {
    if (failure_ == Status::ok) failure_ = status;
  }
  // Whether it may end at once.
  virtual bool may_end() const { return throttled_; }
  // The end that fail() asked for. The owner may rely on `incomplete` in the answer: what is here counts as no copy
  // from then on.
  Next failed();

  bool throttled() const { return throttled_; }
  NodeId from() const { return from_; }
  const Request& request() const { return request_; }
  const peer::BlocksRead& blocks_read() const { return read_; }
  Request take_request() { return std::move(request_); }
  // Names an invariant that does not hold; empty if all do.
  virtual std::string check_state() const;

 protected:
  virtual bool waits_for_members() const = 0;
  virtual void ask_again() = 0;
  // The object was marked as no copy.
  virtual bool marked() const { return false; }
  Next give_up_search();
  // Some of it nobody has.
  void note_lost(const Damage& damage);

  Context& context_;
  const std::uint64_t id_;
  NodeId from_;
  Request request_;
  Search search_;
  Time last_progress_;
  Time last_asked_ = 0;
  std::uint32_t storing_ = 0;  // calls of the store that change the object
  bool throttled_ = false;     // waits for the throttle
  Status failure_ = Status::ok;
  peer::BlocksRead read_;
};

}  // namespace sd::member_detail
