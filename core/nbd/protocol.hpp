// Numbers of the NBD protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). Everything on the
// wire is big-endian. Names follow the standard, without the NBD_ prefix.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/base/limits.hpp"
#include "core/base/status.hpp"

namespace sd::nbd {

inline constexpr std::uint64_t init_magic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr std::uint64_t option_magic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9;
inline constexpr std::uint32_t request_magic = 0x25609513;
inline constexpr std::uint32_t simple_reply_magic = 0x67446698;
inline constexpr std::uint32_t structured_reply_magic = 0x668e33ef;

inline constexpr std::size_t greeting_size = 18;
inline constexpr std::size_t option_header_size = 16;
inline constexpr std::size_t option_reply_header_size = 20;
inline constexpr std::size_t request_header_size = 28;
inline constexpr std::size_t simple_reply_size = 16;
inline constexpr std::size_t chunk_header_size = 20;

// Bounds of our own, all at least what the standard asks for.
inline constexpr std::size_t max_string = 4096;            // the standard's bound for names and messages
inline constexpr std::size_t max_option_data = 32u << 10;  // a name, and far more queries than there are contexts
// per connection; a client may ask for each export of a long list
inline constexpr std::uint32_t max_options = 4096;
inline constexpr std::size_t max_extents_per_reply = 4096;  // a client asks again for what a reply did not cover
inline constexpr std::size_t staging_size = 64u << 10;
// shorter rests are cheaper to copy than to receive on their own
inline constexpr std::size_t direct_receive_from = 16u << 10;
static_assert(option_header_size + max_option_data <= staging_size, "an option is parsed in one piece");

namespace handshake_flag {
inline constexpr std::uint16_t fixed_newstyle = 1 << 0, no_zeroes = 1 << 1;  // the same bits in the client's answer
}

namespace transmission_flag {
inline constexpr std::uint16_t has_flags = 1 << 0, read_only = 1 << 1, send_flush = 1 << 2, send_fua = 1 << 3,
                               send_trim = 1 << 5, send_write_zeroes = 1 << 6, send_df = 1 << 7,
                               can_multi_conn = 1 << 8, send_cache = 1 << 10, send_fast_zero = 1 << 11;
}

enum class Option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
};

enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  error_unsupported = 0x80000001,
  error_policy = 0x80000002,
  error_invalid = 0x80000003,
  error_unknown = 0x80000006,
  error_shutdown = 0x80000007,
  error_too_big = 0x80000009,
};

enum class Info : std::uint16_t { export_ = 0, name = 1, description = 2, block_size = 3 };

// The numbers are the wire's; `disconnect` never reaches a driver.
enum class Command : std::uint8_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7
};

namespace command_flag {
inline constexpr std::uint16_t fua = 1 << 0, no_hole = 1 << 1, df = 1 << 2, req_one = 1 << 3, fast_zero = 1 << 4;
}

enum class Chunk : std::uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  error = 0x8001,
  error_offset = 0x8002
};
inline constexpr std::uint16_t chunk_done = 1;

enum class Error : std::uint32_t {
  ok = 0,
  eperm = 1,
  eio = 5,
  enomem = 12,
  einval = 22,
  enospc = 28,
  eoverflow = 75,
  enotsup = 95,
  eshutdown = 108
};

// What a failed request is told. ENOTSUP is reserved for fast zeroing by the standard, and not used.
constexpr Error to_error(Status status) {
  switch (status) {
    case Status::ok: return Error::ok;
    case Status::no_space: return Error::enospc;
    case Status::invalid:
    case Status::not_supported: return Error::einval;
    case Status::shutting_down: return Error::eshutdown;
    case Status::read_only: return Error::eperm;
    default: return Error::eio;
  }
}

// The nearest status; unknown codes count as EINVAL, as the standard advises clients.
constexpr Status to_status(Error error) {
  switch (error) {
    case Error::ok: return Status::ok;
    case Error::eperm: return Status::read_only;
    case Error::eio: return Status::io_error;
    case Error::enomem: return Status::busy;
    case Error::enospc: return Status::no_space;
    case Error::enotsup: return Status::not_supported;
    case Error::eshutdown: return Status::shutting_down;
    default: return Status::invalid;
  }
}

inline constexpr const char* allocation_context = "base:allocation";
inline constexpr std::uint32_t allocation_context_id = 1;       // in this server's replies
inline constexpr std::uint32_t state_hole = 1, state_zero = 2;  // flags of base:allocation

struct Extent {
  std::uint32_t length = 0;
  std::uint32_t flags = 0;  // state_hole | state_zero
  friend bool operator==(const Extent&, const Extent&) = default;
};

}  // namespace sd::nbd
