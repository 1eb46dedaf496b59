#include "sim/device_model.hpp"

#include <array>
#include <cstring>

#include "core/base/assert.hpp"

namespace sd::sim {

namespace {

constexpr std::size_t sector_bytes = 512;
constexpr std::size_t words = sector_bytes / 8;
using SectorWords = std::array<std::uint64_t, words>;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void make_sector(SectorWords& out, std::uint32_t volume, std::uint64_t sector, OpId op) {
  out[0] = std::uint64_t{volume} << 32 | op;
  out[1] = sector;
  const std::uint64_t pattern = mix(out[0] * 0x9e3779b97f4a7c15ull + sector) | 1;
  for (std::size_t i = 2; i < words; ++i) out[i] = pattern * i;
}

std::string describe(DeviceModel::Kind kind) {
  switch (kind) {
    case DeviceModel::Kind::read: return "read";
    case DeviceModel::Kind::write: return "write";
    case DeviceModel::Kind::zeros: return "zeros";
    case DeviceModel::Kind::flush: return "flush";
  }
  return "?";
}

}  // namespace

SectorHistory& DeviceModel::history(std::uint64_t sector, std::map<std::uint64_t, SectorHistory>::iterator& hint) {
  if (hint == sectors_.end() || hint->first != sector) hint = sectors_.try_emplace(hint, sector);
  SectorHistory& result = hint->second;
  ++hint;
  return result;
}

OpId DeviceModel::begin(Kind kind, std::uint64_t first, std::uint32_t count, bool fua) {
  SD_ASSERT(first + count <= sectors_count_, "a guest stays inside its disk");
  const OpId id = static_cast<OpId>(ops_.size());
  ops_.push_back({kind, State::open, fua, count, first, ++tick_});
  if (kind == Kind::write || kind == Kind::zeros) {
    auto hint = sectors_.lower_bound(first);
    for (std::uint32_t i = 0; i < count; ++i) history(first + i, hint).begin_write(id, kind == Kind::zeros, tick_);
  }
  return id;
}

void DeviceModel::fill(OpId op, std::span<std::byte> out) const {
  SD_ASSERT(out.size() == ops_[op].count * sector_bytes, "a payload has 512 bytes for each sector");
  SectorWords buffer;
  for (std::uint32_t i = 0; i < ops_[op].count; ++i) {
    make_sector(buffer, volume_, ops_[op].first + i, op);
    std::memcpy(out.data() + i * sector_bytes, buffer.data(), sector_bytes);
  }
}

std::optional<OpId> DeviceModel::decode(std::uint64_t sector, const std::byte* bytes) const {
  SectorWords found;
  std::memcpy(found.data(), bytes, sector_bytes);
  const OpId op = static_cast<OpId>(found[0]);
  if (found[0] == 0) {
    for (const std::uint64_t word : found)
      if (word != 0) return std::nullopt;
    return 0;
  }
  SectorWords expected;
  make_sector(expected, volume_, sector, op);
  if (found != expected || op >= ops_.size()) return std::nullopt;
  return op;
}

// Whether the answer counts.
bool DeviceModel::finish(OpId id) {
  Op& op = ops_[id];
  SD_ASSERT(op.state == State::open, "an operation ends once");
  op.state = State::done;
  ++tick_;
  if (op.invoked > power_tick_) {
    op.ended = tick_;
    op.losses = losses_;
    return true;
  }
  // The answer survived on the wire, what it tells of perhaps not: it promises nothing now, but that the write happens
  // no more.
  fence_sectors(op, id);
  return false;
}

void DeviceModel::end(OpId id, std::span<const std::byte> data) {
  if (!finish(id)) return;
  const Op& op = ops_[id];
  switch (op.kind) {
    case Kind::flush: flushed_before_ = std::max(flushed_before_, op.invoked); break;
    case Kind::read: check_read(id, data); break;
    case Kind::write:
    case Kind::zeros: {
      auto hint = sectors_.lower_bound(op.first);
      for (std::uint32_t i = 0; i < op.count; ++i) {
        const auto verdict = history(op.first + i, hint).end_write(id, tick_, op.fua);
        if (verdict != SectorHistory::Verdict::ok)
          fail(Violation::Class::safety, id, op.first + i, std::string(to_string(verdict)));
      }
      break;
    }
  }
}

void DeviceModel::end_read(OpId id, std::span<const Seen> seen) {
  SD_ASSERT(ops_[id].kind == Kind::read && seen.size() == ops_[id].count, "a read tells one value for each sector");
  if (!finish(id)) return;
  auto hint = sectors_.lower_bound(ops_[id].first);
  for (std::uint32_t i = 0; i < seen.size(); ++i) {
    if (check_seen(id, i, seen[i], hint)) continue;
    if (!seen[i]) fail(Violation::Class::safety, id, ops_[id].first + i, "bytes that no write put there");
    return;
  }
}

void DeviceModel::end_status(OpId id, const std::vector<bool>& hole) {
  SD_ASSERT(ops_[id].kind == Kind::read && hole.size() <= ops_[id].count, "a block status tells of what was asked for");
  if (!finish(id)) return;
  auto hint = sectors_.lower_bound(ops_[id].first);
  for (std::uint32_t i = 0; i < hole.size(); ++i)
    if (hole[i] && !check_seen(id, i, OpId{0}, hint)) return;
}

void DeviceModel::check_read(OpId id, std::span<const std::byte> data) {
  const Op& op = ops_[id];
  if (data.size() != op.count * sector_bytes) {
    fail(Violation::Class::safety, id, op.first, "a read of another length than asked for");
    return;
  }
  auto hint = sectors_.lower_bound(op.first);
  for (std::uint32_t i = 0; i < op.count; ++i) {
    const std::uint64_t sector = op.first + i;
    const Seen value = decode(sector, data.data() + i * sector_bytes);
    if (check_seen(id, i, value, hint)) continue;
    if (!value) {
      SectorWords found;
      std::memcpy(found.data(), data.data() + i * sector_bytes, sector_bytes);
      fail(Violation::Class::safety, id, sector,
           "bytes that no write put there (claims volume " + std::to_string(found[0] >> 32) + ", operation " +
               std::to_string(found[0] & 0xffffffff) + ", sector " + std::to_string(found[1]) + ")");
    }
    return;
  }
}

// One sector of a read. False: the read is wrong, and that is told, unless `value` is nothing.
bool DeviceModel::check_seen(OpId id, std::uint32_t at, Seen value,
                             std::map<std::uint64_t, SectorHistory>::iterator& hint) {
  const Op& op = ops_[id];
  const std::uint64_t sector = op.first + at;
  ++checked_;
  if (!value) return false;
  const auto verdict = history(sector, hint).read(*value, op.invoked, tick_);
  if (verdict == SectorHistory::Verdict::ok) return true;
  const bool durability = verdict == SectorHistory::Verdict::lost_durable;
  std::string what = std::string(to_string(verdict)) + "; it returned " +
                     (*value == 0 ? "zeros" : "the data of operation " + std::to_string(*value));
  if (*value != 0)
    what += " (" + describe(ops_[*value].kind) + " begun at event " + std::to_string(ops_[*value].invoked) + ")";
  what += describe_lost(id, sector, durability);
  fail(durability ? Violation::Class::durability : Violation::Class::safety, id, sector, what);
  return false;
}

// The write that this read should have seen, or a later one: of those that were acknowledged before it began, the last;
// of those that had to survive a loss of power, if `durable`. 0: there is none.
OpId DeviceModel::lost_write(OpId read, std::uint64_t sector, bool durable) const {
  OpId last = 0;
  for (OpId id = 1; id < ops_.size(); ++id) {
    const Op& op = ops_[id];
    if (op.kind != Kind::write && op.kind != Kind::zeros) continue;
    if (sector < op.first || sector - op.first >= op.count) continue;
    if (op.ended == 0 || op.ended > ops_[read].invoked || op.ended < ops_[last].ended) continue;
    if (durable && (op.ended > power_tick_ || (!op.fua && covering_flush(id) == 0))) continue;
    last = id;
  }
  return last;
}

// The first flush that began after the write was acknowledged, and was answered, before power was lost again; 0: there
// is none.
OpId DeviceModel::covering_flush(OpId write) const {
  for (OpId id = write + 1; id < ops_.size(); ++id)
    if (ops_[id].kind == Kind::flush && ops_[id].invoked > ops_[write].ended && ops_[id].ended != 0 &&
        ops_[id].losses == ops_[write].losses)
      return id;
  return 0;
}

// Walks all operations: only a failure is described.
std::string DeviceModel::describe_lost(OpId read, std::uint64_t sector, bool durable) const {
  const OpId lost = lost_write(read, sector, durable);
  if (lost == 0) return "";
  const auto events = [&](OpId id) {
    return " (begun at event " + std::to_string(ops_[id].invoked) + ", answered at " + std::to_string(ops_[id].ended) +
           ")";
  };
  std::string text =
      "; acknowledged last before it was " + describe(ops_[lost].kind) + " " + std::to_string(lost) + events(lost);
  if (ops_[lost].fua) return text + ", with FUA";
  const OpId flush = covering_flush(lost);
  return text + (flush == 0 ? ", flushed by nobody" : ", covered by flush " + std::to_string(flush) + events(flush));
}

std::string DeviceModel::describe_data(OpId id, std::span<const std::byte> data) const {
  std::string text;
  std::optional<OpId> last;
  std::uint32_t run = 0;
  const auto put = [&] {
    if (run > 0)
      text +=
          (text.empty() ? "" : ", ") + (last ? std::to_string(*last) : std::string("junk")) + "x" + std::to_string(run);
  };
  for (std::uint32_t i = 0; i < data.size() / sector_bytes; ++i) {
    const auto value = decode(ops_[id].first + i, data.data() + i * sector_bytes);
    if (run > 0 && value != last) {
      put();
      run = 0;
    }
    last = value;
    ++run;
  }
  put();
  return text;
}

void DeviceModel::unknown(OpId id) {
  SD_ASSERT(ops_[id].state == State::open, "an operation ends once");
  ops_[id].state = State::unknown;
}

void DeviceModel::fence(OpId id) {
  const Op& op = ops_[id];
  if (op.state == State::done) return;
  ++tick_;
  fence_sectors(op, id);
}

void DeviceModel::fence_sectors(const Op& op, OpId id) {
  if (op.kind != Kind::write && op.kind != Kind::zeros) return;
  auto hint = sectors_.lower_bound(op.first);
  for (std::uint32_t i = 0; i < op.count; ++i) history(op.first + i, hint).fence(id, tick_);
}

void DeviceModel::lose_power(bool all) {
  power_tick_ = ++tick_;
  ++losses_;
  for (auto& [number, sector] : sectors_) sector.lose_power(power_tick_, flushed_before_, all);
  flushed_before_ = 0;
}

std::uint64_t DeviceModel::inconclusive() const {
  std::uint64_t sum = 0;
  for (const auto& [number, sector] : sectors_) sum += sector.inconclusive();
  return sum;
}

void DeviceModel::fail(Violation::Class kind, OpId id, std::uint64_t sector, const std::string& what) {
  if (violation_) return;
  const Op& op = ops_[id];
  violation_ = Violation{kind, "volume " + std::to_string(volume_) + " sector " + std::to_string(sector) +
                                   ": operation " + std::to_string(id) + " (" + describe(op.kind) + " of sectors " +
                                   std::to_string(op.first) + "+" + std::to_string(op.count) + ", begun at event " +
                                   std::to_string(op.invoked) + ", ended at " + std::to_string(tick_) + "): " + what};
}

}  // namespace sd::sim
