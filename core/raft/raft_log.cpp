#include "core/raft/raft_log.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/base/assert.hpp"
#include "core/base/codec.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"

namespace sd::raft {
namespace {

constexpr std::uint64_t magic = 0x3130474f4c444853ull;  // "SHDLOG01"
constexpr std::size_t page = limits::block_size;
constexpr std::size_t header_size = 8 + 8 + 8 + 4 + 4 + 4;
constexpr std::uint32_t read_size = 1u << 20;
constexpr std::size_t max_frame = 1u << 30;  // a snapshot and the entries behind it
// a file may grow by this much, or to twice its first frame, before it is rewritten
constexpr std::uint64_t rewrite_slack = 16u << 20;
constexpr Time retry_interval = seconds(1);  // between attempts to write to a full disk
static_assert(header_size <= limits::sector_size, "a header must not be torn");
static_assert(max_frame > 2 * max_snapshot);

enum class Record : std::uint8_t { group = 1, hard_state, entry, truncate, snapshot };

constexpr std::uint64_t round_up(std::uint64_t n) { return (n + page - 1) / page * page; }

struct Header {
  std::uint64_t file_number = 0;
  std::uint64_t sequence = 0;
  std::uint32_t size = 0;  // of the body
  std::uint32_t body_crc = 0;
};

void put_header(const Header& h, std::string& out) {
  Writer w(out);
  w.u64(magic);
  w.u64(h.file_number);
  w.u64(h.sequence);
  w.u32(h.size);
  w.u32(h.body_crc);
  w.u32(crc32c(out.data(), out.size()));
}

std::optional<Header> header_at(std::string_view bytes, std::size_t at) {
  if (bytes.size() - at < header_size) return std::nullopt;
  Reader r(bytes.substr(at, header_size));
  if (r.u64() != magic) return std::nullopt;
  Header h;
  h.file_number = r.u64();
  h.sequence = r.u64();
  h.size = r.u32();
  h.body_crc = r.u32();
  if (r.u32() != crc32c(bytes.data() + at, header_size - 4) || h.size > max_frame) return std::nullopt;
  return h;
}

bool all_zero(std::string_view bytes) { return bytes.find_first_not_of('\0') == std::string_view::npos; }

// Whether a lost write can be the reason that [at, at + size) is bad: some sector of it is still as it was before,
// zeros or absent.
bool has_lost_sector(std::string_view bytes, std::size_t at, std::size_t size) {
  for (std::size_t s = at; s < at + size; s += limits::sector_size) {
    if (s >= bytes.size() || all_zero(bytes.substr(s, std::min<std::size_t>(limits::sector_size, at + size - s))))
      return true;
  }
  return false;
}

bool apply(std::string_view body, StoredState& state) {
  Reader in(body);
  while (in.remaining() > 0) {
    switch (static_cast<Record>(in.u8())) {
      case Record::group: state.group = in.u64(); break;
      case Record::hard_state:
        state.term = in.u64();
        state.vote = in.u64();
        break;
      case Record::entry: {
        Entry e;
        e.term = in.u64();
        e.index = in.u64();
        const auto kind = in.u8();
        if (kind > static_cast<std::uint8_t>(Entry::Kind::config)) return false;
        e.kind = static_cast<Entry::Kind>(kind);
        e.data = in.string(max_entry_data);
        if (in.failed() || e.index != state.snapshot.index + state.entries.size() + 1) return false;
        if (e.kind == Entry::Kind::config && !config_from(e.data)) return false;
        state.entries.push_back(std::move(e));
        break;
      }
      case Record::truncate: {
        const Index from = in.u64();
        if (in.failed() || from <= state.snapshot.index || from > state.snapshot.index + state.entries.size())
          return false;
        state.entries.resize(from - state.snapshot.index - 1);
        break;
      }
      case Record::snapshot: {
        state.snapshot.index = in.u64();
        state.snapshot.term = in.u64();
        auto config = decode_config(in);
        state.snapshot.data = in.string(max_snapshot);
        if (!config) return false;
        state.snapshot.config = std::move(*config);
        state.entries.clear();
        break;
      }
      default: return false;
    }
    if (in.failed()) return false;
  }
  return true;
}

void put_entry(const Entry& e, std::string& out) {
  Writer w(out);
  w.u8(static_cast<std::uint8_t>(Record::entry));
  w.u64(e.term);
  w.u64(e.index);
  w.u8(static_cast<std::uint8_t>(e.kind));
  w.string(e.data);
}

void put_group(std::uint64_t group, std::string& out) {
  Writer w(out);
  w.u8(static_cast<std::uint8_t>(Record::group));
  w.u64(group);
}

void put_hard_state(Term term, NodeId vote, std::string& out) {
  Writer w(out);
  w.u8(static_cast<std::uint8_t>(Record::hard_state));
  w.u64(term);
  w.u64(vote);
}

FileId file_id(std::size_t id) { return {FileKind::raft, 0, id}; }

}  // namespace

// What one file holds.
struct RaftLog::Parsed {
  bool complete = false;  // the first frame is good: the state counts
  bool damaged = false;   // beyond what a lost write explains
  bool numbered = false;
  std::uint64_t number = 0;
  StoredState state;
  std::uint64_t frames = 0;
  std::uint64_t end = 0;
  std::uint64_t first_frame = 0;

  explicit Parsed(std::string_view bytes) {
    while (end < bytes.size()) {
      const auto header = header_at(bytes, end);
      const bool expected = header && header->sequence == frames && (frames == 0 || header->file_number == number);
      if (!expected) {
        damaged = !all_zero(bytes.substr(end, limits::sector_size));
        break;
      }
      number = header->file_number;
      numbered = true;
      const std::uint64_t size = header_size + header->size;
      const std::string_view body =
          bytes.substr(end).substr(std::min<std::size_t>(header_size, bytes.size() - end), header->size);
      if (body.size() != header->size || crc32c(body.data(), body.size()) != header->body_crc) {
        damaged = !has_lost_sector(bytes, end, size);
        break;
      }
      if (!apply(body, state)) {
        damaged = true;
        break;
      }
      end += round_up(size);
      if (frames++ == 0) first_frame = end;
    }
    complete = frames > 0;
    // A frame is written only after the one before was synced: a later one proves that this one was whole.
    for (std::uint64_t at = end + page; at < bytes.size() && !damaged; at += page) {
      const auto header = header_at(bytes, at);
      damaged = header && (!numbered || header->file_number == number) && header->sequence > frames;
    }
  }
};

void RaftLog::fail(std::string reason) {
  phase_ = Phase::failed;
  reason_ = std::move(reason);
  stage_ = Stage::idle;
  frame_ = {};
  pending_.clear();
  rewrite_.clear();
  retry_at_ = never;
}

void RaftLog::open(std::vector<DiskOp>& ops) {
  SD_ASSERT(phase_ == Phase::closed, "a log is opened once");
  phase_ = Phase::reading;
  for (std::size_t i = 0; i < 2; ++i) read_more(i, ops);
}

void RaftLog::read_more(std::size_t file, std::vector<DiskOp>& ops) {
  read_tag_[file] = new_tag();
  ops.push_back({.kind = DiskOp::Kind::read,
                 .file = file_id(file),
                 .tag = read_tag_[file],
                 .offset = bytes_[file].size(),
                 .length = read_size,
                 .slices = {}});
}

void RaftLog::on_read(std::size_t file, DiskDone&& done, std::vector<DiskOp>& ops) {
  read_tag_[file] = 0;
  if (done.status == Status::ok) {
    exists_[file] = true;
    bytes_[file].append(done.data.text());
    if (done.data.size() == read_size) {
      if (bytes_[file].size() > 2 * max_frame) return fail("raft log: file too large");
      return read_more(file, ops);
    }
  } else if (done.status != Status::not_found) {
    return fail("raft log: the disk failed to read file " + std::to_string(file));
  }
  if (read_tag_[0] == 0 && read_tag_[1] == 0) choose(ops);
}

void RaftLog::choose(std::vector<DiskOp>& ops) {
  std::array<Parsed, 2> files{Parsed(bytes_[0]), Parsed(bytes_[1])};
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < 2; ++i) {
    if (files[i].complete && (!best || files[i].number > files[*best].number)) best = i;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    // A damaged file matters if it may be newer than the one that would be used.
    const bool may_be_newer = !best || i == *best || !files[i].numbered || files[i].number > files[*best].number;
    if (files[i].damaged && may_be_newer)
      return fail("raft log: file " + std::to_string(i) + " is damaged at byte " + std::to_string(files[i].end));
  }
  if (!best) {
    for (const Parsed& f : files) {
      if (f.numbered && f.number > 1) return fail("raft log: only an unfinished file is left");
    }
  }

  // What a process wrote before it died may not be durable yet: sync it before anything relies on it.
  phase_ = Phase::cleaning;
  for (std::size_t i = 0; i < 2; ++i) {
    if (best && i == *best) {
      Parsed& f = files[i];
      if (bytes_[i].size() > f.end)
        cleaning_.push_back(
            {.kind = DiskOp::Kind::truncate, .file = file_id(i), .tag = 0, .offset = f.end, .length = 0, .slices = {}});
      cleaning_.push_back(
          {.kind = DiskOp::Kind::sync, .file = file_id(i), .tag = 0, .offset = 0, .length = 0, .slices = {}});
      has_file_ = true;
      file_ = static_cast<std::uint8_t>(i);
      file_number_ = f.number;
      sequence_ = f.frames;
      end_ = f.end;
      first_frame_ = f.first_frame;
      state_ = std::move(f.state);
    }
  }
  for (std::size_t i = 0; i < 2; ++i) {
    if (exists_[i] && !(best && i == *best))
      cleaning_.push_back(
          {.kind = DiskOp::Kind::remove, .file = file_id(i), .tag = 0, .offset = 0, .length = 0, .slices = {}});
  }
  if (exists_[0] || exists_[1])
    cleaning_.push_back(
        {.kind = DiskOp::Kind::sync_directory, .file = file_id(0), .tag = 0, .offset = 0, .length = 0, .slices = {}});
  for (auto& b : bytes_) std::string().swap(b);
  clean_next(ops);
}

void RaftLog::clean_next(std::vector<DiskOp>& ops) {
  if (cleaning_.empty()) {
    phase_ = Phase::running;
    return;
  }
  cleaning_.front().tag = stage_tag_ = new_tag();
  ops.push_back(std::move(cleaning_.front()));
  cleaning_.pop_front();
}

StoredState RaftLog::take() { return std::exchange(state_, {}); }

std::uint64_t RaftLog::durable() const { return SD_BUG(raft_skip_persist) ? last_ticket_ : durable_; }

void RaftLog::record(std::string_view bytes) {
  if (phase_ == Phase::failed) return;
  if (pending_ticket_ == 0) pending_ticket_ = ++last_ticket_;
  pending_.append(bytes);
}

void RaftLog::set_group(std::uint64_t group) {
  std::string bytes;
  put_group(group, bytes);
  record(bytes);
}

void RaftLog::set_hard_state(Term term, NodeId vote) {
  std::string bytes;
  put_hard_state(term, vote, bytes);
  record(bytes);
}

void RaftLog::append(const Entry& entry) {
  if (phase_ == Phase::failed) return;
  record({});
  put_entry(entry, pending_);
}

void RaftLog::truncate(Index from) {
  std::string bytes;
  Writer w(bytes);
  w.u8(static_cast<std::uint8_t>(Record::truncate));
  w.u64(from);
  record(bytes);
}

void RaftLog::rewrite(std::uint64_t group, Term term, NodeId vote, const Snapshot& snapshot,
                      const std::deque<Entry>& entries) {
  if (phase_ == Phase::failed) return;
  rewrite_.clear();
  put_group(group, rewrite_);
  put_hard_state(term, vote, rewrite_);
  if (snapshot.index > 0) {
    Writer w(rewrite_);
    w.u8(static_cast<std::uint8_t>(Record::snapshot));
    w.u64(snapshot.index);
    w.u64(snapshot.term);
    encode(snapshot.config, w);
    w.string(snapshot.data);
  }
  for (const Entry& e : entries) put_entry(e, rewrite_);
  rewrite_ticket_ = ++last_ticket_;
  pending_.clear();
  pending_ticket_ = 0;
}

bool RaftLog::wants_rewrite() const {
  return has_file_ && rewrite_ticket_ == 0 && !new_file_ &&
         end_ > std::max(2 * first_frame_, first_frame_ + rewrite_slack);
}

void RaftLog::submit(std::vector<DiskOp>& ops) {
  if (phase_ != Phase::running || stage_ != Stage::idle) return;
  if (rewrite_ticket_ != 0) {
    if (cleanup_tag_ != 0) return;
    frame_ticket_ = std::exchange(rewrite_ticket_, 0);
    const std::string body = std::exchange(rewrite_, {});
    start(body, true, ops);
  } else if (pending_ticket_ != 0) {
    frame_ticket_ = std::exchange(pending_ticket_, 0);
    start(pending_, !has_file_, ops);
    pending_.clear();
  }
}

void RaftLog::start(std::string_view body, bool new_file, std::vector<DiskOp>& ops) {
  SD_ASSERT(body.size() <= max_frame, "a frame of the raft log is within its limit");
  new_file_ = new_file;
  const Header h{.file_number = new_file ? file_number_ + 1 : file_number_,
                 .sequence = new_file ? 0 : sequence_,
                 .size = static_cast<std::uint32_t>(body.size()),
                 .body_crc = crc32c(body.data(), body.size())};
  std::string header;
  put_header(h, header);
  const std::size_t size = round_up(header.size() + body.size());
  frame_ = pool_.allocate(size);
  std::byte* at = frame_.mutable_data();
  std::memcpy(at, header.data(), header.size());
  std::memcpy(at + header.size(), body.data(), body.size());
  std::memset(at + header.size() + body.size(), 0, size - header.size() - body.size());
  write_frame(ops);
}

void RaftLog::write_frame(std::vector<DiskOp>& ops) {
  stage_ = Stage::writing;
  stage_tag_ = new_tag();
  const std::size_t file = new_file_ ? (has_file_ ? 1u - file_ : 0u) : file_;
  ops.push_back({.kind = DiskOp::Kind::write,
                 .file = file_id(file),
                 .tag = stage_tag_,
                 .offset = new_file_ ? 0 : end_,
                 .length = static_cast<std::uint32_t>(frame_.size()),
                 .slices = {frame_}});
}

void RaftLog::on_disk(Time now, DiskDone&& done, std::vector<DiskOp>& ops) {
  if (phase_ == Phase::reading) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (read_tag_[i] != 0 && done.tag == read_tag_[i]) return on_read(i, std::move(done), ops);
    }
  } else if (phase_ == Phase::cleaning && done.tag == stage_tag_) {
    stage_tag_ = 0;
    if (done.status != Status::ok && done.status != Status::not_found)
      return fail("raft log: the disk failed while the log was opened");
    clean_next(ops);
  } else if (phase_ == Phase::running) {
    if (stage_ != Stage::idle && done.tag == stage_tag_)
      on_stage(now, done, ops);
    else if (cleanup_tag_ != 0 && done.tag == cleanup_tag_)
      on_cleanup(done, ops);
  }
}

void RaftLog::on_stage(Time now, const DiskDone& done, std::vector<DiskOp>& ops) {
  stage_tag_ = 0;
  if (done.status == Status::no_space) {
    // Nothing was promised: the same bytes are written to the same place once there is room.
    retry_at_ = now + retry_interval;
    return;
  }
  // After a failed sync nobody knows what the disk holds, so a second try would prove nothing.
  if (done.status != Status::ok) return fail("raft log: the disk failed to write");
  const FileId file = file_id(new_file_ ? (has_file_ ? 1u - file_ : 0u) : file_);
  const auto next = [&](Stage stage, DiskOp::Kind kind) {
    stage_ = stage;
    stage_tag_ = new_tag();
    ops.push_back({.kind = kind, .file = file, .tag = stage_tag_, .offset = 0, .length = 0, .slices = {}});
  };
  switch (stage_) {
    case Stage::writing: return next(Stage::syncing, DiskOp::Kind::sync);
    case Stage::syncing:
      if (new_file_) return next(Stage::syncing_directory, DiskOp::Kind::sync_directory);
      return frame_durable(ops);
    case Stage::syncing_directory: return frame_durable(ops);
    case Stage::idle: return;
  }
}

void RaftLog::frame_durable(std::vector<DiskOp>& ops) {
  stage_ = Stage::idle;
  durable_ = frame_ticket_;
  if (new_file_) {
    if (has_file_) {
      cleanup_tag_ = new_tag();
      ops.push_back({.kind = DiskOp::Kind::remove,
                     .file = file_id(file_),
                     .tag = cleanup_tag_,
                     .offset = 0,
                     .length = 0,
                     .slices = {}});
      file_ = static_cast<std::uint8_t>(1 - file_);
    }
    has_file_ = true;
    ++file_number_;
    sequence_ = 0;
    end_ = 0;
    first_frame_ = frame_.size();
    new_file_ = false;
  }
  ++sequence_;
  end_ += frame_.size();
  frame_ = {};
  submit(ops);
}

void RaftLog::on_cleanup(const DiskDone& done, std::vector<DiskOp>& ops) {
  cleanup_tag_ = 0;
  // A file that stayed would be written over next, and its old frames taken for damage.
  if (done.status != Status::ok) return fail("raft log: the disk failed to remove the old file");
  if (done.kind == DiskOp::Kind::remove) {
    cleanup_tag_ = new_tag();
    ops.push_back({.kind = DiskOp::Kind::sync_directory,
                   .file = file_id(0),
                   .tag = cleanup_tag_,
                   .offset = 0,
                   .length = 0,
                   .slices = {}});
    return;
  }
  submit(ops);
}

void RaftLog::tick(Time now, std::vector<DiskOp>& ops) {
  if (phase_ != Phase::running || now < retry_at_) return;
  retry_at_ = never;
  write_frame(ops);
}

}  // namespace sd::raft
