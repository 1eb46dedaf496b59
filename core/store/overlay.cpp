#include "core/store/overlay.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace sd {

using limits::block_size;

std::size_t Overlay::carve(std::uint32_t first, std::uint32_t end) {
  auto at = std::partition_point(extents_.begin(), extents_.end(), [&](const Extent& e) { return e.end() <= first; });
  if (at == extents_.end() || at->first >= end) return static_cast<std::size_t>(at - extents_.begin());

  if (at->first < first) {  // keep the front of the first one
    const std::uint32_t keep = first - at->first;
    Extent back{first, at->count - keep, at->is_hole() ? Slice{} : at->data.from(std::size_t{keep} * block_size)};
    if (!at->is_hole()) at->data.shrink(std::size_t{keep} * block_size);
    at->count = keep;
    at = extents_.insert(at + 1, std::move(back));
  }
  const std::size_t index = static_cast<std::size_t>(at - extents_.begin());
  while (at != extents_.end() && at->end() <= end) {
    bytes_ -= at->data.size();
    ++at;
  }
  if (at != extents_.end() && at->first < end) {  // keep the back of the last one
    const std::uint32_t cut = end - at->first;
    if (!at->is_hole()) at->data = at->data.from(std::size_t{cut} * block_size);
    bytes_ -= at->is_hole() ? 0 : std::size_t{cut} * block_size;
    at->first = end;
    at->count -= cut;
  }
  extents_.erase(extents_.begin() + static_cast<std::ptrdiff_t>(index), at);
  return index;
}

void Overlay::put(std::uint32_t first, Slice data) {
  SD_ASSERT(!data.empty() && data.size() % block_size == 0, "an overlay holds whole blocks");
  const auto count = static_cast<std::uint32_t>(data.size() / block_size);
  const std::size_t index = carve(first, first + count);
  bytes_ += data.size();
  extents_.insert(extents_.begin() + static_cast<std::ptrdiff_t>(index), Extent{first, count, std::move(data)});
}

void Overlay::punch(std::uint32_t first, std::uint32_t count) {
  if (count == 0) return;
  const std::size_t index = carve(first, first + count);
  extents_.insert(extents_.begin() + static_cast<std::ptrdiff_t>(index), Extent{first, count, {}});
}

const Overlay::Extent* Overlay::find(std::uint32_t block) const {
  const auto at =
      std::partition_point(extents_.begin(), extents_.end(), [&](const Extent& e) { return e.end() <= block; });
  return at != extents_.end() && at->first <= block ? &*at : nullptr;
}

Slice Overlay::block(std::uint32_t block) const {
  const Extent* e = find(block);
  if (!e || e->is_hole()) return {};
  return e->data.part(std::size_t{block - e->first} * block_size, block_size);
}

void Overlay::clear() {
  extents_.clear();
  bytes_ = 0;
}

}  // namespace sd
