#include "core/nbd/client.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"

namespace sd::nbd {

namespace {

constexpr std::uint32_t max_option_replies = 1024;  // to one option
constexpr std::uint32_t max_option_reply_data = 16u << 10;
constexpr std::uint32_t max_small_chunk = 16u << 10;  // holes and errors
constexpr std::size_t max_content_chunks = 4096;      // of one read
constexpr std::size_t max_extents = 1u << 16;         // of one reply

bool is_error(Chunk type) { return (static_cast<std::uint16_t>(type) & 0x8000) != 0; }

}  // namespace

Client::Client(const ClientOptions& options, BufferPool& pool)
    : options_(options), output_(pool), pool_(pool), staging_(pool, staging_size) {}

std::span<std::byte> Client::receive_buffer() {
  receiving_data_ = false;
  if (state_ == State::failed) return {};
  if (state_ == State::read_data && chunk_left_ >= direct_receive_from) {
    receiving_data_ = true;
    return {slots_.find(handle_)->data.mutable_data() + data_at_, chunk_left_};
  }
  return staging_.writable();
}

void Client::on_received(std::size_t n, ClientEffects& effects) {
  if (state_ == State::failed) return;
  if (receiving_data_) {
    SD_ASSERT(state_ == State::read_data && n <= chunk_left_, "a read fills no more than it was offered");
    data_at_ += n;
    chunk_left_ -= static_cast<std::uint32_t>(n);
    receiving_data_ = false;
  } else {
    staging_.commit(n);
  }
  parse(effects);
}

void Client::parse(ClientEffects& effects) {
  while (step(effects)) {
  }
  staging_.compact();
}

bool Client::step(ClientEffects& effects) {
  switch (state_) {
    case State::greeting: return on_greeting(effects);
    case State::structured_reply:
    case State::set_meta_context:
    case State::go: return on_option_reply(effects);
    case State::reply_header: return on_reply_header(effects);
    case State::chunk: return on_chunk(effects);
    case State::read_data: return on_read_data(effects);
    case State::extents: return on_extents(effects);
    case State::failed: return false;
  }
  return false;
}

bool Client::on_greeting(ClientEffects& effects) {
  if (staging_.size() < greeting_size) return false;
  BigEndianReader in(staging_.readable().first(greeting_size));
  const bool known = in.u64() == init_magic;
  if (!known || in.u64() != option_magic) return fail("the server does not speak newstyle NBD", effects);
  const auto flags = in.u16();
  if (!(flags & handshake_flag::fixed_newstyle)) return fail("the server does not speak fixed newstyle NBD", effects);
  staging_.consume(greeting_size);
  BigEndianWriter out(scratch_);
  out.u32(flags & (handshake_flag::fixed_newstyle | handshake_flag::no_zeroes));
  output_.append_copy(scratch_);
  if (options_.structured_replies) {
    state_ = State::structured_reply;
    send_option(Option::structured_reply, {});
  } else {
    send_go();
  }
  return true;
}

void Client::send_option(Option option, std::string_view data) {
  scratch_.clear();
  BigEndianWriter out(scratch_);
  out.u64(option_magic);
  out.u32(static_cast<std::uint32_t>(option));
  out.string(data);
  output_.append_copy(scratch_);
  option_replies_ = 0;
}

void Client::after_structured_reply() {
  if (!served_.structured_replies || !options_.block_status) return send_go();
  state_ = State::set_meta_context;
  std::string data;
  BigEndianWriter out(data);
  out.string(options_.export_name);
  out.u32(1);
  out.string(allocation_context);
  send_option(Option::set_meta_context, data);
}

void Client::send_go() {
  state_ = State::go;
  std::string data;
  BigEndianWriter out(data);
  out.string(options_.export_name);
  out.u16(options_.block_size ? 1 : 0);
  if (options_.block_size) out.u16(static_cast<std::uint16_t>(Info::block_size));
  send_option(Option::go, data);
}

bool Client::on_option_reply(ClientEffects& effects) {
  if (staging_.size() < option_reply_header_size) return false;
  BigEndianReader in(staging_.readable());
  const auto magic = in.u64();
  const auto option = static_cast<Option>(in.u32());
  const auto type = static_cast<OptionReply>(in.u32());
  const auto length = in.u32();
  const auto asked = state_ == State::structured_reply   ? Option::structured_reply
                     : state_ == State::set_meta_context ? Option::set_meta_context
                                                         : Option::go;
  if (magic != option_reply_magic || option != asked)
    return fail("a reply to another option than the one sent", effects);
  if (length > max_option_reply_data || ++option_replies_ > max_option_replies)
    return fail("an option's reply is too long", effects);
  if (staging_.size() < option_reply_header_size + length) {
    --option_replies_;
    return false;
  }
  const auto data = in.bytes(length);
  staging_.consume(option_reply_header_size + length);
  const bool ack = type == OptionReply::ack;
  const bool refused = static_cast<std::uint32_t>(type) & 0x80000000u;
  switch (state_) {
    case State::structured_reply:
      if (!ack && !refused) return fail("an unexpected reply to STRUCTURED_REPLY", effects);
      served_.structured_replies = ack;
      after_structured_reply();
      return true;
    case State::set_meta_context:
      if (type == OptionReply::meta_context) {
        BigEndianReader context(data);
        context_id_ = context.u32();
        const auto name = context.bytes(context.remaining());
        if (context.failed() ||
            std::string_view(reinterpret_cast<const char*>(name.data()), name.size()) != allocation_context)
          return fail("a metadata context that was not asked for", effects);
        served_.block_status = true;
        return true;
      }
      if (!ack && !refused) return fail("an unexpected reply to SET_META_CONTEXT", effects);
      if (refused) served_.block_status = false;
      send_go();
      return true;
    default:
      if (type == OptionReply::info) {
        on_info(data);
        return true;
      }
      if (!ack) {
        std::string reason = type == OptionReply::error_unknown ? "no such export" : "the server refused the export";
        if (!data.empty())
          reason.append(": ").append(reinterpret_cast<const char*>(data.data()), std::min(data.size(), max_string));
        return fail(reason, effects);
      }
      if (!(served_.flags & transmission_flag::has_flags))
        return fail("the server did not describe the export", effects);
      state_ = State::reply_header;
      effects.ready = served_;
      return true;
  }
}

void Client::on_info(std::span<const std::byte> data) {
  BigEndianReader in(data);
  const auto type = static_cast<Info>(in.u16());
  if (type == Info::export_ && data.size() == 12) {
    served_.size = in.u64();
    served_.flags = in.u16();
  } else if (type == Info::block_size && data.size() == 14) {
    served_.minimum_block = in.u32();
    served_.preferred_block = in.u32();
    served_.maximum_payload = in.u32();
  }
}

std::uint64_t Client::submit(Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags) {
  SD_ASSERT(can_submit(), "requests are made only in transmission and within the bound");
  Slot slot;
  slot.command = command;
  slot.offset = offset;
  slot.length = length;
  const auto handle = slots_.insert(std::move(slot));
  scratch_.clear();
  BigEndianWriter out(scratch_);
  out.u32(request_magic);
  out.u16(flags);
  out.u16(static_cast<std::uint16_t>(command));
  out.u64(handle);
  out.u64(offset);
  out.u32(length);
  output_.append_copy(scratch_);
  return handle;
}

std::uint64_t Client::read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags) {
  return submit(Command::read, offset, length, flags);
}

std::uint64_t Client::write(std::uint64_t offset, Slice data, std::uint16_t flags) {
  const auto handle = submit(Command::write, offset, static_cast<std::uint32_t>(data.size()), flags);
  output_.append(std::move(data));
  return handle;
}

std::uint64_t Client::flush() { return submit(Command::flush, 0, 0); }

void Client::disconnect() {
  SD_ASSERT(ready(), "only a connection in transmission can be ended politely");
  scratch_.clear();
  BigEndianWriter out(scratch_);
  out.u32(request_magic);
  out.u16(0);
  out.u16(static_cast<std::uint16_t>(Command::disconnect));
  out.u64(0);
  out.u64(0);
  out.u32(0);
  output_.append_copy(scratch_);
}

bool Client::on_reply_header(ClientEffects& effects) {
  if (staging_.size() < simple_reply_size) return false;
  BigEndianReader in(staging_.readable());
  const auto magic = in.u32();
  if (magic == simple_reply_magic) {
    const auto error = static_cast<Error>(in.u32());
    handle_ = in.u64();
    Slot* slot = slots_.find(handle_);
    if (!slot) return fail("a reply to no request", effects);
    if (served_.structured_replies && (slot->command == Command::read || slot->command == Command::block_status))
      return fail("a simple reply where a structured one was agreed on", effects);
    staging_.consume(simple_reply_size);
    slot->error = error;
    chunk_last_ = true;
    if (error == Error::ok && slot->command == Command::read && slot->length > 0) {
      if (!start_content(*slot, slot->offset, slot->length)) return fail("a read longer than can be answered", effects);
      data_at_ = 0;
      chunk_left_ = slot->length;
      state_ = State::read_data;
      return true;
    }
    return complete(effects);
  }
  if (magic != structured_reply_magic || !served_.structured_replies)
    return fail("a reply with a wrong magic number", effects);
  if (staging_.size() < chunk_header_size) return false;
  const auto flags = in.u16();
  chunk_type_ = static_cast<Chunk>(in.u16());
  handle_ = in.u64();
  chunk_left_ = in.u32();
  chunk_last_ = flags & chunk_done;
  const Slot* slot = slots_.find(handle_);
  if (!slot) return fail("a reply to no request", effects);
  const bool is_read = slot->command == Command::read;
  switch (chunk_type_) {
    case Chunk::none:
      if (chunk_left_ != 0 || !chunk_last_) return fail("a malformed empty chunk", effects);
      break;
    case Chunk::offset_data:
      if (!is_read || chunk_left_ <= 8 || chunk_left_ - 8 > slot->length)
        return fail("a malformed data chunk", effects);
      break;
    case Chunk::offset_hole:
      if (!is_read || chunk_left_ != 12) return fail("a malformed hole chunk", effects);
      break;
    case Chunk::block_status:
      if (slot->command != Command::block_status || slot->extents_seen || chunk_left_ < 12 || chunk_left_ % 8 != 4 ||
          chunk_left_ / 8 > max_extents)
        return fail("a malformed block status chunk", effects);
      break;
    default:
      if (!is_error(chunk_type_) || chunk_left_ < 6 || chunk_left_ > max_small_chunk)
        return fail("an unknown chunk", effects);
  }
  staging_.consume(chunk_header_size);
  state_ = State::chunk;
  return true;
}

// What all chunks begin with; data and extents then stream.
bool Client::on_chunk(ClientEffects& effects) {
  const std::size_t head = chunk_type_ == Chunk::offset_data ? 8 : chunk_type_ == Chunk::block_status ? 4 : chunk_left_;
  if (staging_.size() < head) return false;
  BigEndianReader in(staging_.readable().first(head));
  staging_.consume(head);
  chunk_left_ -= static_cast<std::uint32_t>(head);
  Slot& slot = *slots_.find(handle_);
  switch (chunk_type_) {
    case Chunk::none: return end_chunk(effects);
    case Chunk::offset_data: {
      const auto offset = in.u64();
      if (!start_content(slot, offset, chunk_left_))
        return fail("a data chunk outside the request or over another", effects);
      data_at_ = offset - slot.offset;
      state_ = State::read_data;
      return true;
    }
    case Chunk::offset_hole: {
      const auto offset = in.u64();
      const auto length = in.u32();
      if (!start_content(slot, offset, length))
        return fail("a hole outside the request or over another chunk", effects);
      std::memset(slot.data.mutable_data() + (offset - slot.offset), 0, length);
      slot.hole_bytes += length;
      return end_chunk(effects);
    }
    case Chunk::block_status:
      if (in.u32() != context_id_ || !served_.block_status)
        return fail("block status of a context that was not asked for", effects);
      slot.extents_seen = true;
      state_ = State::extents;
      return true;
    default: {
      const auto error = static_cast<Error>(in.u32());
      const auto message_length = in.u16();
      in.bytes(message_length);
      if (in.failed() || error == Error::ok) return fail("a malformed error chunk", effects);
      if (slot.error == Error::ok) slot.error = error;
      return end_chunk(effects);
    }
  }
}

bool Client::start_content(Slot& slot, std::uint64_t offset, std::uint64_t length) {
  if (length == 0 || offset < slot.offset || offset - slot.offset > slot.length ||
      length > slot.length - (offset - slot.offset))
    return false;
  if (slot.length > limits::max_nbd_payload || slot.covered.size() >= max_content_chunks) return false;
  const Range range{offset, offset + length};
  for (const auto& other : slot.covered)
    if (range.begin < other.end && other.begin < range.end) return false;
  slot.covered.push_back(range);
  if (slot.data.empty()) slot.data = pool_.allocate(slot.length);
  return true;
}

bool Client::on_read_data(ClientEffects& effects) {
  const std::size_t n = staging_.take(slots_.find(handle_)->data.mutable_data() + data_at_, chunk_left_);
  data_at_ += n;
  chunk_left_ -= static_cast<std::uint32_t>(n);
  if (chunk_left_ > 0) return false;
  return end_chunk(effects);
}

bool Client::on_extents(ClientEffects& effects) {
  Slot& slot = *slots_.find(handle_);
  while (chunk_left_ > 0) {
    if (staging_.size() < 8) return false;
    BigEndianReader in(staging_.readable().first(8));
    const auto length = in.u32();
    const auto flags = in.u32();
    if (length == 0) return fail("an empty extent", effects);
    slot.extents.push_back({.length = length, .flags = flags});
    staging_.consume(8);
    chunk_left_ -= 8;
  }
  return end_chunk(effects);
}

bool Client::end_chunk(ClientEffects& effects) {
  state_ = State::reply_header;
  return chunk_last_ ? complete(effects) : true;
}

bool Client::complete(ClientEffects& effects) {
  state_ = State::reply_header;
  Slot& slot = *slots_.find(handle_);
  Completion done;
  done.handle = handle_;
  done.command = slot.command;
  done.error = slot.error;
  done.status = to_status(slot.error);
  if (slot.error == Error::ok && slot.command == Command::read) {
    std::uint64_t covered = 0;
    for (const auto& range : slot.covered) covered += range.end - range.begin;
    if (covered != slot.length) return fail("a read's reply with parts missing", effects);
    done.data = std::move(slot.data);
    done.hole_bytes = slot.hole_bytes;
  }
  if (slot.error == Error::ok && slot.command == Command::block_status) {
    if (!slot.extents_seen) return fail("a block status reply without extents", effects);
    done.extents = std::move(slot.extents);
  }
  slots_.erase(handle_);
  effects.completions.push_back(std::move(done));
  return true;
}

bool Client::fail(std::string_view reason, ClientEffects& effects) {
  if (state_ == State::failed) return false;
  state_ = State::failed;
  effects.failed = reason;
  slots_.each([&](std::uint64_t handle, const Slot& slot) {
    Completion done;
    done.handle = handle;
    done.command = slot.command;
    done.status = Status::unavailable;
    effects.completions.push_back(std::move(done));
    slots_.erase(handle);
  });
  return false;
}

}  // namespace sd::nbd
