// Bincode 1 with its default options, for structs that list their fields: little-endian fixed-width integers, bool as
// one byte, strings and vectors with an 8-byte length, enums as a 4-byte variant number, optionals with one byte
// before. (https://docs.rs/bincode/1.3.3, and its specification of the same name.)
//
// A struct takes part by `static void fields(auto& self, auto&& visit) { visit(self.a, self.b); }`; the same list
// encodes and decodes. Decoding is bounded: strings and vectors by the limits below and by the bytes that are really
// there.
#pragma once
#include <array>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/base/codec.hpp"

namespace sd::client::bincode {

inline constexpr std::size_t max_string = 4096;
inline constexpr std::size_t max_elements = 1u << 16;

// Bytes that are no text: as bincode writes a Vec<u8>, with no limit but the frame's.
struct Bytes {
  std::string value;
  friend bool operator==(const Bytes&, const Bytes&) = default;
};

// RFC 3629. Rust strings hold nothing else, so neither may names that its clients will read.
bool valid_utf8(std::string_view text);

template <typename T>
concept Record = requires(T& value) { T::fields(value, [](auto&...) {}); };

template <typename T>
struct is_vector : std::false_type {};
template <typename T>
struct is_vector<std::vector<T>> : std::true_type {};
template <typename T>
struct is_optional : std::false_type {};
template <typename T>
struct is_optional<std::optional<T>> : std::true_type {};
template <typename T>
struct is_byte_array : std::false_type {};
template <std::size_t N>
struct is_byte_array<std::array<std::uint8_t, N>> : std::true_type {};

template <typename T>
void encode(const T& value, Writer& out) {
  if constexpr (std::is_same_v<T, bool>) {
    out.boolean(value);
  } else if constexpr (WireInteger<T>) {
    out.put(value);
  } else if constexpr (std::is_enum_v<T>) {
    out.u32(static_cast<std::uint32_t>(value));
  } else if constexpr (std::is_same_v<T, std::string>) {
    out.u64(value.size());
    out.raw(value);
  } else if constexpr (std::is_same_v<T, Bytes>) {
    out.u64(value.value.size());
    out.raw(value.value);
  } else if constexpr (is_vector<T>::value) {
    out.u64(value.size());
    for (const auto& element : value) encode(element, out);
  } else if constexpr (is_optional<T>::value) {
    out.boolean(value.has_value());
    if (value) encode(*value, out);
  } else if constexpr (is_byte_array<T>::value) {
    out.bytes(std::as_bytes(std::span(value)));
  } else {
    static_assert(Record<const T>, "a type of the protocol");
    T::fields(value, [&](const auto&... field) { (encode(field, out), ...); });
  }
}

// After a failure `in.failed()` holds and `value` is unspecified.
template <typename T>
void decode(Reader& in, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = in.boolean();
  } else if constexpr (WireInteger<T>) {
    value = in.get<T>();
  } else if constexpr (std::is_enum_v<T>) {
    const auto number = in.u32();
    if (number >= static_cast<std::uint32_t>(T::count_)) return in.fail();
    value = static_cast<T>(number);
  } else if constexpr (std::is_same_v<T, std::string>) {
    const auto size = in.u64();
    if (size > max_string || size > in.remaining()) return in.fail();
    const auto bytes = in.bytes(static_cast<std::size_t>(size));
    value.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!valid_utf8(value)) in.fail();
  } else if constexpr (std::is_same_v<T, Bytes>) {
    const auto size = in.u64();
    if (size > in.remaining()) return in.fail();
    const auto bytes = in.bytes(static_cast<std::size_t>(size));
    value.value.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else if constexpr (is_vector<T>::value) {
    const auto size = in.u64();
    if (size > max_elements || size > in.remaining()) return in.fail();
    value.clear();
    for (std::uint64_t i = 0; i < size && !in.failed(); ++i) decode(in, value.emplace_back());
  } else if constexpr (is_optional<T>::value) {
    if (in.boolean())
      decode(in, value.emplace());
    else
      value.reset();
  } else if constexpr (is_byte_array<T>::value) {
    const auto bytes = in.bytes(value.size());
    if (bytes.size() == value.size()) std::memcpy(value.data(), bytes.data(), bytes.size());
  } else {
    static_assert(Record<T>, "a type of the protocol");
    T::fields(value, [&](auto&... field) { (decode(in, field), ...); });
  }
}

template <typename T>
std::string to_bytes(const T& value) {
  std::string out;
  Writer writer(out);
  encode(value, writer);
  return out;
}

// Nothing if bytes are missing, left over or out of range.
template <typename T>
std::optional<T> from_bytes(std::string_view bytes) {
  Reader in(bytes);
  T value{};
  decode(in, value);
  if (!in.complete()) return std::nullopt;
  return value;
}

}  // namespace sd::client::bincode
