#include "sim/data_guests.hpp"

#include "core/base/limits.hpp"
#include "core/base/payload.hpp"
#include "core/volume/check.hpp"

namespace sd::sim {

namespace {

constexpr std::uint32_t sector = limits::sector_size;
constexpr std::uint32_t sectors_per_object = limits::object_size / sector;
constexpr std::uint32_t sectors_per_chunk = limits::chunk_size / sector;

std::string_view name_of(IoRequest::Kind kind) {
  constexpr std::string_view names[] = {"read", "write", "zero", "flush", "map", "check"};
  return names[static_cast<std::size_t>(kind)];
}

}  // namespace

DataGuests::DataGuests(Vid vid, std::uint64_t seed, std::vector<std::uint32_t> objects, std::uint64_t disk_objects,
                       bool ends, const Excuses& excuses, BufferPool& pool)
    : vid_(vid),
      random_(seed),
      objects_(std::move(objects)),
      disk_objects_(disk_objects),
      ends_(ends),
      excuses_(excuses),
      pool_(pool),
      model_(vid, disk_objects * sectors_per_object) {}

// The first blocks, one of another chunk, the last one.
std::vector<DataGuests::Area> DataGuests::areas_of(std::uint32_t object) const {
  const std::uint64_t start = std::uint64_t{object} * sectors_per_object;
  std::vector<Area> areas{{start, 16}, {start + sectors_per_chunk, 8}};
  if (ends_) areas.push_back({start + sectors_per_object - 8, 8});
  return areas;
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> DataGuests::used_ranges() const {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
  for (const Area& area : areas_of(0)) ranges.emplace_back(area.first * sector, area.count * sector);
  return ranges;
}

// Part of an area, or of the last block of an object and the first of the next.
DataGuests::Area DataGuests::some_area() {
  // One area more often than others, so that requests meet.
  const bool hot = random_.below(2) == 0;
  const std::uint32_t object = hot ? objects_.front() : objects_[random_.below(objects_.size())];
  const auto areas = areas_of(object);
  Area area = hot ? areas.front() : areas[random_.below(areas.size())];
  if (ends_ && random_.below(4) == 0 && object + 1 < disk_objects_) area = {areas.back().first, 16};
  if (random_.below(3) != 0) {
    const auto skip = static_cast<std::uint32_t>(random_.below(area.count));
    area.first += skip;
    area.count = 1 + static_cast<std::uint32_t>(random_.below(area.count - skip));
  }
  return area;
}

DataGuests::Asked DataGuests::ask(NodeId gateway) {
  const auto what = random_.below(100);
  const bool fua = random_.below(6) == 0;
  if (what < 35) return begin(gateway, IoRequest::Kind::write, some_area(), fua);
  if (what < 45) return begin(gateway, IoRequest::Kind::zero, some_area(), fua);
  if (what < 82) return begin(gateway, IoRequest::Kind::read, some_area(), false);
  if (what < 91) return ask_flush(gateway);
  if (what < 99) return begin_map(gateway);
  return begin_check(gateway);
}

DataGuests::Asked DataGuests::ask_flush(NodeId gateway) { return begin(gateway, IoRequest::Kind::flush, {}, false); }

std::vector<DataGuests::Asked> DataGuests::ask_all(NodeId gateway) {
  std::vector<Asked> all;
  for (const std::uint32_t object : objects_)
    for (const Area& area : areas_of(object)) all.push_back(begin(gateway, IoRequest::Kind::read, area, false));
  return all;
}

DataGuests::Asked DataGuests::begin(NodeId gateway, IoRequest::Kind kind, Area area, bool fua) {
  constexpr DeviceModel::Kind kinds[] = {DeviceModel::Kind::read, DeviceModel::Kind::write, DeviceModel::Kind::zeros,
                                         DeviceModel::Kind::flush};
  Asked asked;
  IoRequest& request = asked.request;
  request.kind = kind;
  request.vid = vid_;
  request.offset = area.first * sector;
  request.length = std::uint64_t{area.count} * sector;
  request.fua = fua;
  request.keep_allocated = kind == IoRequest::Kind::zero && random_.below(3) == 0;
  const OpId op = model_.begin(kinds[static_cast<std::size_t>(kind)], area.first, area.count, fua);
  if (kind == IoRequest::Kind::write) {
    Slice bytes = pool_.allocate(request.length);
    model_.fill(op, {bytes.mutable_data(), bytes.size()});
    request.payload.push_back(std::move(bytes));
  }
  asked.ticket = ++last_ticket_;
  asked.text = std::string(name_of(kind)) + (fua ? " fua" : "") + " op " + std::to_string(op) + " of sectors " +
               std::to_string(area.first) + "+" + std::to_string(area.count) + " at " + std::to_string(gateway);
  pending_.emplace(asked.ticket, Pending{gateway, kind, {op}, {}, asked.text});
  return asked;
}

DataGuests::Asked DataGuests::begin_map(NodeId gateway) {
  Asked asked;
  const std::size_t from = random_.below(objects_.size());
  const std::size_t to = from + random_.below(objects_.size() - from);
  const std::uint64_t first = objects_[from], last = objects_[to];
  asked.request.kind = IoRequest::Kind::map;
  asked.request.vid = vid_;
  asked.request.offset = first * limits::object_size;
  asked.request.length = last - first + 1;
  asked.ticket = ++last_ticket_;
  asked.text =
      "map of objects " + std::to_string(first) + " to " + std::to_string(last) + " at " + std::to_string(gateway);
  Pending pending{gateway, IoRequest::Kind::map, {}, {}, asked.text};
  for (std::size_t i = from; i <= to; ++i)
    for (const Area& area : areas_of(objects_[i])) {
      pending.ops.push_back(model_.begin(DeviceModel::Kind::read, area.first, area.count, false));
      pending.bits.emplace_back(static_cast<std::uint32_t>(objects_[i] - first), area.count);
    }
  pending_.emplace(asked.ticket, std::move(pending));
  return asked;
}

DataGuests::Asked DataGuests::begin_check(NodeId gateway) {
  Asked asked;
  asked.request.kind = IoRequest::Kind::check;
  asked.request.vid = vid_;
  asked.request.length = disk_objects_;
  asked.ticket = ++last_ticket_;
  asked.text = "check at " + std::to_string(gateway);
  pending_.emplace(asked.ticket, Pending{gateway, IoRequest::Kind::check, {}, {}, asked.text});
  return asked;
}

std::string DataGuests::answer(const IoDone& done, bool waited) {
  const auto at = pending_.find(done.ticket);
  if (at == pending_.end()) return {};  // its guest has hung up
  const Pending pending = std::move(at->second);
  pending_.erase(at);
  if (done.status != Status::ok) {
    ++refusals_;
    for (const OpId op : pending.ops) model_.unknown(op);
    return judge_error(pending, done.status, waited);
  }
  ++answers_;
  if (pending.kind == IoRequest::Kind::check) return judge_check(done);
  end(pending, done);
  return model_.violation() ? model_.violation()->what : std::string();
}

void DataGuests::end(const Pending& pending, const IoDone& done) {
  const Slice data = joined(done.payload, pool_);
  if (pending.kind != IoRequest::Kind::map) {
    model_.end(pending.ops.front(), data.bytes());
    return;
  }
  for (std::size_t i = 0; i < pending.ops.size(); ++i) {
    const auto [bit, count] = pending.bits[i];
    const bool exists = bit / 8 < data.size() && (data.data()[bit / 8] >> (bit % 8) & std::byte{1}) != std::byte{0};
    model_.end_status(pending.ops[i], std::vector<bool>(exists ? 0 : count, true));
  }
}

std::string DataGuests::judge_error(const Pending& pending, Status status, bool waited) {
  const bool excused = (status == Status::no_space && excuses_.no_room) ||
                       (status == Status::io_error && (excuses_.lost_blocks || excuses_.forgotten || waited));
  return excused ? "" : pending.text + " was answered with an error without a cause: " + std::string(to_string(status));
}

std::string DataGuests::judge_check(const IoDone& done) const {
  const auto answer = decode_check_answer(joined(done.payload, pool_).text());
  if (!answer) return "a check with an answer that is none";
  if ((answer->counts.damaged > 0 || answer->counts.lost > 0) && !excuses_.damage)
    return "a check counts damaged blocks where none is";
  return {};
}

void DataGuests::gateway_died(NodeId gateway) {
  for (auto at = pending_.begin(); at != pending_.end();) {
    if (at->second.gateway != gateway) {
      ++at;
      continue;
    }
    for (const OpId op : at->second.ops) model_.unknown(op);
    at = pending_.erase(at);
  }
}

std::uint64_t DataGuests::hang_up(NodeId gateway) {
  for (auto at = pending_.begin(); at != pending_.end(); ++at) {
    if (at->second.gateway != gateway) continue;
    for (const OpId op : at->second.ops) model_.unknown(op);
    const std::uint64_t ticket = at->first;
    pending_.erase(at);
    return ticket;
  }
  return 0;
}

std::string DataGuests::waiting_text() const {
  std::string text;
  for (const auto& [ticket, pending] : pending_) text += (text.empty() ? "" : "; ") + pending.text;
  return text;
}

}  // namespace sd::sim
