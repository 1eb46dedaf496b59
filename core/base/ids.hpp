// Names of things: nodes, virtual disks, objects, versions. Plain values, totally ordered, with no padding.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <string>

namespace sd {

// A member's identity for life: drawn at random at its first start and kept in its data directory. 0 is nobody.
using NodeId = std::uint64_t;
// How logs and `dog` show it, and other random ids: sixteen hexadecimal digits; "-" for 0.
std::string id_text(std::uint64_t id);

// A connection of one node, numbered by that node; 0 is none.
using StreamId = std::uint32_t;

// One incarnation of a node, from a start to the next: the upper half counts the starts, the lower half is drawn at
// random. A member that restarted may have lost what it had not flushed, so peers must tell its incarnations apart; and
// a disk that is brought back as it was some time ago gives the same count again. So two incarnations are the same one
// only if all of the number is equal, and which of two came later only the node's own list of its earlier incarnations
// can tell (see peer::Hello), not their order.
using Incarnation = std::uint64_t;
constexpr Incarnation incarnation_of(std::uint64_t starts, std::uint64_t drawn) {
  return starts << 32 | (drawn & UINT32_MAX);
}
constexpr std::uint64_t starts_of(Incarnation incarnation) { return incarnation >> 32; }

// A virtual disk's number, 24 bits; 0 is none.
using Vid = std::uint32_t;
inline constexpr Vid max_vid = 0xffffff;

// Number of a configuration of the data ring; grows by one for each change.
using Epoch = std::uint32_t;

// A 64-bit object name: bit 63 inode, 62 vmstate, 61 attribute, 60 index, 59 ledger, none of them data; bits 32-55 vid;
// bits 0-31 index. (The layout of the reference's code.)
struct Oid {
  std::uint64_t value = 0;

  static constexpr std::uint64_t inode_bit = 1ull << 63;
  static constexpr std::uint64_t vmstate_bit = 1ull << 62;
  static constexpr std::uint64_t attribute_bit = 1ull << 61;
  static constexpr std::uint64_t index_bit = 1ull << 60;
  static constexpr std::uint64_t ledger_bit = 1ull << 59;
  static constexpr std::uint64_t type_bits = inode_bit | vmstate_bit | attribute_bit | index_bit | ledger_bit;

  static constexpr Oid data(Vid vid, std::uint32_t index) { return {std::uint64_t{vid} << 32 | index}; }
  static constexpr Oid index_object(Vid vid, std::uint32_t index) {
    return {index_bit | std::uint64_t{vid} << 32 | index};
  }
  static constexpr Oid inode(Vid vid) { return {inode_bit | std::uint64_t{vid} << 32}; }

  constexpr Vid vid() const { return static_cast<Vid>(value >> 32) & max_vid; }
  constexpr std::uint32_t index() const { return static_cast<std::uint32_t>(value); }
  constexpr bool is_data() const { return (value & type_bits) == 0; }

  friend constexpr auto operator<=>(Oid, Oid) = default;
};

// Sixteen lowercase hexadecimal digits, as object files are named.
std::string to_string(Oid oid);

// What one member holds of an object: strip 0 is a whole copy; the strips of an erasure-coded object count from 1.
struct ObjectKey {
  constexpr ObjectKey() = default;
  constexpr ObjectKey(Oid object, std::uint8_t number = 0) : oid(object), strip(number) {}
  Oid oid;
  std::uint8_t strip = 0;
  friend constexpr auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

// As above; of a strip with `_` and its number, two hexadecimal digits.
std::string to_string(ObjectKey key);

// Where an object's history stands. `generation` names the period in which the write was made: the index, in the
// cluster log, of the command that gave the VDI its owner or that last changed the epoch, whichever is later; below it,
// in the low 16 bits, the owner's round, which grows when it has to ask the members again within that period. Inside
// one generation every member's state is a prefix of one history, and a later one is higher. `sequence` counts the
// object's writes over all generations. {0, 0} is the version of an object that was never written.
struct Version {
  std::uint64_t generation = 0;
  std::uint64_t sequence = 0;

  static constexpr unsigned round_bits = 16;
  static constexpr std::uint64_t generation_of(std::uint64_t log_index, std::uint32_t round) {
    return log_index << round_bits | round;
  }
  constexpr std::uint64_t log_index() const { return generation >> round_bits; }
  constexpr std::uint32_t round() const { return static_cast<std::uint32_t>(generation & ((1u << round_bits) - 1)); }

  friend constexpr auto operator<=>(const Version&, const Version&) = default;
};

// A client's write, named by the gateway that took it in and by that gateway's count (which never repeats, over
// restarts too). It names the same write at every owner that is asked to carry it out. {0, 0}: nobody would ever ask
// again.
struct Origin {
  NodeId gateway = 0;
  std::uint64_t number = 0;
  friend constexpr auto operator<=>(const Origin&, const Origin&) = default;
};

// An IP address (IPv4 in the last four bytes of a v4-mapped address, ::ffff:a.b.c.d) and a TCP port.
struct Endpoint {
  std::array<std::uint8_t, 16> address{};
  std::uint16_t port = 0;

  static Endpoint v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d, std::uint16_t port);
  bool is_v4() const;
  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// "10.0.0.1:7000" or "[fe80::1]:7000".
std::string to_string(const Endpoint& endpoint);

// FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
std::uint64_t fnv1a(const void* bytes, std::size_t size, std::uint64_t basis = 0xcbf29ce484222325ull);

// The vid at which the search for a free number starts for a VDI of this name: FNV-1a of the name, cut to 24 bits,
// never 0.
Vid first_vid_for(const std::string& name);

}  // namespace sd
