// Whose writes to an object were the last: so that a new owner answers a write that is asked for again, instead of
// carrying it out a second time over what others wrote in between.
//
// Part of the object's metadata (core/store/object_meta.hpp): a copy tells whose writes its data contain, after a crash
// too. It is bounded. What falls out of it is not forgotten silently: for each gateway the highest number that fell out
// is kept, and any write of that gateway up to there counts as "may have been carried out".
//
// Promise: a write that was remembered is in `last` or covered by `forgotten`.
#pragma once
#include <cstddef>
#include <vector>

#include "core/base/ids.hpp"

namespace sd {

inline constexpr std::size_t max_recent = 128;  // as many as an owner has under way on one object
inline constexpr std::size_t max_forgotten = 48;

struct RecentWrites {
  std::vector<Origin> last;  // oldest first, at most max_recent
  // for each gateway the highest number that `last` once held, at most max_forgotten; {0, 0}: any number of any
  std::vector<Origin> forgotten;

  // This write was carried out. Does nothing if it is known already, or nobody's. `most`: how many stay in `last`.
  void remember(const Origin& origin, std::size_t most);
  friend bool operator==(const RecentWrites&, const RecentWrites&) = default;
};

// Afterwards `forgotten` says that this write, and any of that gateway before it, may have been carried out.
void forget(std::vector<Origin>& forgotten, const Origin& origin);
// Whether it is among them.
bool may_be_forgotten(const std::vector<Origin>& forgotten, const Origin& origin);

}  // namespace sd
