// The receiving end of a peer connection: bytes in, messages out.
//
// Small frames are gathered in a staging buffer and their payload is copied once (4 KB cost less than a system call);
// the rest of a larger payload is received straight into its own buffer, which starts on a 4 KB boundary and can go to
// a disk as it is.
//
// The first frame must be a Hello: a stranger costs one staging buffer, whatever lengths it claims.
#pragma once
#include <optional>
#include <span>

#include "core/peer/message.hpp"

namespace sd::peer {

class Receiver {
 public:
  explicit Receiver(BufferPool& pool) : pool_(pool) {}

  // Where the next bytes of the stream go; never empty.
  std::span<std::byte> buffer();
  // n bytes were put there. Then call `next` until it yields nothing.
  void received(std::size_t n);
  // The next whole message. nullopt: none yet, or `error()` says why there never will be.
  std::optional<Message> next();
  const std::optional<FrameError>& error() const { return error_; }

 private:
  static constexpr std::size_t staging_size = 64u << 10;
  BufferPool& pool_;
  Slice staging_;  // [begin_, end_) holds received bytes that were not consumed
  std::size_t begin_ = 0, end_ = 0;
  bool in_payload_ = false;  // the frame's headers are parsed; payload_ is being filled
  FrameHeader frame_;
  std::string header_;
  Slice payload_;
  std::size_t payload_filled_ = 0;
  std::optional<FrameError> error_;
  bool introduced_ = false;  // a Hello came

  std::size_t staged() const { return end_ - begin_; }
  void make_room(std::size_t wanted);
  std::optional<FrameError> decode_staged_header(FrameHeader& out) const;
  std::optional<Message> finish();
};

}  // namespace sd::peer
