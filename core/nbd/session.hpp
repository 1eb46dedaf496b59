// The server's side of one NBD connection (fixed newstyle), from the first byte to the last, without a socket.
//
// What it promises
//  - Whatever bytes arrive, split however, it never loses step with the stream: each request gets exactly one reply, a
//    refused WRITE has its payload read and dropped, and a client that breaks the protocol in a way that leaves the
//    position unknown is closed.
//  - Requests reach the driver checked: inside the export, aligned as negotiated, not changing a read-only export.
//  - Memory is bounded: by max_in_flight_bytes (payload received, reads being served, replies not yet sent) plus one
//    staging buffer plus one request. Beyond the bound it stops receiving, and resumes when a reply or a send makes
//    room.
//
// States: client_flags -> option <-> waiting for the driver's answer -> request <-> payload | drain -> disconnecting ->
// closed. Transmission starts after GO or EXPORT_NAME was accepted, and is never left.
//
// How to drive it (each call may add effects; the caller clears them before and carries them out after):
//   loop: receive into receive_buffer(), tell on_received; send from output(), tell on_sent; answer each effect, in any
//   order. A read may stay outstanding while replies are given: the span stays valid until on_received or the end of
//   the session. An empty receive_buffer() means: do not read now; ask again after any later call.
// The driver adds what needs a clock: a limit on the time a handshake may take.
#pragma once
#include <cstdint>
#include <expected>
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

struct ExportInfo {
  std::string name;  // canonical; told to clients that ask
  std::uint64_t size = 0;
  bool read_only = false;
  std::string description;
  std::uint64_t export_id = 0;  // the driver's own; comes back in every request
};

struct Request {
  std::uint64_t id = 0;  // answer with reply, reply_parts or reply_extents, exactly once
  Command command = Command::read;
  std::uint64_t export_id = 0;
  std::uint64_t offset = 0;
  // at most max_nbd_payload for reads and writes, up to 2^32 - 1 for the others; 0 for a flush only
  std::uint32_t length = 0;
  bool fua = false;        // durable before the reply; only with write, trim and write_zeroes
  bool no_hole = false;    // write_zeroes: keep the space allocated
  bool fast_zero = false;  // write_zeroes: only a hint here, since zeroing is always fast
  Slice data;              // write: `length` bytes, starting on a 4 KB boundary in memory when that long
};

// A stretch of a read: bytes, or that many zeros when `data` is empty.
struct ReadPart {
  Slice data;
  std::uint32_t zeros = 0;
};

struct Effects {
  std::vector<Request> requests;           // in the order received; may be carried out in any order
  bool list_exports = false;               // answer with on_export_list
  std::optional<std::string> open_export;  // answer with on_export; the empty name means the default export
  // with open_export: on success requests follow (else only a description is wanted)
  bool will_serve = false;
  std::optional<std::uint64_t> opened;  // transmission has begun on this export_id, and lasts until the session ends
  bool close = false;                   // send what output() still holds, then close the stream
  std::string close_reason;             // for the log
  bool misbehaved = false;              // with close: the client broke the protocol

  void clear() {
    requests.clear();
    list_exports = false;
    open_export.reset();
    will_serve = false;
    opened.reset();
    close = false;
    close_reason.clear();
    misbehaved = false;
  }
};

struct SessionOptions {
  std::uint32_t max_in_flight_requests = 256;
  std::size_t max_in_flight_bytes = 64u << 20;
  std::uint32_t minimum_block = 512;     // told to, and demanded of, clients that ask for block sizes; others may use 1
  std::uint32_t preferred_block = 4096;  // a power of two, not below minimum_block and 512
};

class Session {
 public:
  // Queues the greeting.
  Session(const SessionOptions& options, BufferPool& pool);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Where the next bytes of the stream go. Empty: do not read now.
  std::span<std::byte> receive_buffer();
  // The first n bytes of the span last returned by receive_buffer() were filled.
  void on_received(std::size_t n, Effects& effects);

  // What to send next, and that the first n bytes of it were sent.
  // A driver that consumes from the queue itself says so with on_sent(0).
  OutQueue& output() { return output_; }
  const OutQueue& output() const { return output_; }
  void on_sent(std::size_t n, Effects& effects);

  // Answers to list_exports and open_export. not_found tells the client that there is no such export, shutting_down to
  // go away; other failures count as refusals by policy, with the status as text.
  void on_export_list(std::span<const std::string> names, Effects& effects);
  void on_export(const std::expected<ExportInfo, Status>& info, Effects& effects);

  // Answers a request; resumes a paused session, so new requests may come out. The id must be in flight. `data` of a
  // successful read holds exactly `length` bytes in all, or nothing, which means zeros; it is ignored for other
  // commands and for failures.
  void reply(std::uint64_t id, Status status, std::span<const Slice> data, Effects& effects);
  void reply(std::uint64_t id, Status status, Effects& effects) {
    reply(id, status, std::span<const Slice>{}, effects);
  }
  // Answers a read whose parts are told apart as data and holes; together they are exactly `length` bytes long.
  void reply_parts(std::uint64_t id, std::span<const ReadPart> parts, Effects& effects);
  // Answers a block_status successfully: consecutive extents from the request's offset on. May cover less than was
  // asked for, but not nothing (no extents count as one of allocated data); what goes beyond is cut off, equal
  // neighbours are merged.
  void reply_extents(std::uint64_t id, std::span<const Extent> extents, Effects& effects);

  // New requests are checked against the new size. Clients learn it when they connect again; the standard has no
  // message for it.
  void on_resized(std::uint64_t size) { export_.size = size; }
  // Requests in flight are finished, and the connection is closed; what the client sends from now on is not looked at.
  // Clients that reconnect (QEMU's reconnect-delay, nbd-client -persist) then ask elsewhere, or here again. The
  // standard allows ESHUTDOWN as an answer to new requests; clients pass that on to whoever asked, as an I/O error.
  void shutdown(Effects& effects);

  // Requests the driver has not yet answered.
  std::size_t in_flight() const { return slots_.size(); }
  bool in_transmission() const { return state_ >= State::request && state_ <= State::disconnecting; }
  bool closed() const { return state_ == State::closed; }
  // Valid in transmission.
  const ExportInfo& export_info() const { return export_; }

 private:
  enum class State : std::uint8_t {
    client_flags,   // the answer to the greeting is awaited
    option,         // an option is awaited
    await_list,     // the driver looks the exports up
    await_export,   // the driver looks one export up for `pending_option_`
    request,        // a request header is awaited
    payload,        // the rest of a WRITE's payload is awaited
    drain,          // the rest of a refused WRITE's payload is awaited, to be dropped
    disconnecting,  // the client said DISC, or the server stops; requests in flight are finished
    closed,
  };

  // What a reply needs to know of its request.
  struct Slot {
    Command command = Command::read;
    bool one_chunk = false;    // DF: one content chunk; REQ_ONE: one extent
    std::uint64_t cookie = 0;  // the client's handle
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::size_t cost = 0;  // its share of in_flight_bytes_
  };

  // session.cpp: receiving and serving.
  void parse(Effects& effects);
  bool step(Effects& effects);
  bool on_request_header(Effects& effects);
  Error check(std::uint16_t flags, std::uint16_t type, std::uint64_t offset, std::uint32_t length) const;
  bool has_room_for(std::size_t cost) const;
  void dispatch(Request request, Slot slot, Effects& effects);
  void resume(Effects& effects);
  void close(std::string_view reason, Effects& effects);
  void close_misbehaved(std::string_view reason, Effects& effects);
  std::optional<Slot> finish(std::uint64_t id);
  void after_reply(Effects& effects);

  // reply.cpp: bytes of replies.
  void send_status(std::uint64_t cookie, Error error, std::string_view message);
  void send_success(const Slot& slot);
  void send_chunk_header(std::uint64_t cookie, Chunk type, std::uint16_t flags, std::uint32_t length);
  void send_read(const Slot& slot, std::span<const Slice> data);
  void send_read(const Slot& slot, std::span<const ReadPart> parts);
  void send_data_header(const Slot& slot, std::uint64_t offset, std::uint32_t length, bool last);
  void send_hole(const Slot& slot, std::uint64_t offset, std::uint32_t length, bool last);
  void send_extents(const Slot& slot, std::span<const Extent> extents);
  void send_zeros(std::uint64_t size);
  void flush_scratch();

  // handshake.cpp: options.
  bool on_client_flags(Effects& effects);
  bool on_option(Effects& effects);
  void on_go(std::span<const std::byte> data, Effects& effects);
  void on_meta_context(std::span<const std::byte> data, Effects& effects);
  void ask_for_export(std::string name, bool will_serve, Effects& effects);
  void answer_info(const ExportInfo& info);
  void answer_meta_context();
  void begin_transmission(const ExportInfo& info, Effects& effects);
  std::uint16_t transmission_flags(const ExportInfo& info) const;
  std::uint32_t minimum_block_for(const ExportInfo& info) const;
  void send_option_reply(OptionReply type, std::string_view data);
  void refuse_option(OptionReply type, std::string_view message);

  SessionOptions options_;
  BufferPool& pool_;
  OutQueue output_;
  Staging staging_;
  State state_ = State::client_flags;
  bool paused_ = false;             // a whole request is staged, but there is no room for it
  bool receiving_payload_ = false;  // the span last handed out lies in payload_
  std::string scratch_;             // replies' headers are built here

  // Handshake.
  bool no_zeroes_ = false;
  bool structured_ = false;
  std::uint32_t options_seen_ = 0;
  Option pending_option_{};  // what an answer of the driver is for, and what option replies name
  std::string pending_name_;
  std::uint32_t wanted_infos_ = 0;             // bit per Info
  bool query_matches_ = false;                 // of the pending meta context option
  std::optional<std::string> context_export_;  // base:allocation is selected for the export of this name

  // Transmission.
  ExportInfo export_;
  std::uint32_t minimum_block_ = 1;
  bool block_size_told_ = false;
  bool allocation_selected_ = false;
  SlotTable<Slot> slots_;
  std::size_t in_flight_bytes_ = 0;
  Request pending_write_;  // in state payload
  Slot pending_slot_;
  std::size_t payload_filled_ = 0;
  std::size_t drain_left_ = 0;  // in state drain
  std::uint64_t drain_cookie_ = 0;
  Error drain_error_{};
  Slice zeros_;  // made when first needed
};

}  // namespace sd::nbd
