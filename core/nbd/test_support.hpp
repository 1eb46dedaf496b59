// What the tests of this folder share: bytes written as hexadecimal, the messages of a client, and a session with its
// driver's hands.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/base/codec.hpp"
#include "core/nbd/session.hpp"

namespace sd::nbd::test {

// Calls of operator new so far, in the whole test program (allocation_counter_test.cpp).
std::size_t allocations_made();

// "4e42 444d" -> "NBDM"; everything but hexadecimal digits is skipped.
inline std::string hex(std::string_view digits) {
  std::string out;
  int high = -1;
  for (const char c : digits) {
    const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (v < 0) continue;
    if (high < 0) {
      high = v;
    } else {
      out.push_back(static_cast<char>(high << 4 | v));
      high = -1;
    }
  }
  return out;
}

inline std::string to_hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    out.push_back("0123456789abcdef"[static_cast<std::uint8_t>(c) >> 4]);
    out.push_back("0123456789abcdef"[c & 15]);
  }
  return out;
}

inline std::string option(std::uint32_t number, std::string_view data = {}) {
  std::string out;
  BigEndianWriter w(out);
  w.u64(option_magic);
  w.u32(number);
  w.string(data);
  return out;
}
inline std::string option(Option o, std::string_view data = {}) { return option(static_cast<std::uint32_t>(o), data); }

inline std::string go_data(std::string_view name, std::initializer_list<std::uint16_t> infos = {}) {
  std::string out;
  BigEndianWriter w(out);
  w.string(name);
  w.u16(static_cast<std::uint16_t>(infos.size()));
  for (const auto i : infos) w.u16(i);
  return out;
}

inline std::string context_data(std::string_view name, std::initializer_list<std::string_view> queries) {
  std::string out;
  BigEndianWriter w(out);
  w.string(name);
  w.u32(static_cast<std::uint32_t>(queries.size()));
  for (const auto q : queries) w.string(q);
  return out;
}

inline std::string command(std::uint16_t type, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                           std::uint16_t flags = 0) {
  std::string out;
  BigEndianWriter w(out);
  w.u32(request_magic);
  w.u16(flags);
  w.u16(type);
  w.u64(cookie);
  w.u64(offset);
  w.u32(length);
  return out;
}
inline std::string command(Command c, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                           std::uint16_t flags = 0) {
  return command(static_cast<std::uint16_t>(c), cookie, offset, length, flags);
}

inline std::string option_reply(std::uint32_t option_number, OptionReply type, std::string_view data = {}) {
  std::string out;
  BigEndianWriter w(out);
  w.u64(option_reply_magic);
  w.u32(option_number);
  w.u32(static_cast<std::uint32_t>(type));
  w.string(data);
  return out;
}

inline std::string simple(Error error, std::uint64_t cookie, std::string_view data = {}) {
  std::string out;
  BigEndianWriter w(out);
  w.u32(simple_reply_magic);
  w.u32(static_cast<std::uint32_t>(error));
  w.u64(cookie);
  w.raw(data);
  return out;
}

inline std::string chunk(Chunk type, bool last, std::uint64_t cookie, std::string_view payload) {
  std::string out;
  BigEndianWriter w(out);
  w.u32(structured_reply_magic);
  w.u16(last ? 1 : 0);
  w.u16(static_cast<std::uint16_t>(type));
  w.u64(cookie);
  w.string(payload);
  return out;
}

inline constexpr std::string_view client_flags_bytes{"\0\0\0\3", 4};

// A session and everything its driver holds. Effects pile up until taken.
struct Server {
  explicit Server(SessionOptions options = {}) : session(options, pool) {}

  // Gives the session as much of `bytes` as it takes, at most `step` at a time; returns how much that was.
  std::size_t feed(std::string_view bytes, std::size_t step = SIZE_MAX) {
    std::size_t fed = 0;
    while (fed < bytes.size()) {
      const auto span = session.receive_buffer();
      if (span.empty()) break;
      const std::size_t n = std::min({span.size(), bytes.size() - fed, step});
      std::memcpy(span.data(), bytes.data() + fed, n);
      session.on_received(n, effects);
      fed += n;
    }
    return fed;
  }

  std::string sent() {
    std::string out;
    session.output().peek(
        SIZE_MAX, [&](std::span<const std::byte> b) { out.append(reinterpret_cast<const char*>(b.data()), b.size()); });
    session.on_sent(out.size(), effects);
    return out;
  }

  // Through the handshake, by GO, with everything negotiated or nothing.
  void serve(const ExportInfo& info, bool structured, std::initializer_list<std::uint16_t> infos = {}) {
    feed(client_flags_bytes);
    if (structured) {
      feed(option(Option::structured_reply));
      feed(option(Option::set_meta_context, context_data("disk", {"base:allocation"})));
      session.on_export(info, effects);
    }
    feed(option(Option::go, go_data("disk", infos)));
    session.on_export(info, effects);
    sent();
    effects.clear();
  }

  Slice bytes(std::string_view text) { return pool.copy_of(text); }

  BufferPool pool;
  Session session;
  Effects effects;
};

inline ExportInfo disk(std::uint64_t size = 1u << 20, bool read_only = false) {
  return {.name = "disk", .size = size, .read_only = read_only, .description = "a disk", .export_id = 7};
}

}  // namespace sd::nbd::test
