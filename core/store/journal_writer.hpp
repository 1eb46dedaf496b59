// The end of the journal that grows: records become batches, batches go to disk, syncs make them durable.
//
// Batches go to disk in order, and are acknowledged in order even where the disk finishes them out of order: a sync
// that covers an acknowledged batch covers all before it.
//
// Room is promised before a record is made, for the pending batch at the place where it will go: so the pending batch
// can always be written. Space before the tail is used again only when a checkpoint has moved the tail.
//
// One object for each incarnation of the store's memory.
#pragma once
#include <deque>
#include <optional>
#include <vector>

#include "core/store/context.hpp"
#include "core/store/journal.hpp"

namespace sd::store_detail {

// A moment between two batches.
struct JournalPoint {
  std::uint64_t through = 0;   // the last batch before it
  std::uint64_t position = 0;  // where it ends
  std::uint64_t link = 0;
};

class JournalWriter {
 public:
  explicit JournalWriter(Context& context) : context_(context) {}

  // The journal as its superblock tells it: nothing behind the tail is known yet.
  void adopt(const journal::Super& super);
  // Replay has found this batch, which ends at `end`: it is durable.
  void replayed(std::uint64_t sequence, std::uint64_t link, std::uint64_t end);

  const journal::Super& super() const { return super_; }
  std::uint64_t next_sequence() const { return next_sequence_; }
  std::uint64_t completed() const { return completed_; }
  std::uint64_t durable() const { return durable_; }
  std::uint64_t tail() const { return tail_; }
  std::uint64_t tail_sequence() const { return tail_sequence_; }
  std::uint64_t used() const { return head_ - tail_; }
  bool more_than_half_full() const { return used() > super_.capacity / 2; }
  // Where the next batch will begin to be written.
  JournalPoint end() const { return {next_sequence_ - 1, head_, last_link_}; }
  std::uint64_t max_payload() const {
    return std::min<std::uint64_t>(context_.options.max_batch_bytes, super_.capacity / 4);
  }

  // Where a position of the area lies in the file.
  std::uint64_t physical(std::uint64_t position) const { return journal::area_offset + position % super_.capacity; }

  // Makes room for an update of so many records and blocks, by sending what is pending if need be. later: enough
  // batches are in flight; full: a checkpoint must make room first.
  enum class Room : std::uint8_t { ok, later, full };
  Room make_room(std::size_t records, std::size_t blocks);
  // The record joins the pending batch; returns the checksums of its blocks. Only after make_room.
  std::span<const std::uint32_t> append(journal::Record& record, std::span<const Slice> slices);
  bool nothing_pending() const { return pending_.records.empty(); }
  // Sends the pending batch, unless enough are in flight.
  void submit();
  // Whatever is not ok has been told to nobody yet.
  Status on_batch(std::uint64_t sequence, Status status);

  // Answers an update as soon as this batch is in the journal ...
  void acknowledge(std::uint64_t sequence, std::uint64_t ticket, const ObjectInfo& info);
  // ... and a query.
  void tell(std::uint64_t sequence, std::uint64_t ticket, const ObjectInfo& info, const RecentWrites& recent);
  // Answers as soon as all that is acknowledged now is durable.
  void flush(std::uint64_t ticket);
  // Begins to make durable what is acknowledged.
  void sync();
  void on_sync(Status status);

  // The superblock that moves the tail to this point, and where it goes. It counts after a sync.
  DiskOp next_super(const JournalPoint& tail);
  // That superblock is durable.
  void move_tail(const JournalPoint& tail);

  // Answers those who wait for a batch that was written or for one that was not: updates with `update`, others with
  // `other`.
  void drop_flight(Status update, Status other);
  void drop_waiting(Status update, Status other);

  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  struct Ack {
    std::uint64_t ticket;
    ObjectInfo info;
    std::optional<RecentWrites> recent;  // of a query; all others are updates
  };
  struct Flight {
    std::uint64_t sequence = 0;
    bool complete = false;
    std::vector<Ack> acks;
  };
  struct FlushWaiter {
    std::uint64_t ticket;
    std::uint64_t target;
  };

  // Where a batch of this size would go if it followed `position`.
  std::uint64_t place(std::uint64_t position, std::uint64_t bytes) const;
  bool fits(std::uint64_t bytes) const { return place(head_, bytes) + bytes - tail_ <= super_.capacity; }
  void acknowledge_batches();
  void answer(Ack&& ack);
  void wait(std::uint64_t sequence, Ack&& ack);

  Context& context_;
  journal::Super super_;
  std::uint64_t head_ = 0;           // position behind the last batch
  std::uint64_t tail_ = 0;           // space before it may be used again
  std::uint64_t tail_sequence_ = 1;  // of the batch there: replay begins with it
  std::uint64_t next_sequence_ = 1;  // of the pending batch
  std::uint64_t last_link_ = 0;
  std::uint64_t completed_ = 0;  // batches up to this one are written
  std::uint64_t durable_ = 0;    // ... and synced
  journal::Batch pending_;
  std::vector<Ack> pending_acks_;
  std::deque<Flight> flight_;  // oldest first
  std::vector<std::vector<Ack>> spare_acks_;
  bool sync_in_flight_ = false;
  std::uint64_t sync_covers_ = 0;
  std::vector<FlushWaiter> flush_waiters_;
};

}  // namespace sd::store_detail
