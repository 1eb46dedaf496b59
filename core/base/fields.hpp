// One list of a record's fields, from which both its writing and its reading follow. A record says
//
//   static void fields(auto& r, auto& f) { f(r.id, r.flag, r.version); f.list(r.names, max_names); }
//
// and `write_fields` and `read_fields` do the rest: integers of fixed width, booleans, strong ids and records of other
// kinds with `put` and `get` (ids_codec.hpp), lists with their bounds. Nothing that is read is believed before the
// Reader says that it is complete.
#pragma once
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "core/base/codec.hpp"
#include "core/base/ids_codec.hpp"
#include "core/base/recent_writes.hpp"

namespace sd {

class FieldWriter {
 public:
  explicit FieldWriter(Writer& w) : w_(w) {}
  void operator()(const auto&... values) { (one(values), ...); }
  // An enumeration whose last value is `last`.
  template <typename E>
  void choice(const E& value, E) {
    w_.u8(static_cast<std::uint8_t>(value));
  }
  // A count, then the entries; at most `max` of them.
  void list(const auto& values, std::size_t) {
    w_.u32(static_cast<std::uint32_t>(values.size()));
    for (const auto& value : values) one(value);
  }
  // Entries that know their own key.
  template <typename K, typename V>
  void values(const std::map<K, V>& map, std::size_t, K V::*) {
    w_.u32(static_cast<std::uint32_t>(map.size()));
    for (const auto& [key, value] : map) one(value);
  }
  template <typename K, typename V>
  void map(const std::map<K, V>& map, std::size_t) {
    w_.u32(static_cast<std::uint32_t>(map.size()));
    for (const auto& [key, value] : map) (*this)(key, value);
  }
  void text(const std::string& text, std::size_t) { w_.string(text); }
  void rest(const std::string& bytes) { w_.raw(bytes); }
  void demand(bool) {}

 private:
  template <WireInteger T>
  void one(T value) {
    w_.put(value);
  }
  void one(bool value) { w_.boolean(value); }
  void one(const Oid& oid) { w_.u64(oid.value); }
  void one(const Origin& origin) { (*this)(origin.gateway, origin.number); }
  void one(const Version& version) { put(w_, version); }
  void one(const Endpoint& endpoint) { put(w_, endpoint); }
  template <typename A, typename B>
  void one(const std::pair<A, B>& pair) {
    (*this)(pair.first, pair.second);
  }
  template <typename Record>
    requires requires(const Record& r, FieldWriter& f) { Record::fields(r, f); }
  void one(const Record& record) {
    Record::fields(record, *this);
  }
  Writer& w_;
};

class FieldReader {
 public:
  explicit FieldReader(Reader& r) : r_(r) {}
  void operator()(auto&... values) { (one(values), ...); }
  template <typename E>
  void choice(E& value, E last) {
    const auto raw = r_.u8();
    if (raw > static_cast<std::uint8_t>(last)) r_.fail();
    value = static_cast<E>(raw);
  }
  void list(auto& values, std::size_t max) {
    for (auto n = r_.count(max); n > 0 && !r_.failed(); --n) one(values.emplace_back());
  }
  template <typename K, typename V>
  void values(std::map<K, V>& map, std::size_t max, K V::* key) {
    for (auto n = r_.count(max); n > 0 && !r_.failed(); --n) {
      V value;
      one(value);
      map.insert_or_assign(value.*key, std::move(value));
    }
  }
  template <typename K, typename V>
  void map(std::map<K, V>& map, std::size_t max) {
    for (auto n = r_.count(max); n > 0 && !r_.failed(); --n) {
      K key{};
      one(key);
      one(map[key]);
    }
  }
  // A length of at most `max`, then the bytes.
  void text(std::string& text, std::size_t max) { text = r_.string(max); }
  // All that is left.
  void rest(std::string& bytes) {
    const auto left = r_.bytes(r_.remaining());
    bytes.assign(reinterpret_cast<const char*>(left.data()), left.size());
  }
  // What must hold of the fields that were read.
  void demand(bool holds) {
    if (!holds) r_.fail();
  }

 private:
  template <WireInteger T>
  void one(T& value) {
    value = r_.get<T>();
  }
  void one(bool& value) { value = r_.boolean(); }
  void one(Oid& oid) { oid.value = r_.u64(); }
  void one(Origin& origin) { (*this)(origin.gateway, origin.number); }
  void one(Version& version) { get(r_, version); }
  void one(Endpoint& endpoint) { get(r_, endpoint); }
  template <typename A, typename B>
  void one(std::pair<A, B>& pair) {
    (*this)(pair.first, pair.second);
  }
  template <typename Record>
    requires requires(Record& r, FieldReader& f) { Record::fields(r, f); }
  void one(Record& record) {
    Record::fields(record, *this);
  }
  Reader& r_;
};

template <typename Record>
void write_fields(Writer& w, const Record& record) {
  FieldWriter f(w);
  Record::fields(record, f);
}
template <typename Record>
void read_fields(Reader& r, Record& record) {
  FieldReader f(r);
  Record::fields(record, f);
}

// Makes the variant hold its alternative of that number, empty. False: there is none.
template <typename... Alternatives>
bool emplace_alternative(std::variant<Alternatives...>& variant, std::size_t number) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return ((number == I ? (variant.template emplace<I>(), true) : false) || ...);
  }(std::index_sequence_for<Alternatives...>{});
}

}  // namespace sd
