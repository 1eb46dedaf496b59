#include "core/store/object.hpp"

#include <cstring>

namespace sd::store_detail {

void OpQueue::pop() {
  ops[head++] = {};
  if (empty()) {
    clear();
  } else if (head >= 64) {
    ops.erase(ops.begin(), ops.begin() + static_cast<std::ptrdiff_t>(head));
    head = 0;
  }
}

void OpQueue::clear() {
  ops.clear();
  head = 0;
}

void Edges::fill(std::uint32_t block, Slice& whole) const {
  for (const Edge& edge : blocks)
    if (edge.block == block) std::memcpy(whole.mutable_data(), edge.data.data(), limits::block_size);
}

ObjectInfo info_of(const Object& o) {
  if (!o.exists) return {};
  return {true, o.meta.incomplete, o.meta.version, o.meta.base, o.meta.allocated_blocks(), o.meta.lossy};
}

}  // namespace sd::store_detail
