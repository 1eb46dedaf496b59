// The durable part of a Raft node: an append-only file of frames, replaced by a fresh one when it is compacted.
//
// Files `raft` 0 and 1 are used in turn. Each starts with a frame that holds the whole state and a file number that
// grows; later frames hold changes. A frame is what one write carries: all records that gathered while the write before
// was under way. It starts at a multiple of 4096 bytes, carries the file number and a running sequence number, and a
// CRC-32C of its header and one of its body. The next frame is written only after the one before was synced.
//
// - A new file counts once its first frame, and the directory, are synced. Only then is the old file removed.
// - At open the complete file with the highest number wins. What was not durable may be there or not; it was promised
//   to nobody. A torn tail is cut off, and the file synced, before anything is appended: so bytes behind the end are
//   always zeros or absent.
// - Sectors (512 bytes) are never mixed, so what a lost write leaves is whole sectors of zeros. A bad frame with no
//   such sector, a header sector that is neither valid nor zero, or a bad frame with a good one after it, is damage,
//   and the node must not run: it may have forgotten a vote. What cannot be told apart: damage that turned a whole
//   sector of the last frame to zeros.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/base/slice.hpp"
#include "core/disk/disk.hpp"
#include "core/raft/message.hpp"

namespace sd::raft {

inline constexpr std::uint64_t tag_space = 0x01ull << 56;  // the top byte of every tag of this machine

struct Snapshot {
  Index index = 0;  // the last entry it replaces; 0 is none
  Term term = 0;
  Config config;     // as of index
  std::string data;  // the state machine's
};

struct StoredState {
  std::uint64_t group = 0;
  Term term = 0;
  NodeId vote = 0;  // 0: none in this term
  Snapshot snapshot;
  std::deque<Entry> entries;  // consecutive from snapshot.index + 1
};

class RaftLog {
 public:
  explicit RaftLog(BufferPool& pool) : pool_(pool) {}

  void open(std::vector<DiskOp>& ops);
  bool ready() const { return phase_ == Phase::running; }
  // Damaged bytes, or a disk that refuses writes: nothing more will become durable. reason() says what and where.
  bool failed() const { return phase_ == Phase::failed; }
  const std::string& reason() const { return reason_; }
  // Once ready: what was stored; everything 0 if nothing was. Leaves the log's own copy empty.
  StoredState take();

  // Records gather until the write under way has finished; submit() starts the next one. Order is kept.
  void set_group(std::uint64_t group);
  void set_hard_state(Term term, NodeId vote);
  void append(const Entry& entry);
  void truncate(Index from);  // drops entries from this one on
  // Replaces the file. The state includes all records so far.
  void rewrite(std::uint64_t group, Term term, NodeId vote, const Snapshot& snapshot, const std::deque<Entry>& entries);
  // The file holds much more than the state: call rewrite.
  bool wants_rewrite() const;

  // Everything recorded so far is durable once durable() has reached the ticket() of now.
  std::uint64_t ticket() const { return last_ticket_; }
  std::uint64_t durable() const;
  std::size_t pending_bytes() const { return pending_.size() + rewrite_.size() + frame_.size(); }

  void submit(std::vector<DiskOp>& ops);
  void on_disk(Time now, DiskDone&& done, std::vector<DiskOp>& ops);
  // A full disk is tried again from time to time.
  void tick(Time now, std::vector<DiskOp>& ops);
  Time next_deadline() const { return retry_at_; }

 private:
  enum class Phase : std::uint8_t { closed, reading, cleaning, running, failed };
  enum class Stage : std::uint8_t { idle, writing, syncing, syncing_directory };
  struct Parsed;

  void fail(std::string reason);
  void record(std::string_view bytes);
  void read_more(std::size_t file, std::vector<DiskOp>& ops);
  void on_read(std::size_t file, DiskDone&& done, std::vector<DiskOp>& ops);
  void choose(std::vector<DiskOp>& ops);
  void clean_next(std::vector<DiskOp>& ops);
  void start(std::string_view body, bool new_file, std::vector<DiskOp>& ops);
  void write_frame(std::vector<DiskOp>& ops);
  void on_stage(Time now, const DiskDone& done, std::vector<DiskOp>& ops);
  void frame_durable(std::vector<DiskOp>& ops);
  void on_cleanup(const DiskDone& done, std::vector<DiskOp>& ops);
  std::uint64_t new_tag() { return tag_space | ++last_tag_; }

  BufferPool& pool_;
  Phase phase_ = Phase::closed;
  std::string reason_;
  std::uint64_t last_tag_ = 0;

  // Opening.
  std::array<std::string, 2> bytes_;
  std::array<std::uint64_t, 2> read_tag_{};  // 0: that file is read
  std::array<bool, 2> exists_{};
  std::deque<DiskOp> cleaning_;
  StoredState state_;

  // The file in use.
  bool has_file_ = false;
  std::uint8_t file_ = 0;  // id
  std::uint64_t file_number_ = 0;
  std::uint64_t sequence_ = 0;     // of the next frame
  std::uint64_t end_ = 0;          // offset of the next frame
  std::uint64_t first_frame_ = 0;  // size of the first

  // The frame under way.
  Stage stage_ = Stage::idle;
  bool new_file_ = false;
  Slice frame_;
  std::uint64_t frame_ticket_ = 0;
  std::uint64_t stage_tag_ = 0;
  Time retry_at_ = never;
  std::uint64_t cleanup_tag_ = 0;  // removal of the old file under way; the next new file waits for it

  // What waits.
  std::string rewrite_;
  std::uint64_t rewrite_ticket_ = 0;  // 0: none
  std::string pending_;
  std::uint64_t pending_ticket_ = 0;  // 0: none
  std::uint64_t last_ticket_ = 0;
  std::uint64_t durable_ = 0;
};

}  // namespace sd::raft
