// What a check of a disk has found, and done about it; see disk_check.hpp. CheckAnswer is the answer to
// IoRequest::Kind::check.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/codec.hpp"

namespace sd {

inline constexpr std::uint32_t max_checked_objects = 65536;  // that one request may name, whether they exist or not

struct CheckCounts {
  std::uint64_t objects = 0;  // that exist, the objects of the index among them
  std::uint64_t copies = 0;   // of those that were read, each block of each
  std::uint64_t bytes = 0;
  std::uint64_t damaged = 0;    // blocks found damaged, over all copies ...
  std::uint64_t repaired = 0;   // ... and replaced by good ones; the others are lost, or were overwritten meanwhile
  std::uint64_t lost = 0;       // blocks of the disk that no member has a good copy of
  std::uint64_t restored = 0;   // copies that were missing, incomplete or old, and were made whole
  std::uint64_t absent = 0;     // copies that ought to be, and whose member is down
  std::uint64_t unchecked = 0;  // objects that could not be checked, or not be made whole

  static void fields(auto& c, auto&& f) {
    f(c.objects, c.copies, c.bytes, c.damaged, c.repaired, c.lost, c.restored, c.absent, c.unchecked);
  }
  CheckCounts& operator+=(const CheckCounts& more) {
    fields(*this, [&](auto&... sum) { fields(more, [&](const auto&... one) { ((sum += one), ...); }); });
    return *this;
  }
};

struct CheckAnswer {
  std::uint64_t next = 0;  // data object to go on from: those before it are done
  CheckCounts counts;

  static void fields(auto& a, auto&& f) {
    f(a.next);
    CheckCounts::fields(a.counts, f);
  }
};

inline std::string encode(const CheckAnswer& answer) {
  std::string bytes;
  Writer writer(bytes);
  CheckAnswer::fields(answer, [&](auto... field) { (writer.u64(field), ...); });
  return bytes;
}

inline std::optional<CheckAnswer> decode_check_answer(std::string_view bytes) {
  CheckAnswer answer;
  Reader reader(bytes);
  CheckAnswer::fields(answer, [&](auto&... field) { ((field = reader.u64()), ...); });
  if (!reader.complete()) return {};
  return answer;
}

}  // namespace sd
