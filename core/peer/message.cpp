#include "core/peer/message.hpp"

#include <algorithm>

#include "core/base/crc32c.hpp"
#include "core/base/ids_codec.hpp"
#include "core/base/limits.hpp"

namespace sd::peer {

namespace {

void put(Writer& w, const std::vector<Incarnation>& incarnations) {
  w.u8(static_cast<std::uint8_t>(incarnations.size()));
  for (const Incarnation incarnation : incarnations) w.u64(incarnation);
}
void get(Reader& r, std::vector<Incarnation>& incarnations) {
  std::size_t n = r.u8();
  if (n > max_earlier_incarnations) r.fail();
  for (; n > 0 && !r.failed(); --n) incarnations.push_back(r.u64());
}
template <typename E>
void get_enum(Reader& r, E& value, E last) {
  const auto raw = r.u8();
  if (raw > static_cast<std::uint8_t>(last)) r.fail();
  value = static_cast<E>(raw);
}

struct Put {
  Writer& w;
  void operator()(const Hello& m) {
    w.u64(m.group);
    w.u64(m.replaced_group);
    w.u64(m.node);
    w.u64(m.incarnation);
    put(w, m.address);
    put(w, m.earlier);
  }
  void operator()(const RaftFrame& m) {
    w.u64(m.to);
    w.raw(m.bytes);
  }
  void operator()(const JoinRequest& m) {
    w.u64(m.id);
    w.u64(m.incarnation);
    put(w, m.address);
    w.u32(m.zone);
    w.u16(m.vnodes);
    w.boolean(m.witness);
    w.boolean(m.relayed);
    put(w, m.earlier);
  }
  void operator()(const LeaseRequest& m) {
    w.u64(m.incarnation);
    w.u64(m.sent);
    w.u64(m.recovered);
    w.u32(static_cast<std::uint32_t>(m.purged.size()));
    for (const Vid vid : m.purged) w.u32(vid);
  }
  void operator()(const LeaseGrant& m) {
    w.u64(m.incarnation);
    w.u64(m.sent);
  }
  void operator()(const Propose& m) { w.raw(m.command); }
  void operator()(const ObjectRequest& m) {
    w.u64(m.id);
    w.u8(static_cast<std::uint8_t>(m.op));
    w.u32(m.vid);
    w.u64(m.generation);
    w.u64(m.oid.value);
    put(w, m.version);
    put(w, m.previous);
    w.u32(m.offset);
    w.u32(m.length);
    w.u64(m.source);
    w.u64(m.origin.gateway);
    w.u64(m.origin.number);
    w.boolean(m.fua);
    w.boolean(m.incomplete);
    w.boolean(m.background);
    w.u32(static_cast<std::uint32_t>(m.helpers.size()));
    for (const NodeId helper : m.helpers) w.u64(helper);
    w.u32(static_cast<std::uint32_t>(m.have.size()));
    for (const std::uint64_t word : m.have) w.u64(word);
  }
  void operator()(const ObjectReply& m) {
    w.u64(m.id);
    w.u32(m.vid);
    w.u8(static_cast<std::uint8_t>(m.status));
    w.u64(m.generation);
    put(w, m.version);
    put(w, m.base);
    w.u64(m.chunks);
    w.boolean(m.exists);
    w.boolean(m.incomplete);
    w.boolean(m.full);
    w.boolean(m.lossy);
    w.u32(m.offset);
    w.u16(m.same);
    w.u16(m.damaged);
    w.u32(static_cast<std::uint32_t>(m.crcs.size()));
    for (const std::uint32_t crc : m.crcs) w.u32(crc);
    for (const auto* origins : {&m.recent.last, &m.recent.forgotten}) {
      w.u32(static_cast<std::uint32_t>(origins->size()));
      for (const Origin& o : *origins) {
        w.u64(o.gateway);
        w.u64(o.number);
      }
    }
    w.u16(m.read.blocks);
    w.u16(m.read.damaged);
    w.u16(m.read.repaired);
    w.u16(m.read.lost);
  }
  void operator()(const GatewayRequest& m) {
    w.u64(m.id);
    w.u64(m.oldest);
    w.u64(m.origin);
    w.u8(static_cast<std::uint8_t>(m.op));
    w.u32(m.vid);
    w.u64(m.offset);
    w.u32(m.length);
    w.boolean(m.fua);
    w.boolean(m.keep_allocated);
  }
  void operator()(const GatewayReply& m) {
    w.u64(m.id);
    w.u8(static_cast<std::uint8_t>(m.status));
  }
  void operator()(const KnownIncarnation& m) {
    w.u64(m.to);
    w.u64(m.incarnation);
  }
};

std::string rest(Reader& r) {
  const auto b = r.bytes(r.remaining());
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

struct Get {
  Reader& r;
  void operator()(Hello& m) {
    m.group = r.u64();
    m.replaced_group = r.u64();
    m.node = r.u64();
    m.incarnation = r.u64();
    get(r, m.address);
    get(r, m.earlier);
  }
  void operator()(RaftFrame& m) {
    m.to = r.u64();
    m.bytes = rest(r);
  }
  void operator()(JoinRequest& m) {
    m.id = r.u64();
    m.incarnation = r.u64();
    get(r, m.address);
    m.zone = r.u32();
    m.vnodes = r.u16();
    m.witness = r.boolean();
    m.relayed = r.boolean();
    get(r, m.earlier);
  }
  void operator()(LeaseRequest& m) {
    m.incarnation = r.u64();
    m.sent = r.u64();
    m.recovered = r.u64();
    for (auto n = r.count(max_purged); n > 0 && !r.failed(); --n) m.purged.push_back(r.u32());
  }
  void operator()(LeaseGrant& m) {
    m.incarnation = r.u64();
    m.sent = r.u64();
  }
  void operator()(Propose& m) { m.command = rest(r); }
  void operator()(ObjectRequest& m) {
    m.id = r.u64();
    get_enum(r, m.op, ObjectRequest::Op::lost);
    m.vid = r.u32();
    m.generation = r.u64();
    m.oid.value = r.u64();
    get(r, m.version);
    get(r, m.previous);
    m.offset = r.u32();
    m.length = r.u32();
    m.source = r.u64();
    m.origin.gateway = r.u64();
    m.origin.number = r.u64();
    m.fua = r.boolean();
    m.incomplete = r.boolean();
    m.background = r.boolean();
    for (auto n = r.count(max_helpers); n > 0 && !r.failed(); --n) m.helpers.push_back(r.u64());
    for (auto n = r.count(max_have); n > 0 && !r.failed(); --n) m.have.push_back(r.u64());
    // Ranges are within one object; whoever handles the request may rely on it.
    if (m.offset > limits::object_size || m.length > limits::object_size - m.offset) r.fail();
  }
  void operator()(ObjectReply& m) {
    m.id = r.u64();
    m.vid = r.u32();
    get_enum(r, m.status, Status::read_only);
    m.generation = r.u64();
    get(r, m.version);
    get(r, m.base);
    m.chunks = r.u64();
    m.exists = r.boolean();
    m.incomplete = r.boolean();
    m.full = r.boolean();
    m.lossy = r.boolean();
    m.offset = r.u32();
    m.same = r.u16();
    m.damaged = r.u16();
    for (auto n = r.count(limits::blocks_per_chunk); n > 0 && !r.failed(); --n) m.crcs.push_back(r.u32());
    const auto get_origins = [this](std::vector<Origin>& origins, std::size_t most) {
      for (auto n = r.count(most); n > 0 && !r.failed(); --n) {
        const auto gateway = r.u64();
        origins.push_back({gateway, r.u64()});
      }
    };
    get_origins(m.recent.last, max_recent);
    get_origins(m.recent.forgotten, max_forgotten);
    m.read.blocks = r.u16();
    m.read.damaged = r.u16();
    m.read.repaired = r.u16();
    m.read.lost = r.u16();
  }
  void operator()(GatewayRequest& m) {
    m.id = r.u64();
    m.oldest = r.u64();
    m.origin = r.u64();
    get_enum(r, m.op, GatewayRequest::Op::check);
    m.vid = r.u32();
    m.offset = r.u64();
    m.length = r.u32();
    m.fua = r.boolean();
    m.keep_allocated = r.boolean();
    if ((m.op == GatewayRequest::Op::read || m.op == GatewayRequest::Op::write) && m.length > limits::max_nbd_payload)
      r.fail();
  }
  void operator()(GatewayReply& m) {
    m.id = r.u64();
    get_enum(r, m.status, Status::read_only);
  }
  void operator()(KnownIncarnation& m) {
    m.to = r.u64();
    m.incarnation = r.u64();
  }
};

template <std::size_t I = 0>
bool emplace_type(Message& message, std::uint8_t type) {
  if constexpr (I < std::variant_size_v<Message>) {
    if (type == I) {
      message.emplace<I>();
      return true;
    }
    return emplace_type<I + 1>(message, type);
  } else {
    return false;
  }
}

Payload* mutable_payload(Message& message) { return const_cast<Payload*>(payload_of(message)); }

}  // namespace

const Payload* payload_of(const Message& message) {
  return std::visit(
      []<typename M>(const M& m) -> const Payload* {
        if constexpr (requires { m.payload; })
          return &m.payload;
        else
          return nullptr;
      },
      message);
}

void encode(const Message& message, std::string& out) {
  const std::size_t start = out.size();
  const Payload* payload = payload_of(message);
  std::uint32_t payload_crc = 0;
  std::size_t payload_size = 0;
  if (payload) {
    for (const Slice& slice : *payload) payload_crc = crc32c(slice.bytes(), payload_crc);
    payload_size = total_size(*payload);
  }
  Writer w(out);
  w.u32(frame_magic);
  w.u8(protocol_version);
  w.u8(static_cast<std::uint8_t>(message.index()));
  w.u16(0);
  w.u32(0);  // header length, below
  w.u32(static_cast<std::uint32_t>(payload_size));
  w.u32(payload_crc);
  w.u32(0);  // CRCs, below
  w.u32(0);
  std::visit(Put{w}, message);
  const std::uint32_t header_size = static_cast<std::uint32_t>(out.size() - start - frame_header_size);
  std::memcpy(out.data() + start + 8, &header_size, 4);
  const std::uint32_t header_crc = crc32c(out.data() + start + frame_header_size, header_size);
  std::memcpy(out.data() + start + 20, &header_crc, 4);
  const std::uint32_t fixed_crc = crc32c(out.data() + start, frame_header_size - 4);
  std::memcpy(out.data() + start + frame_header_size - 4, &fixed_crc, 4);
}

std::string_view to_string(FrameError error) {
  switch (error) {
    case FrameError::bad_magic: return "not a frame of this protocol";
    case FrameError::bad_version: return "unknown protocol version";
    case FrameError::too_large: return "frame larger than allowed";
    case FrameError::bad_checksum: return "checksum mismatch";
    case FrameError::malformed: return "malformed message";
    case FrameError::not_introduced: return "the sender did not introduce itself";
  }
  return "unknown frame error";
}

std::optional<FrameError> decode_frame_header(std::span<const std::byte> bytes, FrameHeader& out) {
  Reader r(bytes);
  if (r.u32() != frame_magic) return FrameError::bad_magic;
  if (r.u8() != protocol_version) return FrameError::bad_version;
  out.type = r.u8();
  r.u16();
  out.header_size = r.u32();
  out.payload_size = r.u32();
  out.payload_crc = r.u32();
  out.header_crc = r.u32();
  const std::uint32_t fixed_crc = r.u32();
  if (r.failed()) return FrameError::malformed;
  if (fixed_crc != crc32c(bytes.first(frame_header_size - 4))) return FrameError::bad_checksum;
  if (out.header_size > limits::max_peer_header || out.payload_size > limits::max_nbd_payload)
    return FrameError::too_large;
  return {};
}

std::optional<FrameError> decode(const FrameHeader& frame, std::span<const std::byte> header, Slice payload,
                                 Message& out) {
  if (crc32c(header) != frame.header_crc) return FrameError::bad_checksum;
  if (!payload.empty() && crc32c(payload.bytes()) != frame.payload_crc) return FrameError::bad_checksum;
  if (!emplace_type(out, frame.type)) return FrameError::malformed;
  Reader r(header);
  std::visit(Get{r}, out);
  if (!r.complete()) return FrameError::malformed;
  if (payload.empty()) return {};
  Payload* slot = mutable_payload(out);
  if (!slot) return FrameError::malformed;
  slot->push_back(std::move(payload));
  return {};
}

}  // namespace sd::peer
