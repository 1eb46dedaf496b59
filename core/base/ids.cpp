#include "core/base/ids.hpp"

#include <cstdio>

namespace sd {

namespace {

std::string sixteen_digits(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

std::string id_text(std::uint64_t id) { return id == 0 ? "-" : sixteen_digits(id); }

std::string to_string(Oid oid) { return sixteen_digits(oid.value); }

std::string to_string(ObjectKey key) {
  if (key.strip == 0) return to_string(key.oid);
  constexpr const char* digits = "0123456789abcdef";
  return to_string(key.oid) + '_' + digits[key.strip >> 4] + digits[key.strip & 15];
}

Endpoint Endpoint::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d, std::uint16_t port) {
  Endpoint endpoint;
  endpoint.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d};
  endpoint.port = port;
  return endpoint;
}

bool Endpoint::is_v4() const {
  for (int i = 0; i < 10; ++i)
    if (address[i] != 0) return false;
  return address[10] == 0xff && address[11] == 0xff;
}

std::string to_string(const Endpoint& endpoint) {
  char text[64];
  const auto& a = endpoint.address;
  if (endpoint.is_v4()) {
    std::snprintf(text, sizeof text, "%u.%u.%u.%u:%u", a[12], a[13], a[14], a[15], endpoint.port);
    return text;
  }
  std::string out = "[";
  for (int i = 0; i < 16; i += 2) {
    std::snprintf(text, sizeof text, "%s%x", i == 0 ? "" : ":", a[i] << 8 | a[i + 1]);
    out += text;
  }
  std::snprintf(text, sizeof text, "]:%u", endpoint.port);
  return out + text;
}

std::uint64_t fnv1a(const void* bytes, std::size_t size, std::uint64_t basis) {
  const auto* at = static_cast<const unsigned char*>(bytes);
  std::uint64_t hash = basis;
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ at[i]) * 0x100000001b3ull;
  return hash;
}

Vid first_vid_for(const std::string& name) {
  const Vid vid = static_cast<Vid>(fnv1a(name.data(), name.size()) & max_vid);
  return vid == 0 ? 1 : vid;
}

}  // namespace sd
