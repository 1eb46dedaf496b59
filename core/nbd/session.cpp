// Receiving requests, passing them on, and taking the answers.
#include "core/nbd/session.hpp"

#include <algorithm>
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"

namespace sd::nbd {

namespace {

// Option replies that may wait to be sent before further options are looked at.
constexpr std::size_t max_handshake_output = 1u << 20;

std::string_view explanation(Error error) {
  switch (error) {
    case Error::eperm: return "the export is read-only";
    case Error::enospc: return "beyond the end of the export";
    case Error::eoverflow: return "longer than the maximum payload";
    case Error::eshutdown: return "shutting down";
    default: return "unknown, out of range, misaligned or not negotiated";
  }
}

bool changes_data(Command command) {
  return command == Command::write || command == Command::trim || command == Command::write_zeroes;
}

// What a request may add to the memory that is held for the client.
std::size_t cost_of(Command command, std::uint32_t length) {
  switch (command) {
    case Command::read:
    case Command::write: return length;
    case Command::block_status: return max_extents_per_reply * 8;
    default: return 0;
  }
}

}  // namespace

Session::Session(const SessionOptions& options, BufferPool& pool)
    : options_(options), pool_(pool), output_(pool), staging_(pool, staging_size) {
  SD_ASSERT(options.max_in_flight_requests > 0, "at least one request can be in flight");
  SD_ASSERT(std::has_single_bit(options.minimum_block) && std::has_single_bit(options.preferred_block) &&
                options.preferred_block >= std::max(options.minimum_block, 512u) && options.minimum_block <= 65536,
            "block sizes are powers of two in the order that the standard demands");
  BigEndianWriter out(scratch_);
  out.u64(init_magic);
  out.u64(option_magic);
  out.u16(handshake_flag::fixed_newstyle | handshake_flag::no_zeroes);
  flush_scratch();
}

std::span<std::byte> Session::receive_buffer() {
  receiving_payload_ = false;
  if (paused_) return {};
  switch (state_) {
    case State::await_list:
    case State::await_export:
    case State::disconnecting:
    case State::closed: return {};
    case State::payload: {
      const std::size_t left = pending_write_.length - payload_filled_;
      if (left < direct_receive_from) return staging_.writable();
      receiving_payload_ = true;
      return {pending_write_.data.mutable_data() + payload_filled_, left};
    }
    default: return staging_.writable();
  }
}

void Session::on_received(std::size_t n, Effects& effects) {
  if (state_ == State::closed || state_ == State::disconnecting) return;
  if (receiving_payload_) {
    SD_ASSERT(state_ == State::payload && n <= pending_write_.length - payload_filled_,
              "a read fills no more than it was offered");
    payload_filled_ += n;
    receiving_payload_ = false;
  } else {
    staging_.commit(n);
  }
  parse(effects);
}

void Session::on_sent(std::size_t n, Effects& effects) {
  output_.consume(n);
  resume(effects);
}

void Session::resume(Effects& effects) {
  if (paused_) parse(effects);
}

// Runs only when no read is outstanding: after one ended, or while none is allowed.
void Session::parse(Effects& effects) {
  paused_ = false;
  while (step(effects)) {
  }
  if (!paused_) staging_.compact();
}

// One unit of the stream. False when it is incomplete, or there is no room for it, or an answer of the driver must come
// first.
bool Session::step(Effects& effects) {
  switch (state_) {
    case State::client_flags: return on_client_flags(effects);
    case State::option:
      if (output_.size() > max_handshake_output) {
        paused_ = true;
        return false;
      }
      return on_option(effects);
    case State::request: return on_request_header(effects);
    case State::payload:
      payload_filled_ +=
          staging_.take(pending_write_.data.mutable_data() + payload_filled_, pending_write_.length - payload_filled_);
      if (payload_filled_ < pending_write_.length) return false;
      state_ = State::request;
      dispatch(std::move(pending_write_), pending_slot_, effects);
      return true;
    case State::drain: {
      const std::size_t n = std::min(drain_left_, staging_.size());
      staging_.consume(n);
      drain_left_ -= n;
      if (drain_left_ > 0) return false;
      state_ = State::request;
      send_status(drain_cookie_, drain_error_, explanation(drain_error_));
      return true;
    }
    case State::await_list:
    case State::await_export:
    case State::disconnecting:
    case State::closed: return false;
  }
  return false;
}

bool Session::on_request_header(Effects& effects) {
  if (staging_.size() < request_header_size) return false;
  BigEndianReader in(staging_.readable().first(request_header_size));
  const auto magic = in.u32();
  const auto flags = in.u16();
  const auto type = in.u16();
  const auto cookie = in.u64();
  const auto offset = in.u64();
  const auto length = in.u32();
  if (magic != request_magic) {
    close_misbehaved("a request with a wrong magic number", effects);
    return false;
  }
  const auto command = static_cast<Command>(std::min<std::uint16_t>(type, 0xff));
  if (command == Command::disconnect) {
    staging_.consume(request_header_size);
    state_ = State::disconnecting;
    after_reply(effects);
    return false;
  }
  if (command == Command::write && length > limits::max_nbd_payload) {
    close_misbehaved("a write of " + std::to_string(length) + " bytes, and " + std::to_string(limits::max_nbd_payload) +
                         " are the maximum",
                     effects);
    return false;
  }
  if (!has_room_for(0)) {
    paused_ = true;
    return false;
  }
  const Error error = check(flags, type, offset, length);
  const bool nothing_to_do = length == 0 && command != Command::flush;
  if (error != Error::ok || nothing_to_do) {
    staging_.consume(request_header_size);
    if (error == Error::ok) {
      send_success({.command = command, .cookie = cookie});
    } else if (command == Command::write && length > 0) {
      state_ = State::drain;
      drain_left_ = length;
      drain_cookie_ = cookie;
      drain_error_ = error;
    } else {
      send_status(cookie, error, explanation(error));
    }
    return true;
  }
  const std::size_t cost = cost_of(command, length);
  if (slots_.size() >= options_.max_in_flight_requests || !has_room_for(cost)) {
    paused_ = true;
    return false;
  }
  staging_.consume(request_header_size);

  Request request;
  request.command = command;
  request.export_id = export_.export_id;
  request.offset = offset;
  request.length = length;
  request.fua = (flags & command_flag::fua) && changes_data(command);
  request.no_hole = flags & command_flag::no_hole;
  request.fast_zero = flags & command_flag::fast_zero;
  const Slot slot{.command = command,
                  .one_chunk = (flags & (command_flag::df | command_flag::req_one)) != 0,
                  .cookie = cookie,
                  .offset = offset,
                  .length = length,
                  .cost = cost};
  if (command == Command::write) {
    pending_write_ = std::move(request);
    pending_write_.data = pool_.allocate(length);
    pending_slot_ = slot;
    payload_filled_ = 0;
    state_ = State::payload;
  } else {
    dispatch(std::move(request), slot, effects);
  }
  return true;
}

// The standard's chapters "Request types" and "Error values". FUA is accepted with every command, as the standard
// demands.
Error Session::check(std::uint16_t flags, std::uint16_t type, std::uint64_t offset, std::uint32_t length) const {
  if (type > static_cast<std::uint16_t>(Command::block_status)) return Error::einval;
  const auto command = static_cast<Command>(type);
  std::uint16_t allowed = command_flag::fua;
  if (command == Command::read && structured_) allowed |= command_flag::df;
  if (command == Command::write_zeroes) allowed |= command_flag::no_hole | command_flag::fast_zero;
  if (command == Command::block_status) allowed |= command_flag::req_one;
  if (flags & ~allowed) return Error::einval;
  if (changes_data(command) && export_.read_only) return Error::eperm;
  if (command == Command::flush) return offset == 0 && length == 0 ? Error::ok : Error::einval;
  if (command == Command::block_status && (!allocation_selected_ || length == 0)) return Error::einval;
  if (offset > export_.size || length > export_.size - offset)
    return command == Command::write || command == Command::write_zeroes ? Error::enospc : Error::einval;
  if ((offset | length) & (minimum_block_ - 1)) return Error::einval;
  if (command == Command::read && length > limits::max_nbd_payload)
    return structured_ || block_size_told_ ? Error::eoverflow : Error::einval;
  return Error::ok;
}

// A request larger than the whole bound is served alone.
bool Session::has_room_for(std::size_t cost) const {
  const std::size_t held = in_flight_bytes_ + output_.size();
  return held == 0 || held + cost <= options_.max_in_flight_bytes;
}

void Session::dispatch(Request request, Slot slot, Effects& effects) {
  in_flight_bytes_ += slot.cost;
  request.id = slots_.insert(slot);
  effects.requests.push_back(std::move(request));
}

void Session::close(std::string_view reason, Effects& effects) {
  state_ = State::closed;
  paused_ = false;
  effects.close = true;
  effects.close_reason = reason;
}

void Session::close_misbehaved(std::string_view reason, Effects& effects) {
  close(reason, effects);
  effects.misbehaved = true;
}

// Nothing when the client is gone and no reply is wanted.
std::optional<Session::Slot> Session::finish(std::uint64_t id) {
  auto slot = slots_.take(id);
  SD_ASSERT(slot.has_value(), "a request is answered once, by the id it came with");
  in_flight_bytes_ -= slot->cost;
  if (state_ == State::closed) return std::nullopt;
  return slot;
}

void Session::shutdown(Effects& effects) {
  if (state_ == State::closed) return;
  const bool transmission = in_transmission();
  state_ = State::disconnecting;
  paused_ = false;
  if (transmission)
    after_reply(effects);
  else
    close("the server stops", effects);
}

void Session::after_reply(Effects& effects) {
  if (state_ == State::disconnecting && slots_.size() == 0)
    close("nothing is in flight, and the client disconnected or the server stops", effects);
  else
    resume(effects);
}

void Session::reply(std::uint64_t id, Status status, std::span<const Slice> data, Effects& effects) {
  if (const auto slot = finish(id)) {
    if (status != Status::ok)
      send_status(slot->cookie, to_error(status), to_string(status));
    else if (slot->command == Command::read)
      send_read(*slot, data);
    else if (slot->command == Command::block_status)
      send_extents(*slot, {});
    else
      send_success(*slot);
  }
  after_reply(effects);
}

void Session::reply_parts(std::uint64_t id, std::span<const ReadPart> parts, Effects& effects) {
  if (const auto slot = finish(id)) {
    SD_ASSERT(slot->command == Command::read, "only reads are answered with data");
    send_read(*slot, parts);
  }
  after_reply(effects);
}

void Session::reply_extents(std::uint64_t id, std::span<const Extent> extents, Effects& effects) {
  if (const auto slot = finish(id)) {
    SD_ASSERT(slot->command == Command::block_status, "only block status requests are answered with extents");
    send_extents(*slot, extents);
  }
  after_reply(effects);
}

}  // namespace sd::nbd
