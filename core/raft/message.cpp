#include "core/raft/message.hpp"

#include <algorithm>

namespace sd::raft {
namespace {

constexpr std::uint8_t wire_version = 1;
// Far beyond what any group reaches, and so far from the end that sums cannot wrap.
constexpr std::uint64_t max_number = 1ull << 62;

bool strictly_sorted(const std::vector<NodeId>& ids) {
  return std::adjacent_find(ids.begin(), ids.end(), [](NodeId a, NodeId b) { return a >= b; }) == ids.end();
}

void put_ids(const std::vector<NodeId>& ids, Writer& out) {
  out.u32(static_cast<std::uint32_t>(ids.size()));
  for (const NodeId id : ids) out.u64(id);
}

bool get_ids(Reader& in, std::size_t max, std::vector<NodeId>& ids) {
  const std::size_t n = in.count(max);
  if (in.failed() || n * sizeof(NodeId) > in.remaining()) return false;
  ids.reserve(n);
  for (std::size_t i = 0; i < n; ++i) ids.push_back(in.u64());
  return true;
}

bool get_config(Reader& in, Config& config) {
  return get_ids(in, max_voters, config.voters) && get_ids(in, limits::max_members, config.learners);
}

}  // namespace

bool Config::is_voter(NodeId id) const { return std::binary_search(voters.begin(), voters.end(), id); }
bool Config::is_learner(NodeId id) const { return std::binary_search(learners.begin(), learners.end(), id); }

bool well_formed(const Config& config) {
  if (config.voters.empty() || config.voters.size() > max_voters) return false;
  if (config.voters.size() + config.learners.size() > limits::max_members) return false;
  if (!strictly_sorted(config.voters) || !strictly_sorted(config.learners)) return false;
  if (config.voters.front() == 0 || (!config.learners.empty() && config.learners.front() == 0)) return false;
  return std::none_of(config.voters.begin(), config.voters.end(), [&](NodeId id) { return config.is_learner(id); });
}

bool one_step_apart(const Config& a, const Config& b) {
  std::vector<NodeId> changed;
  const auto collect = [&](const std::vector<NodeId>& x, const std::vector<NodeId>& y) {
    std::set_symmetric_difference(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(changed));
  };
  collect(a.voters, b.voters);
  collect(a.learners, b.learners);
  return !changed.empty() &&
         std::all_of(changed.begin(), changed.end(), [&](NodeId id) { return id == changed.front(); });
}

void encode(const Config& config, Writer& out) {
  put_ids(config.voters, out);
  put_ids(config.learners, out);
}

std::optional<Config> decode_config(Reader& in) {
  Config config;
  if (!get_config(in, config) || in.failed() || !well_formed(config)) return std::nullopt;
  return config;
}

std::string to_bytes(const Config& config) {
  std::string bytes;
  Writer out(bytes);
  encode(config, out);
  return bytes;
}

std::optional<Config> config_from(std::string_view bytes) {
  Reader in(bytes);
  auto config = decode_config(in);
  if (!in.complete()) return std::nullopt;
  return config;
}

void encode(const Message& m, std::string& bytes) {
  Writer out(bytes);
  out.u8(wire_version);
  out.u8(static_cast<std::uint8_t>(m.type));
  out.boolean(m.reject);
  out.u64(m.group);
  out.u64(m.term);
  out.u64(m.from);
  out.u64(m.index);
  out.u64(m.log_term);
  out.u64(m.commit);
  out.u64(m.hint);
  out.u64(m.sent);
  out.u64(m.snapshot_offset);
  out.u64(m.snapshot_size);
  encode(m.config, out);
  out.u32(static_cast<std::uint32_t>(m.entries.size()));
  for (const Entry& e : m.entries) {  // their indices follow from m.index
    out.u64(e.term);
    out.u8(static_cast<std::uint8_t>(e.kind));
    out.string(e.data);
  }
  out.string(m.snapshot);
}

std::optional<Message> decode(std::span<const std::byte> bytes) {
  Reader in(bytes);
  Message m;
  if (in.u8() != wire_version) return std::nullopt;
  const auto type = in.u8();
  if (type > static_cast<std::uint8_t>(Message::Type::take_over)) return std::nullopt;
  m.type = static_cast<Message::Type>(type);
  m.reject = in.boolean();
  m.group = in.u64();
  m.term = in.u64();
  m.from = in.u64();
  m.index = in.u64();
  m.log_term = in.u64();
  m.commit = in.u64();
  m.hint = in.u64();
  m.sent = in.u64();
  m.snapshot_offset = in.u64();
  m.snapshot_size = in.u64();
  for (const auto number : {m.term, m.index, m.log_term, m.commit, m.hint}) {
    if (number > max_number) return std::nullopt;
  }
  if (!get_config(in, m.config) || (!m.config.empty() && !well_formed(m.config))) return std::nullopt;

  constexpr std::size_t smallest_entry = 8 + 1 + 4;
  const std::size_t n = in.count(max_entries_per_message);
  if (in.failed() || n * smallest_entry > in.remaining()) return std::nullopt;
  m.entries.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    Entry e;
    e.term = in.u64();
    e.index = m.index + i + 1;
    const auto kind = in.u8();
    if (kind > static_cast<std::uint8_t>(Entry::Kind::config)) return std::nullopt;
    e.kind = static_cast<Entry::Kind>(kind);
    e.data = in.string(max_entry_data);
    if (in.failed()) return std::nullopt;
    m.entries.push_back(std::move(e));
  }
  m.snapshot = in.string(max_snapshot_chunk);
  if (!in.complete()) return std::nullopt;
  return m;
}

}  // namespace sd::raft
