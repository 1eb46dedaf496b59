#include "core/peer/link.hpp"

#include "core/base/assert.hpp"

namespace sd {

void OutLink::put(std::string_view encoded, const Payload* payload, bool is_bulk, std::size_t ahead) {
  const bool waits = is_bulk && (!frames.empty() || queue.size() >= ahead);
  OutQueue& to = waits ? bulk : queue;
  const std::size_t before = to.size();
  to.append_copy(encoded);
  if (payload)
    for (const Slice& slice : *payload) to.append(slice);
  const std::size_t size = to.size() - before;
  if (waits) frames.push_back(size);
  appended += size;
}

void OutLink::fill(std::size_t ahead) {
  SD_ASSERT(ahead > 0, "data that is never committed never leaves");
  while (queue.size() < ahead && !frames.empty()) {
    bulk.move_front(frames.front(), queue);
    frames.pop_front();
  }
}

}  // namespace sd
