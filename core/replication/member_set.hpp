// Small sets of members, kept in vectors.
#pragma once
#include <algorithm>
#include <vector>

#include "core/base/ids.hpp"

namespace sd::member_set {

template <typename Set>
bool contains(const Set& set, NodeId id) {
  return std::ranges::find(set, id) != set.end();
}

// False if it was not there.
template <typename Set>
bool take(Set& set, NodeId id) {
  const auto at = std::ranges::find(set, id);
  if (at == set.end()) return false;
  set.erase(at);
  return true;
}

// Into an ordered set, once.
inline void add_sorted(std::vector<NodeId>& set, NodeId id) {
  const auto at = std::ranges::lower_bound(set, id);
  if (at == set.end() || *at != id) set.insert(at, id);
}

}  // namespace sd::member_set
