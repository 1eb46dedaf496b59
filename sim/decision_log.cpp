#include "sim/decision_log.hpp"

#include <charconv>
#include <utility>

namespace sd::sim {

namespace {

constexpr std::string_view heading = "sheepsim-decisions 1 ";

template <std::size_t... I>
std::array<Random, sizeof...(I)> make_streams(std::uint64_t seed, std::index_sequence<I...>) {
  Random root(seed);
  return {((void)I, Random(root.next()))...};
}

std::string hex(std::uint64_t value) {
  char text[17];
  const auto end = std::to_chars(text, text + sizeof text, value, 16).ptr;
  return {text, end};
}

bool parse_hex(std::string_view& in, std::uint64_t& value) {
  const auto result = std::from_chars(in.data(), in.data() + in.size(), value, 16);
  if (result.ec != std::errc()) return false;
  in.remove_prefix(static_cast<std::size_t>(result.ptr - in.data()));
  return true;
}

}  // namespace

Decisions::Decisions(std::uint64_t seed)
    : seed_(seed), streams_(make_streams(seed, std::make_index_sequence<static_cast<std::size_t>(Site::count)>())) {}

void Decisions::record() {
  recording_ = true;
  plain_ = false;
}

std::uint64_t Decisions::slow_choose(Site site, std::uint64_t bound) {
  std::uint64_t value = streams_[static_cast<std::size_t>(site)].below(bound);
  if (next_ < replay_.size()) {
    const Draw& draw = replay_[next_++];
    if (draw.site == site && draw.value < bound)
      value = draw.value;
    else if (!std::exchange(diverged_, true))
      divergence_ = "choice " + std::to_string(next_ - 1) + ": the log has " + std::to_string(draw.value) +
                    " of site " + std::to_string(static_cast<unsigned>(draw.site)) + ", the run asks for one below " +
                    std::to_string(bound) + " of site " + std::to_string(static_cast<unsigned>(site));
  }
  if (recording_) log_.push_back({site, value});
  return value;
}

std::string Decisions::text() const {
  std::string out{heading};
  out += hex(seed_);
  out += '\n';
  for (std::size_t i = 0; i < log_.size();) {
    std::size_t same = 1;
    while (i + same < log_.size() && log_[i + same] == log_[i]) ++same;
    out += hex(static_cast<std::uint64_t>(log_[i].site));
    out += ' ';
    out += hex(log_[i].value);
    if (same > 1) {
      out += '*';
      out += hex(same);
    }
    out += '\n';
    i += same;
  }
  return out;
}

std::optional<Decisions> Decisions::parse(std::string_view text) {
  if (!text.starts_with(heading)) return std::nullopt;
  text.remove_prefix(heading.size());
  std::uint64_t seed = 0;
  if (!parse_hex(text, seed)) return std::nullopt;
  Decisions result(seed);
  result.plain_ = false;
  while (text.starts_with('\n') && text.size() > 1) {
    text.remove_prefix(1);
    std::uint64_t site = 0;
    std::uint64_t value = 0;
    std::uint64_t times = 1;
    if (!parse_hex(text, site) || site >= static_cast<std::uint64_t>(Site::count) || !text.starts_with(' '))
      return std::nullopt;
    text.remove_prefix(1);
    if (!parse_hex(text, value)) return std::nullopt;
    if (text.starts_with('*')) {
      text.remove_prefix(1);
      if (!parse_hex(text, times) || times > (1u << 30)) return std::nullopt;
    }
    result.replay_.insert(result.replay_.end(), times, Draw{static_cast<Site>(site), value});
  }
  return result;
}

}  // namespace sd::sim
