#include "sim/recorded_history.hpp"

#include <charconv>
#include <vector>

namespace sd::sim {

namespace {

constexpr std::uint64_t most_sectors = 1ull << 35;   // 16 TB, more than any disk has
constexpr std::uint32_t most_in_request = 1u << 16;  // 32 MB, the largest request of NBD
constexpr std::uint64_t most_operations = 1ull << 30;

std::string_view next_word(std::string_view& rest) {
  const std::size_t space = rest.find(' ');
  const std::string_view word = rest.substr(0, space);
  rest = space == std::string_view::npos ? std::string_view{} : rest.substr(space + 1);
  return word;
}

bool number(std::string_view word, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc{} && end == word.data() + word.size();
}

std::optional<DeviceModel::Kind> kind_of(std::string_view word) {
  using Kind = DeviceModel::Kind;
  if (word == "read") return Kind::read;
  if (word == "write" || word == "fua") return Kind::write;
  if (word == "zero" || word == "trim") return Kind::zeros;
  if (word == "flush") return Kind::flush;
  return std::nullopt;
}

}  // namespace

bool RecordedHistory::refuse(const std::string& why) {
  malformed_ = "line " + std::to_string(line_) + ": " + why;
  return false;
}

bool RecordedHistory::time(std::string_view word) {
  std::uint64_t at = 0;
  if (!number(word, at)) return refuse("a time is a number");
  if (at < now_) return refuse("time goes back");
  now_ = at;
  return true;
}

bool RecordedHistory::line(std::string_view text) {
  if (malformed_ || violation_) return false;
  ++line_;
  if (text.empty() || text.front() == '#') return true;
  const std::string_view what = next_word(text);
  if (what == "v") return disk(text);
  if (!time(next_word(text))) return false;
  if (what == "b") return begin(text);
  if (what == "e") return end(text);
  if (what == "p") return power();
  return refuse("unknown event '" + std::string(what) + "'");
}

bool RecordedHistory::read(std::istream& in) {
  for (std::string text; std::getline(in, text);)
    if (!line(text)) return false;
  return true;
}

bool RecordedHistory::disk(std::string_view rest) {
  std::uint64_t volume = 0;
  std::uint64_t sectors = 0;
  if (!number(next_word(rest), volume) || volume > UINT32_MAX || !number(next_word(rest), sectors) ||
      sectors > most_sectors)
    return refuse("a disk is a number and its sectors");
  Disk& disk = disks_[volume];
  if (disk.model) return refuse("disk " + std::to_string(volume) + " again");
  disk.model = std::make_unique<DeviceModel>(static_cast<std::uint32_t>(volume), sectors);
  return true;
}

bool RecordedHistory::begin(std::string_view rest) {
  std::uint64_t volume = 0;
  std::uint64_t name = 0;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  if (!number(next_word(rest), volume) || !number(next_word(rest), name))
    return refuse("a disk and an operation are numbers");
  const std::string_view kind_word = next_word(rest);
  const auto kind = kind_of(kind_word);
  if (!kind) return refuse("unknown kind of operation '" + std::string(kind_word) + "'");
  if (!number(next_word(rest), first) || !number(next_word(rest), count))
    return refuse("a place is a sector and how many");
  const auto at = disks_.find(volume);
  if (at == disks_.end()) return refuse("unknown disk " + std::to_string(volume));
  Disk& disk = at->second;
  const std::uint64_t sectors = disk.model->sectors();
  if (count > most_in_request || first > sectors || count > sectors - first ||
      (count == 0) != (*kind == DeviceModel::Kind::flush))
    return refuse("a place outside the disk");
  if (name == 0 || disk.names.contains(name)) return refuse("operation " + std::to_string(name) + " begins again");
  if (++operations_ > most_operations) return refuse("too many operations");
  reads_ += *kind == DeviceModel::Kind::read;
  disk.names[name] = disk.model->begin(*kind, first, static_cast<std::uint32_t>(count), kind_word == "fua");
  std::string place = std::string(kind_word) + " of " + std::to_string(first) + "+" + std::to_string(count);
  if (!rest.empty()) place += " by " + std::string(rest);
  disk.open[name] = {*kind, static_cast<std::uint32_t>(count), std::move(place)};
  return true;
}

bool RecordedHistory::end(std::string_view rest) {
  std::uint64_t volume = 0;
  std::uint64_t name = 0;
  if (!number(next_word(rest), volume) || !number(next_word(rest), name))
    return refuse("a disk and an operation are numbers");
  const auto at = disks_.find(volume);
  if (at == disks_.end()) return refuse("unknown disk " + std::to_string(volume));
  Disk& disk = at->second;
  const auto open = disk.open.find(name);
  if (open == disk.open.end()) return refuse("operation " + std::to_string(name) + " ends, which is not under way");
  const std::string_view outcome = next_word(rest);
  const OpId op = disk.names.at(name);
  if (outcome == "ok") {
    if (open->second.kind != DeviceModel::Kind::read)
      disk.model->end(op);
    else if (!end_read(disk, name, rest))
      return false;
  } else if (outcome == "error") {
    ++errors_;
    disk.model->unknown(op);
  } else if (outcome == "unknown") {
    ++unknown_;
    disk.model->unknown(op);
  } else {
    return refuse("unknown outcome '" + std::string(outcome) + "'");
  }
  if (disk.model->violation()) {
    violation_ = *disk.model->violation();
    violation_->what += " [line " + std::to_string(line_) + ": operation " + std::to_string(name) +
                        " of the history, " + open->second.text + "]";
    return false;
  }
  disk.open.erase(open);
  return true;
}

bool RecordedHistory::end_read(Disk& disk, std::uint64_t name, std::string_view seen) {
  const std::uint32_t count = disk.open.at(name).count;
  std::vector<DeviceModel::Seen> values;
  while (!seen.empty()) {
    const std::size_t comma = seen.find(',');
    const std::string_view run = seen.substr(0, comma);
    seen = comma == std::string_view::npos ? std::string_view{} : seen.substr(comma + 1);
    const std::size_t x = run.find('x');
    std::uint64_t length = 0;
    if (x == std::string_view::npos || !number(run.substr(x + 1), length) || length == 0 ||
        length > count - values.size())
      return refuse("what a read saw is runs of sectors, in all as many as it asked for");
    DeviceModel::Seen value;  // a name that never began is junk: nobody wrote that
    std::uint64_t writer = 0;
    if (run.substr(0, x) != "?") {
      if (!number(run.substr(0, x), writer)) return refuse("what a sector held is an operation, 0 or ?");
      const auto known = disk.names.find(writer);
      if (writer == 0)
        value = 0;
      else if (known != disk.names.end())
        value = known->second;
    }
    values.insert(values.end(), length, value);
  }
  if (values.size() != count) return refuse("what a read saw is runs of sectors, in all as many as it asked for");
  disk.model->end_read(disk.names.at(name), values);
  return true;
}

bool RecordedHistory::power() {
  ++power_losses_;
  for (auto& [volume, disk] : disks_) disk.model->power_lost();
  return true;
}

std::string RecordedHistory::summary() const {
  std::uint64_t sectors = 0;
  std::uint64_t undecided = 0;
  std::uint64_t open = 0;
  for (const auto& [volume, disk] : disks_) {
    sectors += disk.model->checked_sectors();
    undecided += disk.model->inconclusive();
    open += disk.open.size();
  }
  std::string text = std::to_string(disks_.size()) + " disks, " + std::to_string(operations_) + " operations (" +
                     std::to_string(reads_) + " reads of " + std::to_string(sectors) + " sectors, " +
                     std::to_string(errors_) + " errors, " + std::to_string(unknown_ + open) + " unanswered), " +
                     std::to_string(power_losses_) + " losses of power";
  if (undecided > 0) text += ", " + std::to_string(undecided) + " sectors undecided";
  return text;
}

}  // namespace sd::sim
