// Bytes of versions and endpoints, the same in every format of this project: messages, commands, and files. All that
// comes in is a value.
#pragma once
#include <cstring>

#include "core/base/codec.hpp"
#include "core/base/ids.hpp"

namespace sd {

inline void put(Writer& w, const Version& v) {
  w.u64(v.generation);
  w.u64(v.sequence);
}
inline void get(Reader& r, Version& v) {
  v.generation = r.u64();
  v.sequence = r.u64();
}

inline void put(Writer& w, const Endpoint& e) {
  w.bytes(std::as_bytes(std::span(e.address)));
  w.u16(e.port);
}
inline void get(Reader& r, Endpoint& e) {
  const auto bytes = r.bytes(e.address.size());
  if (bytes.size() == e.address.size()) std::memcpy(e.address.data(), bytes.data(), bytes.size());
  e.port = r.u16();
}

}  // namespace sd
