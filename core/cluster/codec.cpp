// Bytes of commands and of the state. Little-endian, every count bounded; the same state always gives the same bytes.
#include "core/base/fields.hpp"
#include "core/cluster/state.hpp"

namespace sd::cluster {

namespace {
constexpr std::uint8_t state_format = 3;
}  // namespace

void encode(const Command& command, std::string& out) {
  Writer w(out);
  w.u8(static_cast<std::uint8_t>(command.body.index()));
  w.u64(command.proposer);
  w.u64(command.proposer_incarnation);
  w.u64(command.number);
  std::visit([&](const auto& body) { write_fields(w, body); }, command.body);
}

std::optional<Command> decode_command(std::string_view bytes) {
  Reader r(bytes);
  Command command;
  const auto kind = r.u8();
  command.proposer = r.u64();
  command.proposer_incarnation = r.u64();
  command.number = r.u64();
  if (!emplace_alternative(command.body, kind)) return {};
  std::visit([&](auto& body) { read_fields(r, body); }, command.body);
  if (!r.complete()) return {};
  return command;
}

void State::encode(std::string& out) const {
  Writer w(out);
  w.u8(state_format);
  FieldWriter f(w);
  fields(*this, f);
}

std::optional<State> State::decode(std::string_view bytes) {
  Reader r(bytes);
  if (r.u8() != state_format) return {};
  State s;
  FieldReader f(r);
  fields(s, f);
  if (!r.complete()) return {};
  // The first member begins the first epoch, and none is ever taken from behind.
  if (s.epochs.empty() && (s.formatted || !s.members.empty() || !s.vdis.empty())) return {};
  for (std::size_t i = 1; i < s.epochs.size(); ++i)
    if (s.epochs[i].epoch <= s.epochs[i - 1].epoch || s.epochs[i].log_index < s.epochs[i - 1].log_index) return {};
  return s;
}

}  // namespace sd::cluster
