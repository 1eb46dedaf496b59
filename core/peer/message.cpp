#include "core/peer/message.hpp"

#include <algorithm>

#include "core/base/crc32c.hpp"
#include "core/base/fields.hpp"
#include "core/base/limits.hpp"

namespace sd::peer {

namespace {

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
  std::visit([&](const auto& m) { write_fields(w, m); }, message);
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
  if (!emplace_alternative(out, frame.type)) return FrameError::malformed;
  Reader r(header);
  std::visit([&](auto& m) { read_fields(r, m); }, out);
  if (!r.complete()) return FrameError::malformed;
  if (payload.empty()) return {};
  Payload* slot = mutable_payload(out);
  if (!slot) return FrameError::malformed;
  slot->push_back(std::move(payload));
  return {};
}

}  // namespace sd::peer
