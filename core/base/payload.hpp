// The bytes that travel with a message: a few slices, one after the other.
#pragma once
#include <boost/container/small_vector.hpp>

#include "core/base/slice.hpp"

namespace sd {

using Payload = boost::container::small_vector<Slice, 2>;

inline std::size_t total_size(const Payload& payload) {
  std::size_t size = 0;
  for (const Slice& slice : payload) size += slice.size();
  return size;
}

// One slice with all the bytes: the payload's own if it has but one, else a copy.
inline Slice joined(const Payload& payload, BufferPool& pool) {
  if (payload.empty()) return {};
  if (payload.size() == 1) return payload.front();
  Slice whole = pool.allocate(total_size(payload));
  std::byte* at = whole.mutable_data();
  for (const Slice& slice : payload) {
    std::memcpy(at, slice.data(), slice.size());
    at += slice.size();
  }
  return whole;
}

}  // namespace sd
