// Whatever is written is read back, and no input makes a reader step outside its bytes.
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/base/codec.hpp"

namespace {

using Field = std::variant<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, bool, std::string>;

rc::Gen<Field> any_field() {
  return rc::gen::oneOf(rc::gen::map(rc::gen::arbitrary<std::uint8_t>(), [](auto v) { return Field(v); }),
                        rc::gen::map(rc::gen::arbitrary<std::uint16_t>(), [](auto v) { return Field(v); }),
                        rc::gen::map(rc::gen::arbitrary<std::uint32_t>(), [](auto v) { return Field(v); }),
                        rc::gen::map(rc::gen::arbitrary<std::uint64_t>(), [](auto v) { return Field(v); }),
                        rc::gen::map(rc::gen::arbitrary<bool>(), [](auto v) { return Field(v); }),
                        rc::gen::map(rc::gen::arbitrary<std::string>(), [](auto v) { return Field(std::move(v)); }));
}

template <typename W>
struct WriteField {
  W& out;
  void operator()(std::uint8_t v) { out.u8(v); }
  void operator()(std::uint16_t v) { out.u16(v); }
  void operator()(std::uint32_t v) { out.u32(v); }
  void operator()(std::uint64_t v) { out.u64(v); }
  void operator()(bool v) { out.boolean(v); }
  void operator()(const std::string& v) { out.string(v); }
};

// Reads a field of the same kind as the one it is given.
template <typename R>
struct ReadField {
  R& in;
  Field operator()(std::uint8_t) { return in.u8(); }
  Field operator()(std::uint16_t) { return in.u16(); }
  Field operator()(std::uint32_t) { return in.u32(); }
  Field operator()(std::uint64_t) { return in.u64(); }
  Field operator()(bool) { return in.boolean(); }
  Field operator()(const std::string&) { return in.string(1u << 20); }
};

template <typename W>
std::string encoded(const std::vector<Field>& fields) {
  std::string bytes;
  W writer(bytes);
  for (const Field& field : fields) std::visit(WriteField<W>{writer}, field);
  return bytes;
}

template <typename W, typename R>
void check_round_trip(const std::vector<Field>& fields) {
  const std::string bytes = encoded<W>(fields);
  R reader(bytes);
  for (const Field& field : fields) RC_ASSERT(std::visit(ReadField<R>{reader}, field) == field);
  RC_ASSERT(reader.complete());
}

}  // namespace

RC_GTEST_PROP(CodecProperties, WhatIsWrittenIsReadBack, ()) {
  const auto fields = *rc::gen::container<std::vector<Field>>(any_field());
  check_round_trip<sd::Writer, sd::Reader>(fields);
  check_round_trip<sd::BigEndianWriter, sd::BigEndianReader>(fields);
}

RC_GTEST_PROP(CodecProperties, EveryTruncationIsNoticed, ()) {
  const auto fields = *rc::gen::nonEmpty(rc::gen::container<std::vector<Field>>(any_field()));
  const std::string bytes = encoded<sd::Writer>(fields);
  const auto size = *rc::gen::inRange<std::size_t>(0, bytes.size());
  // A copy of exactly that size, so that the sanitizer sees a read past it.
  const std::string cut = bytes.substr(0, size);
  sd::Reader reader(cut);
  for (const Field& field : fields) std::visit(ReadField<sd::Reader>{reader}, field);
  RC_ASSERT(reader.failed());
  RC_ASSERT(reader.position() <= cut.size());
}

RC_GTEST_PROP(CodecProperties, ArbitraryBytesAreReadWithinTheirBounds,
              (const std::string& bytes, const std::vector<int>& order)) {
  sd::Reader reader(bytes);
  for (const int kind : order) {
    const auto before = reader.position();
    switch (static_cast<unsigned>(kind) % 7) {
      case 0: reader.u8(); break;
      case 1: reader.u16(); break;
      case 2: reader.u32(); break;
      case 3: reader.u64(); break;
      case 4: reader.boolean(); break;
      case 5: RC_ASSERT(reader.string(8).size() <= 8u); break;
      default: RC_ASSERT(reader.count(5) <= 5u); break;
    }
    RC_ASSERT(reader.position() >= before);
    RC_ASSERT(reader.position() + reader.remaining() == bytes.size());
  }
}
