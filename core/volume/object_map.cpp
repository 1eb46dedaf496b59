#include "core/volume/object_map.hpp"

#include <utility>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"

namespace sd {

ObjectMap::Place ObjectMap::place_of_page(std::uint32_t page) {
  constexpr std::uint32_t pages_per_object = limits::index_entries_per_object / page_entries;
  return {page / pages_per_object, page % pages_per_object * limits::block_size};
}

ObjectMap::Place ObjectMap::place_of_entry(std::uint32_t index) {
  return {index / limits::index_entries_per_object, index % limits::index_entries_per_object * entry_size};
}

bool ObjectMap::begin_load(std::uint32_t number) {
  Page& page = pages_[number];
  if (page.loaded || page.loading) return false;
  page.loading = true;
  return true;
}

bool ObjectMap::loaded(std::uint32_t page) const {
  const auto at = pages_.find(page);
  return at != pages_.end() && at->second.loaded;
}

bool ObjectMap::want(std::uint32_t page) { return pages_[page].loaded; }

ObjectMap::Waiters ObjectMap::on_loaded(std::uint32_t number, const Payload& block) {
  Page& page = pages_[number];
  std::string bytes;
  for (const Slice& slice : block) bytes.append(slice.text());
  Reader reader(bytes);
  page.set.resize(page_entries);
  for (auto& entry : page.set) entry = reader.u32() != 0;
  page.loaded = true;
  return std::exchange(page.waiters, {});
}

ObjectMap::Waiters ObjectMap::on_failed(std::uint32_t page) {
  const auto at = pages_.find(page);
  if (at == pages_.end()) return {};
  Waiters waiters = std::move(at->second.waiters);
  pages_.erase(at);
  return waiters;
}

std::vector<std::uint32_t> ObjectMap::unknown_pages() const {
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, page] : pages_)
    if (!page.loaded && !page.loading) numbers.push_back(number);
  return numbers;
}

void ObjectMap::wait(std::uint32_t page, std::uint64_t operation) {
  pages_[page].waiters.operations.push_back(operation);
}

void ObjectMap::wait_for_map(std::uint32_t page, std::uint64_t request) {
  pages_[page].waiters.requests.push_back(request);
}

std::vector<std::vector<std::uint64_t>> ObjectMap::take_waiters_of_loaded() {
  std::vector<std::vector<std::uint64_t>> all;
  for (auto& [number, page] : pages_)
    if (page.loaded) all.push_back(std::exchange(page.waiters.operations, {}));
  return all;
}

bool ObjectMap::exists(std::uint32_t index) const {
  const auto at = pages_.find(page_of(index));
  return at != pages_.end() && at->second.loaded && at->second.set[index % page_entries] != 0;
}

bool ObjectMap::begin_write(std::uint32_t index, std::uint64_t operation) {
  const auto [at, first] = writing_.try_emplace(index);
  at->second.push_back(operation);
  return first;
}

std::vector<std::uint64_t> ObjectMap::on_written(std::uint32_t index, bool ok) {
  const auto at = writing_.find(index);
  SD_ASSERT(at != writing_.end(), "only an entry that is being written can have been written");
  std::vector<std::uint64_t> waiting = std::move(at->second);
  writing_.erase(at);
  if (ok) pages_.at(page_of(index)).set[index % page_entries] = 1;
  return waiting;
}

}  // namespace sd
