// What nodes say to each other, and its bytes.
//
// A frame is a fixed header, a variable header (the message) and a payload (bulk data, sent and received without
// copying):
//
//   u32 magic "SDP1"  u8 version  u8 type  u16 zero  u32 header length  u32 payload length  u32 CRC-32C of the payload
//   u32 CRC-32C of the message header  u32 CRC-32C of the 24 bytes before          (28 bytes, little-endian)
//
// The fixed header has a checksum of its own because its lengths decide where the next frame begins: a flipped bit
// there would otherwise swallow everything that follows, in silence.
//
// A connection carries frames one way: each node dials every node it has something to say to, and its first frame is a
// Hello. Messages may be lost (with a connection) or repeated (by a sender that got no answer); every receiver copes
// with both.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/payload.hpp"
#include "core/base/recent_writes.hpp"
#include "core/base/status.hpp"
#include "core/base/time.hpp"

namespace sd::peer {

inline constexpr std::uint32_t frame_magic = 0x31504453;
inline constexpr std::uint8_t protocol_version = 5;
inline constexpr std::size_t frame_header_size = 28;

// First on every connection. A node that has not yet joined says group 0.
inline constexpr std::size_t max_earlier_incarnations = 16;
struct Hello {
  std::uint64_t group = 0;  // the Raft group, drawn when the cluster was founded
  // an operator, who had lost the majority for good, replaced this one by `group`; 0: none
  std::uint64_t replaced_group = 0;
  NodeId node = 0;
  Incarnation incarnation = 0;
  Endpoint address;  // where the sender can be reached
  // incarnations that the sender's disk has seen before, at most max_earlier_incarnations; see
  // core/peer/introduction.hpp
  std::vector<Incarnation> earlier;

  static void fields(auto& m, auto& f) {
    f(m.group, m.replaced_group, m.node, m.incarnation, m.address);
    f.list(m.earlier, max_earlier_incarnations);
  }
};

// A Raft message, already encoded by core/raft, and whom it is for: at its address there may be another node by now.
struct RaftFrame {
  NodeId to = 0;
  std::string bytes;

  static void fields(auto& m, auto& f) {
    f(m.to);
    f.rest(m.bytes);
  }
};

// "Make me a member." Any member passes it on to the leader, at most once.
struct JoinRequest {
  NodeId id = 0;
  Incarnation incarnation = 0;
  Endpoint address;
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 0;
  bool witness = false;
  bool relayed = false;
  std::vector<Incarnation> earlier;  // as in Hello

  static void fields(auto& m, auto& f) {
    f(m.id, m.incarnation, m.address, m.zone, m.vnodes, m.witness, m.relayed);
    f.list(m.earlier, max_earlier_incarnations);
  }
};

// "The last incarnation of yours that I know of is this one." To a node that did not name it among its earlier ones; at
// its address there may be another node by now, with an empty disk.
struct KnownIncarnation {
  NodeId to = 0;
  Incarnation incarnation = 0;

  static void fields(auto& m, auto& f) { f(m.to, m.incarnation); }
};

// Renews the sender's lease; `sent` is the sender's clock and comes back in the grant. Reports on the way: all disks
// that the sender owned as of log index `recovered` are redundant in the epoch of then, and it holds no object any more
// of the deleted disks `purged` (at most max_purged of them).
inline constexpr std::size_t max_purged = 64;
struct LeaseRequest {
  Incarnation incarnation = 0;
  Time sent = 0;
  std::uint64_t recovered = 0;
  std::vector<Vid> purged;

  static void fields(auto& m, auto& f) {
    f(m.incarnation, m.sent, m.recovered);
    f.list(m.purged, max_purged);
  }
};
// `committed`: of the leader's log when it answered. Who has applied so much knows all that was decided before `sent`.
struct LeaseGrant {
  Incarnation incarnation = 0;
  Time sent = 0;
  std::uint64_t committed = 0;

  static void fields(auto& m, auto& f) { f(m.incarnation, m.sent, m.committed); }
};

// A command for the leader to propose (encoded by core/cluster).
struct Propose {
  std::string command;

  static void fields(auto& m, auto& f) { f.rest(m.command); }
};

inline constexpr std::size_t max_helpers = 32;
inline constexpr std::size_t max_have = 2 * limits::blocks_per_chunk;
// Which machine of the asking node wants to know; comes back in the answer, which goes to that machine.
enum class Asker : std::uint8_t { owner, member, collector, purge, scrub, stop };
// An owner's (or a re-synchronising member's) request about one object, and its answer. `generation` fences: see
// cluster::State.
struct ObjectRequest {
  enum class Op : std::uint8_t {
    write,  // payload at offset; version, previous; fua: durable before the answer
    zero,   // [offset, offset + length) reads as zeros afterwards
    read,   // answer: payload
    // answer: version, base, exists, incomplete; afterwards writes of a generation below version.generation are refused
    query,
    flush,  // everything this member acknowledged becomes durable (oid unused)
    // become equal to `source`, which holds `version`; damaged blocks of the source are looked for at `helpers`; if
    // that fails, `incomplete` in the answer says that the object was marked as no copy; `damaged`: the member's copy
    // is known to have damaged blocks
    pull,
    // from a member that pulls `version` and holds `previous`, which is `incomplete` if a pull of it stopped half-way:
    // answer: version, base, chunks to copy
    fetch_info,
    // the chunk at `offset`, of nothing else than version `version`, or whatever there is if that is {0, 0}; answer:
    // payload holds its good blocks, `chunks` says which are allocated, `damaged` which of them are not in the payload,
    // `crcs` what those should be, `base` is the version of the chunk's last change
    fetch,
    remove,  // the object goes away (its VDI is deleted)
    // replace damaged blocks of [offset, offset + length) by what `helpers` have; answer: damaged if some stay so,
    // behind if the copy is incomplete; version, exists, and `read`
    repair,
    collect,  // the object goes away if it is still at `version`, and is not being pulled
    lost,     // from a member to the owner: its copy is not whole, and nobody is making it so; no answer
  };
  std::uint64_t id = 0;
  Asker asker = Asker::owner;
  Op op{};
  Vid vid = 0;
  std::uint64_t generation = 0;
  Oid oid;
  Version version, previous;
  std::uint32_t offset = 0, length = 0;
  NodeId source = 0;
  // fetch: two words for each block of the chunk: a fingerprint of what the sender holds; or nothing
  std::vector<std::uint64_t> have;
  bool background = false;      // pull, repair: nobody waits for it; throttled
  std::vector<NodeId> helpers;  // pull, repair: others that may hold good blocks, at most max_helpers
  Origin origin;                // write, zero: whose it is
  bool fua = false;
  bool incomplete = false;  // fetch_info
  bool damaged = false;     // pull
  Payload payload;

  static void fields(auto& m, auto& f) {
    f(m.id);
    f.choice(m.asker, Asker::stop);
    f.choice(m.op, Op::lost);
    f(m.vid, m.generation, m.oid, m.version, m.previous, m.offset, m.length, m.source, m.origin);
    f(m.fua, m.incomplete, m.damaged, m.background);
    f.list(m.helpers, max_helpers);
    f.list(m.have, max_have);
    // Ranges are within one object; whoever handles the request may rely on it.
    f.demand(m.offset <= limits::object_size && m.length <= limits::object_size - m.offset);
  }
};
// What a repair has seen, in blocks.
struct BlocksRead {
  std::uint16_t blocks = 0;    // allocated ones, each of which was read
  std::uint16_t damaged = 0;   // of those ...
  std::uint16_t repaired = 0;  // ... replaced by good ones
  std::uint16_t lost = 0;      // ... of which no member that was asked has a good one
  friend bool operator==(const BlocksRead&, const BlocksRead&) = default;
};
struct ObjectReply {
  std::uint64_t id = 0;
  Asker asker = Asker::owner;
  Vid vid = 0;
  Status status = Status::ok;
  std::uint64_t generation = 0;  // the answering member's, for a sender that is behind
  Version version, base;
  std::uint64_t chunks = 0;
  bool exists = false;
  bool incomplete = false;
  bool full = false;          // this member is short of space
  bool lossy = false;         // query: see ObjectInfo
  std::uint32_t offset = 0;   // the request's
  std::uint16_t same = 0;     // fetch: blocks left out of the payload because the puller has them
  std::uint16_t damaged = 0;  // fetch
  std::vector<std::uint32_t> crcs;
  RecentWrites recent;  // query, fetch_info
  BlocksRead read;      // repair
  Payload payload;

  static void fields(auto& m, auto& f) {
    f(m.id);
    f.choice(m.asker, Asker::stop);
    f(m.vid);
    f.choice(m.status, Status::read_only);
    f(m.generation, m.version, m.base, m.chunks, m.exists, m.incomplete, m.full, m.lossy, m.offset, m.same, m.damaged);
    f.list(m.crcs, limits::blocks_per_chunk);
    f.list(m.recent.last, max_recent);
    f.list(m.recent.forgotten, max_forgotten);
    f(m.read.blocks, m.read.damaged, m.read.repaired, m.read.lost);
  }
};

// A client's request, from the gateway it came to, for the owner of the VDI. `oldest` is the lowest number the gateway
// still waits for: the owner may forget what it knows of lower ones, and refuses them if they turn up late.
struct GatewayRequest {
  enum class Op : std::uint8_t { read, write, zero, flush, map, check };  // as IoRequest::Kind
  std::uint64_t id = 0;
  std::uint64_t oldest = 0;
  std::uint64_t origin = 0;
  Op op{};
  Vid vid = 0;
  std::uint64_t created_index = 0;  // of the disk: see IoRequest
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  bool fua = false;
  bool keep_allocated = false;
  Payload payload;

  static void fields(auto& m, auto& f) {
    f(m.id, m.oldest, m.origin);
    f.choice(m.op, Op::check);
    f(m.vid, m.created_index, m.offset, m.length, m.fua, m.keep_allocated);
    f.demand((m.op != Op::read && m.op != Op::write) || m.length <= limits::max_nbd_payload);
  }
};
struct GatewayReply {
  std::uint64_t id = 0;
  Status status = Status::ok;
  Payload payload;

  static void fields(auto& m, auto& f) {
    f(m.id);
    f.choice(m.status, Status::read_only);
  }
};

using Message = std::variant<Hello, RaftFrame, JoinRequest, LeaseRequest, LeaseGrant, Propose, ObjectRequest,
                             ObjectReply, GatewayRequest, GatewayReply, KnownIncarnation>;

// The payload that travels behind the message, if its type has one.
const Payload* payload_of(const Message& message);

// Appends the frame header and message header to `out`; the payload is to follow.
void encode(const Message& message, std::string& out);

// The fixed header of a frame, checked for magic, version, checksum and bounds.
struct FrameHeader {
  std::uint8_t type = 0;
  std::uint32_t header_size = 0, payload_size = 0, payload_crc = 0, header_crc = 0;
};
enum class FrameError : std::uint8_t { bad_magic, bad_version, too_large, bad_checksum, malformed, not_introduced };
std::string_view to_string(FrameError error);
std::optional<FrameError> decode_frame_header(std::span<const std::byte> bytes, FrameHeader& out);

// The message of a frame, checked against both CRCs; `payload` becomes the message's.
std::optional<FrameError> decode(const FrameHeader& frame, std::span<const std::byte> header, Slice payload,
                                 Message& out);

}  // namespace sd::peer
