#include "core/ring/ring.hpp"

#include <algorithm>
#include <bit>

namespace sd {

namespace {

std::uint64_t fnv_of(std::uint64_t value, std::uint64_t basis) {
  std::uint64_t hash = basis;
  for (int i = 0; i < 8; ++i) hash = (hash ^ (value >> (8 * i) & 0xff)) * 0x100000001b3ull;
  return hash;
}

// FNV of a value, hashed once more with its own result, which spreads small differences.
std::uint64_t hash_of(std::uint64_t value) {
  const std::uint64_t once = fnv_of(value, 0xcbf29ce484222325ull);
  return fnv_of(once, once);
}

}  // namespace

Ring::Ring(std::span<const RingNode> nodes) {
  std::vector<std::uint32_t> zones;
  std::vector<Point> points;
  for (const RingNode& node : nodes) {
    if (node.vnodes == 0) continue;
    std::uint64_t hash = hash_of(node.id);
    for (std::uint16_t i = 0; i < node.vnodes; ++i) {
      hash = fnv_of(hash, hash);
      points.push_back({hash, node.id, node.zone});
    }
    zones.push_back(node.zone);
  }
  std::ranges::sort(points,
                    [](const Point& a, const Point& b) { return a.hash != b.hash ? a.hash < b.hash : a.id < b.id; });
  std::ranges::sort(zones);
  zones_ = static_cast<std::size_t>(std::ranges::unique(zones).begin() - zones.begin());
  if (!points.empty()) points_ = std::make_shared<const std::vector<Point>>(std::move(points));
}

ActingSet Ring::locate(Oid oid, std::size_t copies) const {
  ActingSet result;
  if (!points_) return result;
  const std::vector<Point>& points = *points_;
  boost::container::small_vector<std::uint32_t, 8> used;
  const std::size_t wanted = std::min(copies, zones_);
  const std::uint64_t hash = hash_of(oid.value);
  auto at = std::ranges::lower_bound(points, hash, {}, &Point::hash);
  for (std::size_t seen = 0; seen < points.size() && result.size() < wanted; ++seen, ++at) {
    if (at == points.end()) at = points.begin();
    if (std::ranges::find(used, at->zone) != used.end()) continue;
    used.push_back(at->zone);
    result.push_back(at->id);
  }
  return result;
}

}  // namespace sd
