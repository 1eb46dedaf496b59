// Making this member's copy of an object equal to another's, the source's, at a named version.
//
//   looking -> asking (what differs) -> marking (the object is no copy from now on) -> copying -> ending
//
// Only chunks that changed since the version held here are copied; of those, only the blocks that differ (delta.hpp).
// Blocks that are damaged at the source are searched for elsewhere; what nobody has is known to be lost.
#pragma once
#include <string>
#include <vector>

#include "core/member/copying.hpp"
#include "core/member/delta.hpp"

namespace sd::member_detail {

class Pull final : public Copying {
 public:
  using Copying::Copying;

  Next start() override;
  Next on_store(StoreDone&& done) override;
  Next on_look(const Look& look, StoreDone&& done) override;
  Next on_reply(NodeId from, Reply&& reply) override;
  Next go_on() override { return more(); }
  std::string check_state() const override;

 private:
  enum class Step : std::uint8_t { looking, asking, marking, announcing, copying, ending };
  static constexpr std::size_t chunks_at_once = 8;

  bool waits_for_members() const override { return step_ == Step::asking || step_ == Step::copying; }
  void ask_again() override;
  bool marked() const override { return step_ >= Step::announcing; }
  Next on_looked(const StoreDone& done);
  Next on_marked(Status status);
  Next on_ended(const StoreDone& done);
  Next on_differences(Reply&& reply);
  Next on_chunk(std::uint32_t chunk, Reply&& reply);
  Next on_damaged_chunk(Reply&& reply);
  Next advance_search();
  Next more();
  Request ask(Request::Op op) const;
  void ask_differences();
  void ask_chunk(std::uint32_t chunk);
  void put(std::uint32_t chunk, Reply&& reply);
  void put_found(Damage&& damage);
  std::uint32_t fetching() const;

  Step step_ = Step::looking;
  std::uint64_t chunks_left_ = 0;             // yet to ask for
  std::uint64_t asked_[chunks_at_once] = {};  // chunk + 1 of each fetch under way, by place
  Version base_;
  RecentWrites recent_;
  bool with_delta_ = false;  // what is held already is worth a look
  DeltaChunks held_;         // of chunks asked for
};

}  // namespace sd::member_detail
