// Options: what client and server agree on before the first request.
#include <array>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/nbd/session.hpp"

namespace sd::nbd {

namespace {

constexpr std::uint32_t bit(Info info) { return 1u << static_cast<std::uint32_t>(info); }

// Strings of the standard hold no zero bytes and at most 4096 others.
bool is_name(std::string_view name) { return name.size() <= max_string && name.find('\0') == std::string_view::npos; }

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

bool Session::on_client_flags(Effects& effects) {
  if (staging_.size() < 4) return false;
  const auto flags = BigEndianReader(staging_.readable().first(4)).u32();
  staging_.consume(4);
  if (flags & ~std::uint32_t{handshake_flag::fixed_newstyle | handshake_flag::no_zeroes}) {
    close_misbehaved("unknown client flags", effects);
    return false;
  }
  no_zeroes_ = flags & handshake_flag::no_zeroes;
  state_ = State::option;
  return true;
}

bool Session::on_option(Effects& effects) {
  if (staging_.size() < option_header_size) return false;
  BigEndianReader in(staging_.readable());
  const auto magic = in.u64();
  const auto option = static_cast<Option>(in.u32());
  const auto length = in.u32();
  if (magic != option_magic) {
    close_misbehaved("an option with a wrong magic number", effects);
    return false;
  }
  if (length > max_option_data) {
    close_misbehaved("an option with too much data", effects);
    return false;
  }
  if (staging_.size() < option_header_size + length) return false;
  if (++options_seen_ > max_options) {
    close_misbehaved("too many options", effects);
    return false;
  }
  const auto data = in.bytes(length);
  staging_.consume(option_header_size + length);
  pending_option_ = option;

  switch (option) {
    case Option::export_name:
      if (is_name(text_of(data))) {
        wanted_infos_ = 0;
        ask_for_export(std::string(text_of(data)), true, effects);
      } else {
        close_misbehaved("a malformed export name", effects);
      }
      break;
    case Option::abort:
      send_option_reply(OptionReply::ack, {});
      close("the client aborted the negotiation", effects);
      break;
    case Option::list:
      if (!data.empty()) {
        refuse_option(OptionReply::error_invalid, "LIST takes no data");
      } else {
        state_ = State::await_list;
        effects.list_exports = true;
      }
      break;
    case Option::info:
    case Option::go: on_go(data, effects); break;
    case Option::structured_reply:
      if (!data.empty()) {
        refuse_option(OptionReply::error_invalid, "STRUCTURED_REPLY takes no data");
      } else {
        structured_ = true;
        send_option_reply(OptionReply::ack, {});
      }
      break;
    case Option::list_meta_context:
    case Option::set_meta_context: on_meta_context(data, effects); break;
    default: refuse_option(OptionReply::error_unsupported, {}); break;
  }
  return true;
}

void Session::on_go(std::span<const std::byte> data, Effects& effects) {
  BigEndianReader in(data);
  std::string name = in.string(max_string);
  const auto count = in.u16();
  wanted_infos_ = 0;
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const auto info = in.u16();
    if (info < 32) wanted_infos_ |= 1u << info;
  }
  if (!in.complete() || !is_name(name)) {
    refuse_option(OptionReply::error_invalid, "malformed option data");
    return;
  }
  ask_for_export(std::move(name), pending_option_ == Option::go, effects);
}

void Session::on_meta_context(std::span<const std::byte> data, Effects& effects) {
  const bool listing = pending_option_ == Option::list_meta_context;
  if (!listing) context_export_.reset();
  if (!structured_) {
    refuse_option(OptionReply::error_invalid, "negotiate structured replies first");
    return;
  }
  BigEndianReader in(data);
  std::string name = in.string(max_string);
  const auto count = in.u32();
  query_matches_ = listing && count == 0;
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const auto query = text_of(in.bytes(in.count(max_string)));
    if (query == allocation_context || (listing && query == "base:")) query_matches_ = true;
  }
  if (!in.complete() || !is_name(name)) {
    refuse_option(OptionReply::error_invalid, "malformed option data");
    return;
  }
  ask_for_export(std::move(name), false, effects);
}

void Session::ask_for_export(std::string name, bool will_serve, Effects& effects) {
  pending_name_ = name;
  state_ = State::await_export;
  effects.open_export = std::move(name);
  effects.will_serve = will_serve;
}

void Session::on_export_list(std::span<const std::string> names, Effects& effects) {
  if (state_ == State::closed) return;
  SD_ASSERT(state_ == State::await_list, "a list of exports is given when asked for");
  std::string entry;
  for (const auto& name : names) {
    if (!is_name(name)) continue;
    entry.clear();
    BigEndianWriter(entry).string(name);
    send_option_reply(OptionReply::server, entry);
  }
  send_option_reply(OptionReply::ack, {});
  state_ = State::option;
  parse(effects);
}

void Session::on_export(const std::expected<ExportInfo, Status>& info, Effects& effects) {
  if (state_ == State::closed) return;
  SD_ASSERT(state_ == State::await_export, "an export is described when asked for");
  state_ = State::option;
  const bool by_name_only = pending_option_ == Option::export_name;
  if (!info && by_name_only) {
    close("no such export, or not now", effects);  // this option knows no error reply
    return;
  }
  if (!info) {
    const auto type = info.error() == Status::not_found       ? OptionReply::error_unknown
                      : info.error() == Status::shutting_down ? OptionReply::error_shutdown
                                                              : OptionReply::error_policy;
    refuse_option(type, info.error() != Status::not_found ? to_string(info.error())
                        : pending_name_.empty()
                            ? "name a disk: there is a default only while there is one disk; `dog vdi list` shows them"
                            : "no disk has this name; `dog vdi list` shows those there are");
  } else if (by_name_only) {
    BigEndianWriter out(scratch_);
    out.u64(info->size);
    out.u16(transmission_flags(*info));
    if (!no_zeroes_) scratch_.append(124, '\0');
    flush_scratch();
    begin_transmission(*info, effects);
  } else if (pending_option_ == Option::info || pending_option_ == Option::go) {
    answer_info(*info);
    if (pending_option_ == Option::go) begin_transmission(*info, effects);
  } else {
    answer_meta_context();
  }
  parse(effects);
}

void Session::answer_info(const ExportInfo& info) {
  std::string data;
  BigEndianWriter out(data);
  const auto begin = [&](Info type) {
    data.clear();
    out.u16(static_cast<std::uint16_t>(type));
  };
  begin(Info::export_);
  out.u64(info.size);
  out.u16(transmission_flags(info));
  send_option_reply(OptionReply::info, data);
  if (wanted_infos_ & bit(Info::name)) {
    begin(Info::name);
    out.raw(info.name);
    send_option_reply(OptionReply::info, data);
  }
  if (wanted_infos_ & bit(Info::description)) {
    begin(Info::description);
    out.raw(std::string_view(info.description).substr(0, max_string));
    send_option_reply(OptionReply::info, data);
  }
  if (wanted_infos_ & bit(Info::block_size)) {
    begin(Info::block_size);
    out.u32(minimum_block_for(info));
    out.u32(options_.preferred_block);
    out.u32(limits::max_nbd_payload);
    send_option_reply(OptionReply::info, data);
  }
  send_option_reply(OptionReply::ack, {});
}

void Session::answer_meta_context() {
  const bool listing = pending_option_ == Option::list_meta_context;
  if (query_matches_) {
    std::string data;
    BigEndianWriter out(data);
    out.u32(listing ? 0 : allocation_context_id);
    out.raw(allocation_context);
    send_option_reply(OptionReply::meta_context, data);
    if (!listing) context_export_ = pending_name_;
  }
  send_option_reply(OptionReply::ack, {});
}

void Session::begin_transmission(const ExportInfo& info, Effects& effects) {
  export_ = info;
  block_size_told_ = wanted_infos_ & bit(Info::block_size);
  minimum_block_ = block_size_told_ ? minimum_block_for(info) : 1;
  allocation_selected_ = context_export_ == pending_name_;
  state_ = State::request;
  effects.opened = info.export_id;
}

// Reads that end at the end of an export of odd size must stay possible.
std::uint32_t Session::minimum_block_for(const ExportInfo& info) const {
  return info.size % options_.minimum_block == 0 ? options_.minimum_block : 1;
}

std::uint16_t Session::transmission_flags(const ExportInfo& info) const {
  namespace f = transmission_flag;
  std::uint16_t flags = f::has_flags | f::send_flush | f::send_fua | f::can_multi_conn | f::send_cache;
  flags |= info.read_only ? f::read_only : f::send_trim | f::send_write_zeroes | f::send_fast_zero;
  if (structured_) flags |= f::send_df;
  return flags;
}

void Session::send_option_reply(OptionReply type, std::string_view data) {
  BigEndianWriter out(scratch_);
  out.u64(option_reply_magic);
  out.u32(static_cast<std::uint32_t>(pending_option_));
  out.u32(static_cast<std::uint32_t>(type));
  out.string(data);
  flush_scratch();
}

// The message is for a person at the other side.
void Session::refuse_option(OptionReply type, std::string_view message) { send_option_reply(type, message); }

}  // namespace sd::nbd
