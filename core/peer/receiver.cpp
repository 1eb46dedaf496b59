#include "core/peer/receiver.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace sd::peer {

namespace {
constexpr std::uint8_t hello_type = 0;  // its index in Message
static_assert(std::is_same_v<std::variant_alternative_t<hello_type, Message>, Hello>);
constexpr std::size_t max_hello_size = 256;
}  // namespace

// Moves what is staged to the front of a buffer that holds at least `wanted` bytes. Old buffers may still be referenced
// by nobody but us: payload is always copied out of staging.
void Receiver::make_room(std::size_t wanted) {
  const std::size_t size = std::max(wanted, staging_size);
  if (staging_.size() < size) {
    Slice larger = pool_.allocate(size);
    if (staged() > 0) std::memcpy(larger.mutable_data(), staging_.data() + begin_, staged());
    staging_ = std::move(larger);
  } else if (begin_ > 0 && staged() > 0) {
    std::memmove(staging_.mutable_data(), staging_.data() + begin_, staged());
  }
  end_ = staged();
  begin_ = 0;
}

// The header of the frame that begins what is staged.
std::optional<FrameError> Receiver::decode_staged_header(FrameHeader& out) const {
  if (auto bad = decode_frame_header({staging_.data() + begin_, frame_header_size}, out)) return bad;
  if (!introduced_ && (out.type != hello_type || out.payload_size != 0 || out.header_size > max_hello_size))
    return FrameError::not_introduced;
  return {};
}

std::span<std::byte> Receiver::buffer() {
  if (in_payload_ && payload_filled_ < payload_.size())
    return {payload_.mutable_data() + payload_filled_, payload_.size() - payload_filled_};
  if (staging_.empty() || begin_ == end_ || end_ == staging_.size()) {
    std::size_t wanted = staging_size;
    FrameHeader peek;
    if (staged() >= frame_header_size && !decode_staged_header(peek)) wanted = frame_header_size + peek.header_size;
    make_room(std::max(wanted, staged() + 1));
  }
  return {staging_.mutable_data() + end_, staging_.size() - end_};
}

void Receiver::received(std::size_t n) {
  if (in_payload_ && payload_filled_ < payload_.size())
    payload_filled_ += n;
  else
    end_ += n;
  SD_ASSERT(end_ <= staging_.size() && payload_filled_ <= payload_.size(),
            "no more bytes than the buffer holds are received");
}

std::optional<Message> Receiver::next() {
  if (error_) return {};
  if (!in_payload_) {
    if (staged() < frame_header_size) return {};
    if (auto bad = decode_staged_header(frame_)) {
      error_ = bad;
      return {};
    }
    if (staged() < frame_header_size + frame_.header_size) return {};
    header_.assign(reinterpret_cast<const char*>(staging_.data() + begin_ + frame_header_size), frame_.header_size);
    begin_ += frame_header_size + frame_.header_size;
    in_payload_ = true;
    payload_ = pool_.allocate(frame_.payload_size);
    payload_filled_ = std::min<std::size_t>(staged(), frame_.payload_size);
    if (payload_filled_ > 0) {
      std::memcpy(payload_.mutable_data(), staging_.data() + begin_, payload_filled_);
      begin_ += payload_filled_;
    }
  }
  if (payload_filled_ < payload_.size()) return {};
  return finish();
}

std::optional<Message> Receiver::finish() {
  Message message;
  const auto header = std::as_bytes(std::span(header_.data(), header_.size()));
  in_payload_ = false;
  payload_filled_ = 0;
  if (auto bad = decode(frame_, header, std::exchange(payload_, {}), message)) {
    error_ = bad;
    return {};
  }
  introduced_ = true;
  return message;
}

}  // namespace sd::peer
