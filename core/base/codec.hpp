// Reading and writing fixed-width integers and counted strings in byte buffers. The one place where bytes become
// numbers.
//
// A Reader never reads past its end: after the first short read it is `failed()` for good and yields zeros, so a
// decoder may read a whole record and test once. Every count read from outside must be bounded by the caller with the
// `max` argument.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace sd {

template <typename T>
concept WireInteger = std::is_unsigned_v<T> && !std::is_same_v<T, bool>;

template <WireInteger T>
constexpr T swap_unless(T value, std::endian order) {
  if constexpr (sizeof(T) == 1)
    return value;
  else if (order == std::endian::native)
    return value;
  else if constexpr (sizeof(T) == 2)
    return static_cast<T>(__builtin_bswap16(value));
  else if constexpr (sizeof(T) == 4)
    return static_cast<T>(__builtin_bswap32(value));
  else
    return static_cast<T>(__builtin_bswap64(value));
}

// Appends to a string that the caller owns and may reuse.
template <std::endian Order>
class BasicWriter {
 public:
  explicit BasicWriter(std::string& out) : out_(out) {}

  template <WireInteger T>
  void put(T value) {
    value = swap_unless(value, Order);
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void u8(std::uint8_t v) { put(v); }
  void u16(std::uint16_t v) { put(v); }
  void u32(std::uint32_t v) { put(v); }
  void u64(std::uint64_t v) { put(v); }
  void boolean(bool v) { put<std::uint8_t>(v ? 1 : 0); }
  void bytes(std::span<const std::byte> b) { out_.append(reinterpret_cast<const char*>(b.data()), b.size()); }
  void raw(std::string_view s) { out_.append(s); }
  // A u32 length, then the bytes.
  void string(std::string_view s) {
    u32(static_cast<std::uint32_t>(s.size()));
    out_.append(s);
  }
  std::size_t size() const { return out_.size(); }

 private:
  std::string& out_;
};

template <std::endian Order>
class BasicReader {
 public:
  explicit BasicReader(std::span<const std::byte> in) : in_(in) {}
  explicit BasicReader(std::string_view in) : in_(std::as_bytes(std::span(in.data(), in.size()))) {}

  template <WireInteger T>
  T get() {
    T value{};
    if (!take(sizeof value)) return value;
    std::memcpy(&value, in_.data() + at_ - sizeof value, sizeof value);
    return swap_unless(value, Order);
  }
  std::uint8_t u8() { return get<std::uint8_t>(); }
  std::uint16_t u16() { return get<std::uint16_t>(); }
  std::uint32_t u32() { return get<std::uint32_t>(); }
  std::uint64_t u64() { return get<std::uint64_t>(); }
  // Anything but 0 and 1 fails.
  bool boolean() {
    const auto v = u8();
    if (v > 1) failed_ = true;
    return v == 1;
  }
  std::span<const std::byte> bytes(std::size_t size) {
    return take(size) ? in_.subspan(at_ - size, size) : std::span<const std::byte>{};
  }
  // A u32 length of at most `max`, then the bytes.
  std::string string(std::size_t max) {
    const std::size_t size = count(max);
    const auto b = bytes(size);
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  // A u32 of at most `max`; a larger one fails the reader and yields 0.
  std::uint32_t count(std::size_t max) {
    const auto n = u32();
    if (n > max) {
      failed_ = true;
      return 0;
    }
    return n;
  }
  std::size_t remaining() const { return in_.size() - at_; }
  std::size_t position() const { return at_; }
  bool failed() const { return failed_; }
  void fail() { failed_ = true; }
  // All bytes read, and none missing.
  bool complete() const { return !failed_ && remaining() == 0; }

 private:
  bool take(std::size_t size) {
    if (failed_ || size > remaining()) {
      failed_ = true;
      return false;
    }
    at_ += size;
    return true;
  }
  std::span<const std::byte> in_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

using Writer = BasicWriter<std::endian::little>;  // this project's own formats, and bincode
using Reader = BasicReader<std::endian::little>;
using BigEndianWriter = BasicWriter<std::endian::big>;  // NBD, ONC RPC
using BigEndianReader = BasicReader<std::endian::big>;

}  // namespace sd
