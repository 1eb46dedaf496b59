// The server's side of one client connection: bytes in, requests out; answers in, bytes out. Knows the framing, not the
// meaning.
//
// Promises:
// - Memory for a frame grows with the bytes that came, never with the length that a client claims. None of it is taken
//   before the frame's data is admitted: `wanted` says how much that is.
// - At most max_requests are open at once; past that nothing more is read.
// - A frame whose head is malformed or unsupported is skipped and yields a request that says so; framing survives. A
//   frame that cannot be a request at all (empty, too short for a header, above 64 MB) breaks the session: `broken`
//   holds and nothing more is read.
//
// States of the receiver: head (gathering the first bytes) -> wait (for admission) -> data -> head, or head -> skip ->
// head.
#pragma once
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "core/base/out_queue.hpp"
#include "core/client/protocol.hpp"

namespace sd::client {

class Session {
 public:
  static constexpr std::size_t max_requests = 16;

  using Slot = std::uint32_t;
  struct Request {
    Slot slot = 0;
    RequestHeader header;
    SdRequest request;
    bool malformed = false;  // `request` holds nothing
  };

  explicit Session(BufferPool& pool) : pool_(pool), out_(pool) {}

  // Where the next bytes go; empty while `ready` does not hold.
  std::span<std::byte> receive_buffer();
  // `n` bytes were put there. Yields a request when they complete one; it must be answered once, by `reply` with its
  // slot.
  std::optional<Request> on_received(std::size_t n);

  void reply(Slot slot, const ResponseResult& result);
  void reply_data(Slot slot, Payload data);  // Data
  const RequestHeader& header(Slot slot) const;
  // What a request's answer will hold; counts as held until the reply. The data of a write counts by itself.
  void reserve(Slot slot, std::size_t bytes);
  std::size_t reserved(Slot slot) const;

  // Bytes of data that the frame in progress will hold, while it waits to be admitted; else 0.
  std::size_t wanted() const { return state_ == State::wait ? left_ : 0; }
  void admit();

  OutQueue& output() { return out_; }
  // More bytes are welcome: a frame is half here and admitted, or there is a slot for another.
  bool ready() const;
  bool in_frame() const { return state_ != State::head || head_have_ > 0; }
  bool broken() const { return broken_; }
  std::size_t open_requests() const { return open_count_; }
  // What this client keeps in memory: requests with their answers to be, answers not yet sent, data being received.
  std::size_t held() const { return open_bytes_ + out_.size() + frame_bytes_; }
  // It is the client's turn: it has answers to take, or the data of a request to send.
  bool awaits_client() const { return !out_.empty() || state_ == State::data; }
  std::uint64_t moved() const { return received_ + (queued_ - out_.size()); }  // bytes, in both directions

 private:
  enum class State : std::uint8_t { head, wait, data, skip };
  struct Open {
    bool used = false;
    RequestHeader header;
    std::size_t bytes = 0;
  };

  std::optional<Request> finish(bool malformed);
  std::optional<Request> examine();
  void next_slice();
  void begin_frame();
  void close_slot(Slot slot);

  BufferPool& pool_;
  OutQueue out_;
  std::array<Open, max_requests> open_{};
  std::size_t open_count_ = 0;
  std::size_t open_bytes_ = 0;
  std::uint64_t received_ = 0, queued_ = 0;  // bytes, ever

  State state_ = State::head;
  bool broken_ = false;
  bool unsupported_ = false;                     // in skip: why
  std::optional<RequestHeader> skipped_header_;  // in skip: of the frame, whose head is overwritten
  std::uint32_t skipped_variant_ = 0;
  // the length and the body's head, sized to what is wanted
  std::vector<std::byte> head_ = std::vector<std::byte>(4 + min_body);
  std::size_t head_have_ = 0;
  std::size_t body_size_ = 0;
  std::size_t left_ = 0;         // past the head: bytes of the frame still to come
  std::size_t frame_bytes_ = 0;  // in data: all that were admitted
  Payload data_;
  std::size_t slice_have_ = 0;      // of the last slice
  std::size_t proven_ = 64u << 10;  // the largest slice that this client may have at once: it has sent as much before
};

}  // namespace sd::client
