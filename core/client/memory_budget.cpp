#include "core/client/memory_budget.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace sd::client {

namespace {
// For the heads of answers, which nobody asks for: two requests of half a share each fit all the same.
constexpr std::size_t heads = 16u << 10;
}  // namespace

void MemoryBudget::open(StreamId stream) {
  const bool fresh = members_.try_emplace(stream).second;
  SD_ASSERT(fresh, "a stream is opened once");
}

void MemoryBudget::close(StreamId stream, std::size_t left_behind) {
  withdraw(stream);
  hold(stream, 0);
  members_.erase(stream);
  left_behind_ += left_behind;
  held_ += left_behind;
}

void MemoryBudget::release(std::size_t left_behind) {
  SD_ASSERT(left_behind <= left_behind_, "no more is released than was left behind");
  left_behind_ -= left_behind;
  held_ -= left_behind;
}

void MemoryBudget::hold(StreamId stream, std::size_t bytes) {
  Member& member = members_.at(stream);
  held_ += bytes;
  held_ -= member.held;
  member.held = bytes;
}

void MemoryBudget::want(StreamId stream, std::size_t bytes) {
  Member& member = members_.at(stream);
  SD_ASSERT(bytes > 0 && member.wanted == 0, "a session asks for one request at a time");
  member.wanted = bytes;
  if (member.held == 0 && bytes <= small)
    queue_.push_front(stream);
  else
    queue_.push_back(stream);
}

void MemoryBudget::withdraw(StreamId stream) {
  Member& member = members_.at(stream);
  if (member.wanted == 0) return;
  member.wanted = 0;
  std::erase(queue_, stream);
}

bool MemoryBudget::at_share(const Member& member) const {
  return member.held > 0 && member.held + member.wanted > share_ + heads;
}

bool MemoryBudget::fits(const Member& member) const {
  if (member.held == 0 && member.wanted <= small) return true;
  return held_ == 0 || held_ + member.wanted <= bytes_;
}

bool MemoryBudget::short_of_room() const {
  return std::ranges::any_of(queue_, [&](StreamId stream) { return !at_share(members_.at(stream)); });
}

std::optional<MemoryBudget::Served> MemoryBudget::next() {
  for (auto at = queue_.begin(); at != queue_.end(); ++at) {
    Member& member = members_.at(*at);
    if (at_share(member)) continue;
    if (!fits(member)) return std::nullopt;
    const Served served{*at, member.wanted};
    queue_.erase(at);
    member.wanted = 0;
    hold(served.stream, member.held + served.bytes);
    return served;
  }
  return std::nullopt;
}

bool MemoryBudget::may_begin(StreamId stream) const {
  const std::size_t held = members_.at(stream).held;
  return held == 0 || (held < share_ && !full());
}

void MemoryBudget::check_invariants() const {
  std::size_t held = left_behind_, waiting = 0;
  for (const auto& [stream, member] : members_) {
    held += member.held;
    waiting += member.wanted > 0 ? 1 : 0;
  }
  SD_ASSERT(held == held_, "the sum of what is held is right");
  SD_ASSERT(waiting == queue_.size(), "whoever wants something is in the queue once");
  for (const StreamId stream : queue_)
    SD_ASSERT(members_.at(stream).wanted > 0, "whoever is in the queue wants something");
}

}  // namespace sd::client
