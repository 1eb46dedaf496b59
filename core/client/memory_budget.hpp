// The memory that the requests of all sessions share: who may take how much, and whose turn it is.
//
// The problem: one request moves up to 64 MB, a node has thousands of connections, and a client may leave its answers
// unread. To stop reading from everybody while memory is short bounds it badly, since the size of a request is not
// known before it is read, and it is not fair: whoever happens to be asked first takes what became free.
//
// So memory is asked for, by `want`, when the size is known and before any of it is taken. `next` names who may go on:
// - Sessions are served in the order in which they asked. A session asks for one request at a time and asks again only
//   after it was served. That is round robin.
// - Nobody overtakes a request that waits for room: many small ones would starve a large one.
// - A session holds a quarter at most. One that wants more waits for its own answers to leave, and holds nobody up.
// - All sessions together hold no more than the budget. On top of it come a small request of each session that holds
//   nothing else, which never waits: questions are answered however much others move; and what nobody asks for, the
//   heads of answers.
// - A request that is larger than a bound is served when nothing else counts against that bound.
#pragma once
#include <cstddef>
#include <deque>
#include <map>
#include <optional>

#include "core/base/ids.hpp"

namespace sd::client {

class MemoryBudget {
 public:
  struct Served {
    StreamId stream = 0;
    std::size_t bytes = 0;  // as it wanted
  };

  static constexpr std::size_t small = 64u << 10;  // with thousands of sessions, less than the budget

  explicit MemoryBudget(std::size_t bytes) : bytes_(bytes), share_(bytes / 4) {}

  void open(StreamId stream);
  // It holds nothing any more and wants nothing. What was left behind counts until `release`.
  void close(StreamId stream, std::size_t left_behind);
  void release(std::size_t left_behind);

  void hold(StreamId stream, std::size_t bytes);  // what it holds now, of whatever kind
  void want(StreamId stream, std::size_t bytes);  // it wants nothing yet; bytes is not 0
  void withdraw(StreamId stream);                 // it wants nothing any more
  std::optional<Served> next();                   // it holds what it wanted from now on

  // A frame may be received whose size is not known yet. True while there is room, and always for a session that holds
  // nothing.
  bool may_begin(StreamId stream) const;
  bool full() const { return held_ >= bytes_; }
  bool waits(StreamId stream) const { return members_.at(stream).wanted > 0; }
  bool short_of_room() const;  // somebody waits for what others hold, not for its own answers to leave
  std::size_t held() const { return held_; }
  std::size_t held(StreamId stream) const { return members_.at(stream).held; }
  void check_invariants() const;

 private:
  struct Member {
    std::size_t held = 0;
    std::size_t wanted = 0;
  };
  bool at_share(const Member& member) const;
  bool fits(const Member& member) const;

  std::size_t bytes_;
  std::size_t share_;  // of one session
  std::map<StreamId, Member> members_;
  std::deque<StreamId> queue_;  // those that want something, in the order in which they asked
  std::size_t held_ = 0;        // by all, and left behind
  std::size_t left_behind_ = 0;
};

}  // namespace sd::client
