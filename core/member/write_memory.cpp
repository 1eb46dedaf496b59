#include "core/member/write_memory.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"

namespace sd {

void WriteMemory::remember(Oid oid, const Origin& origin) {
  if (origin.gateway == 0) return;
  auto& recent = entry(oid);
  if (std::ranges::find(recent.last, origin) != recent.last.end()) return;
  if (recent.last.size() >= max_writes_) {
    if (!SD_BUG(forget_silently)) peer::forget(recent.forgotten, recent.last.front());
    recent.last.erase(recent.last.begin());
  }
  recent.last.push_back(origin);
}

peer::RecentWrites WriteMemory::of(Oid oid) const {
  if (const auto at = objects_.find(oid); at != objects_.end()) return at->second;
  return {{}, forgotten_};
}

peer::RecentWrites& WriteMemory::entry(Oid oid) {
  const auto [at, fresh] = objects_.try_emplace(oid);
  if (!fresh) return at->second;
  at->second.forgotten = forgotten_;
  order_.push_back(oid);
  while (order_.size() > max_objects_) {
    if (const auto old = objects_.find(order_.front()); old != objects_.end() && old != at) {
      for (const Origin& origin : old->second.last) peer::forget(forgotten_, origin);
      for (const Origin& origin : old->second.forgotten) peer::forget(forgotten_, origin);
      objects_.erase(old);
    }
    order_.pop_front();
  }
  return at->second;
}

}  // namespace sd
