#include "core/base/recent_writes.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"

namespace sd {

void RecentWrites::remember(const Origin& origin, std::size_t most) {
  if (origin.gateway == 0 || std::ranges::find(last, origin) != last.end()) return;
  while (!last.empty() && last.size() >= most) {
    if (!SD_BUG(forget_silently)) forget(forgotten, last.front());
    last.erase(last.begin());
  }
  last.push_back(origin);
}

void forget(std::vector<Origin>& forgotten, const Origin& origin) {
  const auto at = std::ranges::find(forgotten, origin.gateway, &Origin::gateway);
  if (at != forgotten.end())
    at->number = std::max(at->number, origin.number);
  else if (may_be_forgotten(forgotten, origin))
    return;
  else if (forgotten.size() < max_forgotten)
    forgotten.push_back(origin);
  else
    forgotten.assign(1, Origin{});
}

bool may_be_forgotten(const std::vector<Origin>& forgotten, const Origin& origin) {
  return origin.gateway != 0 && std::ranges::any_of(forgotten, [&](const Origin& o) {
           return o.gateway == 0 || (o.gateway == origin.gateway && origin.number <= o.number);
         });
}

}  // namespace sd
