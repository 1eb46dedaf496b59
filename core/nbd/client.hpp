// The client's side of one NBD connection, without a socket: what guests in the simulator and tests speak with.
//
// What it promises
//  - It negotiates structured replies and base:allocation when asked to and offered, then GO with block sizes, and
//    reports `ready`, or `failed` with a reason.
//  - Each request completes exactly once: by the server's reply, or with Status::unavailable when the connection
//    failed.
//  - It does not trust the server: every length and count is bounded; content chunks must lie inside the request, may
//    not overlap and must cover it; a reply to nothing, an unknown chunk or a wrong magic number fails the connection.
//
// States: greeting -> structured_reply -> set_meta_context -> go -> header <-> body of a reply -> failed.
// Driven as a Session is: receive_buffer(), on_received, output(), on_sent.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/out_queue.hpp"
#include "core/base/slice.hpp"
#include "core/base/slot_table.hpp"
#include "core/base/status.hpp"
#include "core/nbd/protocol.hpp"
#include "core/nbd/staging.hpp"

namespace sd::nbd {

struct ClientOptions {
  std::string export_name;
  bool structured_replies = true;
  bool block_status = true;  // needs structured_replies
  bool block_size = true;    // ask for block sizes, and so promise to keep to them
  std::uint32_t max_in_flight_requests = 256;
};

struct ServedExport {
  std::uint64_t size = 0;
  std::uint16_t flags = 0;  // transmission_flag
  std::uint32_t minimum_block = 1;
  std::uint32_t preferred_block = 4096;
  std::uint32_t maximum_payload = limits::max_nbd_payload;
  bool structured_replies = false;
  bool block_status = false;
};

struct Completion {
  std::uint64_t handle = 0;
  Command command = Command::read;
  Status status = Status::ok;
  Error error = Error::ok;       // as it came; meaningless when the connection failed
  Slice data;                    // of a successful read: exactly what was asked for
  std::uint64_t hole_bytes = 0;  // how many of them the server said are holes
  std::vector<Extent> extents;   // of a successful block status
};

struct ClientEffects {
  std::optional<ServedExport> ready;  // requests may be made from now on
  std::optional<std::string> failed;  // nothing more will come: close the stream
  std::vector<Completion> completions;

  void clear() {
    ready.reset();
    failed.reset();
    completions.clear();
  }
};

class Client {
 public:
  Client(const ClientOptions& options, BufferPool& pool);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Where the next bytes of the stream go. Empty only after failure.
  std::span<std::byte> receive_buffer();
  void on_received(std::size_t n, ClientEffects& effects);
  const OutQueue& output() const { return output_; }
  void on_sent(std::size_t n) { output_.consume(n); }
  // The stream ended. Completes everything in flight with Status::unavailable.
  void on_stream_end(ClientEffects& effects) { fail("the stream ended", effects); }

  // Requests return a handle, never 0. Only when ready() and while can_submit(). `flags` are command_flag bits; the
  // server judges them, as it does the range: nothing is checked here, so that tests can ask for what is wrong.
  std::uint64_t read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0);
  std::uint64_t write(std::uint64_t offset, Slice data, std::uint16_t flags = 0);
  std::uint64_t flush();
  // For the commands without payload; also any number that is no command.
  std::uint64_t submit(Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0);
  // The polite end: no reply comes, the server closes the stream after finishing what is in flight.
  void disconnect();

  bool ready() const { return state_ >= State::reply_header && state_ != State::failed; }
  bool can_submit() const { return ready() && slots_.size() < options_.max_in_flight_requests; }
  std::size_t in_flight() const { return slots_.size(); }
  const ServedExport& served() const { return served_; }

 private:
  enum class State : std::uint8_t {
    greeting,
    structured_reply,  // the answer to that option is awaited, likewise the next two
    set_meta_context,
    go,
    reply_header,  // a reply's header is awaited
    chunk,         // the whole of a small chunk is awaited
    read_data,     // the rest of a read's data is awaited
    extents,       // the rest of a block status chunk is awaited
    failed,
  };
  struct Range {
    std::uint64_t begin, end;
  };
  struct Slot {
    Command command = Command::read;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    Error error = Error::ok;
    Slice data;                  // of a read, made when its first content arrives
    std::vector<Range> covered;  // by content chunks
    std::uint64_t hole_bytes = 0;
    std::vector<Extent> extents;
    bool extents_seen = false;
  };

  void parse(ClientEffects& effects);
  bool step(ClientEffects& effects);
  bool on_greeting(ClientEffects& effects);
  bool on_option_reply(ClientEffects& effects);
  void on_info(std::span<const std::byte> data);
  void after_structured_reply();
  void send_go();
  void send_option(Option option, std::string_view data);
  bool on_reply_header(ClientEffects& effects);
  bool on_chunk(ClientEffects& effects);
  bool on_read_data(ClientEffects& effects);
  bool on_extents(ClientEffects& effects);
  bool start_content(Slot& slot, std::uint64_t offset, std::uint64_t length);
  bool end_chunk(ClientEffects& effects);
  bool complete(ClientEffects& effects);
  bool fail(std::string_view reason, ClientEffects& effects);  // false, for `return fail(...)`

  ClientOptions options_;
  OutQueue output_;
  BufferPool& pool_;
  Staging staging_;
  State state_ = State::greeting;
  bool receiving_data_ = false;  // the span last handed out lies in a read's data
  ServedExport served_;
  std::uint32_t option_replies_ = 0;
  std::uint32_t context_id_ = 0;
  SlotTable<Slot> slots_;
  std::string scratch_;

  // The reply that is being received.
  std::uint64_t handle_ = 0;
  Chunk chunk_type_{};
  bool chunk_last_ = false;
  std::uint32_t chunk_left_ = 0;  // bytes of its payload not yet taken
  std::size_t data_at_ = 0;       // where in the read's data they go
};

}  // namespace sd::nbd
