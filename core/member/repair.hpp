// Reading this member's copy of an object, chunk by chunk, and replacing what is damaged by what others have.
//
//   scanning -> (a damaged block) searching -> storing -> scanning ... -> finished
//
// A repair may stop anywhere: each block is replaced by itself, whatever the object's version.
#pragma once
#include "core/member/copying.hpp"

namespace sd::member_detail {

class Repair final : public Copying {
 public:
  using Copying::Copying;

  Next start() override;
  Next on_store(StoreDone&& done) override;
  Next on_look(const Look&, StoreDone&&) override { return {}; }
  Next on_reply(NodeId from, Reply&& reply) override;
  Next go_on() override { return scan(); }
  bool may_end() const override { return throttled_ || step_ == Step::searching; }

 private:
  enum class Step : std::uint8_t { scanning, searching, storing };

  bool waits_for_members() const override { return step_ == Step::searching; }
  void ask_again() override {}
  Next scan();
  Next on_scanned(StoreDone&& done);
  Next on_damage(const StoreDone& done);
  Next advance_search();
  Next on_stored(Status status);
  Next next_chunk();

  Step step_ = Step::scanning;
  std::uint32_t chunk_ = 0, last_chunk_ = 0;
  ObjectInfo seen_;           // the object, as the last look found it
  std::uint32_t unpaid_ = 0;  // bytes read, of which the throttle has yet to hear
};

}  // namespace sd::member_detail
