#include "core/client/answer_size.hpp"

#include <algorithm>

namespace sd::client {

std::size_t answer_size(const SdRequest& request, const cluster::State& state) {
  constexpr std::size_t max_inode = max_inline_objects * 4 + 1024;
  if (const auto* read = std::get_if<VdiRead>(&request)) return read->length <= max_io ? read->length : 0;
  if (const auto* read = std::get_if<ReadObj>(&request)) {
    const std::size_t whole = (read->oid & Oid::inode_bit) != 0 ? max_inode : limits::object_size;
    return read->length == 0 ? whole : std::min<std::size_t>(read->length, whole);
  }
  if (std::holds_alternative<ReadVdis>(request)) return (std::size_t{max_vid} + 1) / 8;
  if (const auto* list = std::get_if<VdiList>(&request); list && list->name.empty()) {
    constexpr std::size_t rest_of_entry = 96;  // numbers and an address
    std::size_t bytes = 0, entries = 0;
    for (auto at = state.vdis.lower_bound(list->first_vid); at != state.vdis.end() && entries < max_listed_vdis; ++at) {
      bytes += rest_of_entry + at->second.name.size();
      ++entries;
    }
    return bytes;
  }
  return 0;
}

}  // namespace sd::client
