#include "core/member/copying.hpp"

#include <bit>

namespace sd::member_detail {

namespace {
constexpr Time repeat_after = milliseconds(500);
constexpr Time patience = seconds(5);  // with members that do not answer
}  // namespace

Copying::Next Copying::failed() {
  throttled_ = false;
  if (!marked()) return {Next::Kind::finished, failure_};
  context_.store.give_up_sync(request_.oid);
  ObjectInfo info;
  info.exists = info.incomplete = true;
  return {Next::Kind::finished, failure_, info};
}

Copying::Next Copying::take_over(NodeId from, const Request& repeated) {
  from_ = from;
  request_.id = repeated.id;
  request_.asker = repeated.asker;
  // A client waits for it now.
  if (repeated.background || !std::exchange(request_.background, false) || !throttled_) return {};
  return go_on();
}

void Copying::note_lost(const Damage& damage) {
  const int lost = std::popcount(damage.wanted);
  if (lost == 0) return;
  context_.out->store.notices.push_back("object " + to_string(request_.oid) + ", chunk " +
                                        std::to_string(damage.chunk) + ": " + std::to_string(lost) +
                                        " blocks are damaged at every member; reads of them fail");
  read_.lost = static_cast<std::uint16_t>(read_.lost + lost);
  context_.stats.lost_blocks += static_cast<unsigned>(lost);
}

Copying::Next Copying::give_up_search() {
  search_.clear();
  fail(Status::unavailable);
  return storing_ == 0 ? failed() : Next{};
}

Copying::Next Copying::tick() {
  const Time now = context_.now;
  if (throttled_) last_progress_ = now;
  if (!waits_for_members()) return {};
  if (now - last_progress_ > patience) fail(Status::unavailable);
  if (context_.state.generation(request_.vid) != request_.generation) fail(Status::busy);
  if (failure_ != Status::ok) return storing_ == 0 ? failed() : Next{};
  if (!search_.repeat()) {
    const Next next = give_up_search();
    if (next.kind != Next::Kind::go_on) return next;
  }
  if (now - last_asked_ < repeat_after) return {};
  last_asked_ = now;
  ask_again();
  return {};
}

std::string Copying::check_state() const {
  if (throttled_ && !request_.background) return "only what nobody waits for is throttled";
  return {};
}

}  // namespace sd::member_detail
