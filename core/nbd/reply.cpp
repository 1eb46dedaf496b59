// The bytes of replies: simple ones, or chunks when structured replies were negotiated.
#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/nbd/session.hpp"

namespace sd::nbd {

namespace {
constexpr std::size_t zeros_size = 256u << 10;
}

void Session::flush_scratch() {
  output_.append_copy(scratch_);
  scratch_.clear();
}

// Leaves the header in scratch_, for the caller to go on with.
void Session::send_chunk_header(std::uint64_t cookie, Chunk type, std::uint16_t flags, std::uint32_t length) {
  BigEndianWriter out(scratch_);
  out.u32(structured_reply_magic);
  out.u16(flags);
  out.u16(static_cast<std::uint16_t>(type));
  out.u64(cookie);
  out.u32(length);
}

void Session::send_status(std::uint64_t cookie, Error error, std::string_view message) {
  BigEndianWriter out(scratch_);
  if (!structured_) {
    out.u32(simple_reply_magic);
    out.u32(static_cast<std::uint32_t>(error));
    out.u64(cookie);
  } else if (error == Error::ok) {
    send_chunk_header(cookie, Chunk::none, chunk_done, 0);
  } else {
    send_chunk_header(cookie, Chunk::error, chunk_done, static_cast<std::uint32_t>(6 + message.size()));
    out.u32(static_cast<std::uint32_t>(error));
    out.u16(static_cast<std::uint16_t>(message.size()));
    out.raw(message);
  }
  flush_scratch();
}

void Session::send_success(const Slot& slot) { send_status(slot.cookie, Error::ok, {}); }

void Session::send_zeros(std::uint64_t size) {
  if (zeros_.empty()) zeros_ = pool_.zeros(zeros_size);
  while (size > 0) {
    const std::size_t n = std::min<std::uint64_t>(size, zeros_size);
    output_.append(zeros_.part(0, n));
    size -= n;
  }
}

void Session::send_data_header(const Slot& slot, std::uint64_t offset, std::uint32_t length, bool last) {
  BigEndianWriter out(scratch_);
  if (structured_) {
    send_chunk_header(slot.cookie, Chunk::offset_data, last ? chunk_done : 0, 8 + length);
    out.u64(offset);
  } else {
    out.u32(simple_reply_magic);
    out.u32(0);
    out.u64(slot.cookie);
  }
  flush_scratch();
}

void Session::send_hole(const Slot& slot, std::uint64_t offset, std::uint32_t length, bool last) {
  send_chunk_header(slot.cookie, Chunk::offset_hole, last ? chunk_done : 0, 12);
  BigEndianWriter out(scratch_);
  out.u64(offset);
  out.u32(length);
  flush_scratch();
}

void Session::send_read(const Slot& slot, std::span<const Slice> data) {
  if (data.empty()) {
    const ReadPart hole{.data = {}, .zeros = slot.length};
    return send_read(slot, std::span(&hole, 1));
  }
  std::uint64_t total = 0;
  for (const auto& slice : data) total += slice.size();
  SD_ASSERT(total == slot.length, "the answer to a read is as long as was asked for");
  send_data_header(slot, slot.offset, slot.length, true);
  for (const auto& slice : data) output_.append(slice);
}

void Session::send_read(const Slot& slot, std::span<const ReadPart> parts) {
  std::uint64_t total = 0, zeros = 0;
  for (const auto& part : parts) {
    SD_ASSERT(part.data.empty() || part.zeros == 0, "a part of a read is either data or a hole");
    total += part.data.size() + part.zeros;
    zeros += part.zeros;
  }
  SD_ASSERT(total == slot.length, "the answer to a read is as long as was asked for");
  if (!structured_ || (slot.one_chunk && zeros > 0 && zeros < total)) {
    send_data_header(slot, slot.offset, slot.length, true);
    for (const auto& part : parts) part.data.empty() ? send_zeros(part.zeros) : output_.append(part.data);
    return;
  }
  // One chunk for each run of parts of one kind.
  std::uint64_t at = slot.offset;
  for (std::size_t i = 0; i < parts.size();) {
    const bool hole = parts[i].zeros > 0;
    std::size_t end = i;
    std::uint32_t length = 0;
    for (; end < parts.size() && (parts[end].zeros > 0) == hole; ++end)
      length += hole ? parts[end].zeros : static_cast<std::uint32_t>(parts[end].data.size());
    if (length > 0) {
      const bool last = at + length == slot.offset + slot.length;
      if (hole) {
        send_hole(slot, at, length, last);
      } else {
        send_data_header(slot, at, length, last);
        for (; i < end; ++i) output_.append(parts[i].data);
      }
    }
    at += length;
    i = end;
  }
}

void Session::send_extents(const Slot& slot, std::span<const Extent> extents) {
  const Extent allocated{.length = slot.length, .flags = 0};
  if (extents.empty()) extents = std::span(&allocated, 1);

  // Descriptors are written in place into a pooled buffer, large enough for all of them unmerged.
  const std::size_t most = slot.one_chunk ? 1 : max_extents_per_reply;
  Slice body = pool_.allocate(std::min(most, extents.size()) * 8);
  std::size_t count = 0;
  std::uint32_t left = slot.length;
  Extent current;
  const auto put = [&] {
    const std::uint32_t words[2] = {swap_unless(current.length, std::endian::big),
                                    swap_unless(current.flags, std::endian::big)};
    std::memcpy(body.mutable_data() + count++ * 8, words, 8);
  };
  for (const auto& extent : extents) {
    if (extent.length == 0 || left == 0) continue;
    const std::uint32_t length = std::min(extent.length, left);
    if (current.length > 0 && current.flags == extent.flags) {
      current.length += length;
    } else {
      if (current.length > 0) {
        if (count + 1 == most) break;
        put();
      }
      current = {.length = length, .flags = extent.flags};
    }
    left -= length;
  }
  SD_ASSERT(current.length > 0, "the answer to a block status request covers something");
  put();
  body.shrink(count * 8);

  send_chunk_header(slot.cookie, Chunk::block_status, chunk_done, static_cast<std::uint32_t>(4 + body.size()));
  BigEndianWriter(scratch_).u32(allocation_context_id);
  flush_scratch();
  output_.append(std::move(body));
}

}  // namespace sd::nbd
