#include "core/store/journal_writer.hpp"

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"

namespace sd::store_detail {

using limits::block_size;

void JournalWriter::adopt(const journal::Super& super) {
  super_ = super;
  head_ = tail_ = super.tail_position;
  tail_sequence_ = next_sequence_ = super.tail_sequence;
  last_link_ = super.tail_link;
  completed_ = durable_ = next_sequence_ - 1;
}

void JournalWriter::replayed(std::uint64_t sequence, std::uint64_t link, std::uint64_t end) {
  completed_ = durable_ = sequence;
  next_sequence_ = sequence + 1;
  last_link_ = link;
  head_ = end;
}

std::uint64_t JournalWriter::place(std::uint64_t position, std::uint64_t bytes) const {
  const std::uint64_t left = super_.capacity - position % super_.capacity;
  return bytes <= left ? position : position + left;
}

JournalWriter::Room JournalWriter::make_room(std::size_t records, std::size_t blocks) {
  const std::uint64_t bytes = std::uint64_t{blocks} * block_size;
  if (!nothing_pending() && (pending_.payload_bytes + bytes > max_payload() ||
                             pending_.records.size() + records > context_.options.max_batch_records)) {
    if (flight_.size() >= context_.options.max_batches_in_flight) return Room::later;
    submit();
  }
  const std::uint64_t header =
      journal::header_bytes_for(pending_.records.size() + records, pending_.crcs.size() + blocks);
  return fits(header + pending_.payload_bytes + bytes) ? Room::ok : Room::full;
}

std::span<const std::uint32_t> JournalWriter::append(journal::Record& record, std::span<const Slice> slices) {
  record.crc_at = static_cast<std::uint32_t>(pending_.crcs.size());
  for (const auto& slice : slices) {
    for (std::size_t at = 0; at < slice.size(); at += block_size)
      pending_.crcs.push_back(crc32c(slice.bytes().subspan(at, block_size)));
    pending_.payload_bytes += slice.size();
    pending_.payload.push_back(slice);
  }
  record.crc_count = static_cast<std::uint32_t>(pending_.crcs.size()) - record.crc_at;
  pending_.records.push_back(record);
  ++context_.counts.records;
  return std::span(pending_.crcs).subspan(record.crc_at, record.crc_count);
}

void JournalWriter::submit() {
  if (nothing_pending() || flight_.size() >= context_.options.max_batches_in_flight) return;
  journal::Header header;
  header.journal_id = super_.journal_id;
  header.sequence = next_sequence_;
  const std::uint64_t bytes =
      journal::header_bytes_for(pending_.records.size(), pending_.crcs.size()) + pending_.payload_bytes;
  SD_ASSERT(fits(bytes), "admission promised room in the journal");
  header.position = place(head_, bytes);
  header.salt = context_.random.next();
  header.previous_link = last_link_;
  header.durable_sequence = durable_;
  DiskOp op{DiskOp::Kind::write,
            journal_file(),
            make_tag(Tag::batch, next_sequence_),
            physical(header.position),
            static_cast<std::uint32_t>(bytes),
            {}};
  op.slices.reserve(pending_.payload.size() + 1);
  op.slices.push_back(journal::encode_header(header, pending_, context_.pool, last_link_));
  for (auto& slice : pending_.payload) op.slices.push_back(std::move(slice));
  pending_.clear();
  context_.disk(std::move(op));

  Flight& b = flight_.emplace_back();
  b.sequence = next_sequence_;
  if (!spare_acks_.empty()) {
    b.acks = std::move(spare_acks_.back());
    spare_acks_.pop_back();
  }
  b.acks.swap(pending_acks_);
  head_ = header.position + bytes;
  ++next_sequence_;
  ++context_.counts.batches;
}

Status JournalWriter::on_batch(std::uint64_t sequence, Status status) {
  if (status != Status::ok) return status;
  for (Flight& b : flight_)
    if ((b.sequence & 0xffffffff) == sequence) b.complete = true;
  acknowledge_batches();
  return Status::ok;
}

// In order, also where the disk is not.
void JournalWriter::acknowledge_batches() {
  while (!flight_.empty() && flight_.front().complete) {
    Flight& b = flight_.front();
    completed_ = b.sequence;
    for (Ack& ack : b.acks) answer(std::move(ack));
    b.acks.clear();
    spare_acks_.push_back(std::move(b.acks));
    flight_.pop_front();
  }
}

void JournalWriter::answer(Ack&& ack) {
  context_.finish(ack.ticket, Status::ok, ack.info);
  if (ack.recent) context_.fx->done.back().recent = std::move(*ack.recent);
}

void JournalWriter::wait(std::uint64_t sequence, Ack&& ack) {
  if (sequence <= completed_) {
    answer(std::move(ack));
  } else if (sequence == next_sequence_) {
    pending_acks_.push_back(std::move(ack));
  } else {
    for (Flight& b : flight_)
      if (b.sequence == sequence) b.acks.push_back(std::move(ack));
  }
}

void JournalWriter::acknowledge(std::uint64_t sequence, std::uint64_t ticket, const ObjectInfo& info) {
  wait(sequence, {ticket, info, std::nullopt});
}

void JournalWriter::tell(std::uint64_t sequence, std::uint64_t ticket, const ObjectInfo& info,
                         const RecentWrites& recent) {
  wait(sequence, {ticket, info, recent});
}

void JournalWriter::flush(std::uint64_t ticket) {
  if (durable_ >= completed_ || SD_BUG(skip_flush)) {
    context_.finish(ticket, Status::ok);
    return;
  }
  if (flush_waiters_.size() >= context_.options.max_queued_ops) {
    context_.finish(ticket, Status::busy);
    return;
  }
  flush_waiters_.push_back({ticket, completed_});
  sync();
}

void JournalWriter::sync() {
  if (sync_in_flight_ || durable_ >= completed_) return;
  sync_in_flight_ = true;
  sync_covers_ = completed_;
  ++context_.counts.journal_syncs;
  context_.disk(DiskOp::Kind::sync, journal_file(), make_tag(Tag::sync, 0));
}

void JournalWriter::on_sync(Status status) {
  sync_in_flight_ = false;
  if (status != Status::ok) {
    context_.fail("cannot sync the journal");
    return;
  }
  durable_ = std::max(durable_, sync_covers_);
  std::size_t kept = 0;
  for (const FlushWaiter& waiter : flush_waiters_) {
    if (waiter.target <= durable_)
      context_.finish(waiter.ticket, Status::ok);
    else
      flush_waiters_[kept++] = waiter;
  }
  flush_waiters_.resize(kept);
  if (kept > 0) sync();
}

DiskOp JournalWriter::next_super(const JournalPoint& tail) {
  ++super_.sequence;
  super_.tail_position = tail.position;
  super_.tail_sequence = tail.through + 1;
  super_.tail_link = tail.link;
  Slice block = context_.pool.allocate(journal::super_bytes);
  journal::encode_super(super_, std::span<std::byte, journal::super_bytes>(block.mutable_data(), journal::super_bytes));
  return {DiskOp::Kind::write,  journal_file(),    0, super_.sequence % 2 * journal::super_bytes,
          journal::super_bytes, {std::move(block)}};
}

void JournalWriter::move_tail(const JournalPoint& tail) {
  tail_ = tail.position;
  tail_sequence_ = tail.through + 1;
}

void JournalWriter::drop_flight(Status update, Status other) {
  for (const Flight& b : flight_)
    for (const Ack& ack : b.acks) context_.finish(ack.ticket, ack.recent ? other : update);
  flight_.clear();
}

void JournalWriter::drop_waiting(Status update, Status other) {
  for (const Ack& ack : pending_acks_) context_.finish(ack.ticket, ack.recent ? other : update);
  for (const FlushWaiter& waiter : flush_waiters_) context_.finish(waiter.ticket, other);
  pending_.clear();
  pending_acks_.clear();
  flush_waiters_.clear();
}

std::string JournalWriter::check_state() const {
  const StoreOptions& options = context_.options;
  if (durable_ > completed_ || completed_ >= next_sequence_) return "what is durable is in the journal, in order";
  if (tail_ > head_ || used() > super_.capacity) return "the journal holds no more than it has room for";
  if (tail_sequence_ > next_sequence_) return "the journal's tail is not behind its end";
  if (flight_.size() > options.max_batches_in_flight) return "only so many batches are in flight";
  std::uint64_t expected = completed_;
  for (const Flight& b : flight_)
    if (b.sequence != ++expected) return "batches in flight are a run that follows what is in the journal";
  if (expected + 1 != next_sequence_) return "the pending batch follows those in flight";
  if (pending_.records.size() > options.max_batch_records) return "a batch holds only so many records";
  if (pending_.records.empty() && !pending_acks_.empty()) return "nobody waits for a batch of nothing";
  if (sync_in_flight_ && sync_covers_ > completed_) return "a sync covers what is in the journal only";
  for (const FlushWaiter& waiter : flush_waiters_)
    if (waiter.target <= durable_ || waiter.target > completed_) return "who waits for a flush waits for its sync";
  return {};
}

}  // namespace sd::store_detail
