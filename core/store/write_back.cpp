#include "core/store/write_back.hpp"

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"

namespace sd::store_detail {

using limits::block_size;

namespace {

constexpr std::size_t max_slices_per_op = 256;
// Neighbours are joined until a write is this large. More gains little, and page caches keep what was written at once
// as one large folio, of which ext4 then visits every block for each small write.
constexpr std::uint32_t max_blocks_per_op = 16;
constexpr Time retry_delay = seconds(1);

}  // namespace

bool WriteBack::checkpoint_wanted() const {
  return wants_.checkpoint || journal_.more_than_half_full() ||
         changes_.dirty_objects() * 2 >= context_.options.max_dirty_objects;
}

bool WriteBack::round_wanted() const {
  return wants_.round || checkpoint_wanted() || changes_.current_bytes() >= context_.options.apply_bytes;
}

void WriteBack::begin(bool replaying) {
  SD_ASSERT(idle() && journal_.nothing_pending(), "a round begins between batches");
  bool with_checkpoint = !replaying && checkpoint_wanted();
  if (changes_.nothing_dirty() && changes_.nothing_unapplied() && journal_.used() == 0) with_checkpoint = false;
  wants_.round = false;
  if (!replaying) wants_.checkpoint = false;
  changes_.forget_apply_deadline();
  if (!with_checkpoint && changes_.nothing_unapplied()) return;

  round_ = Round{journal_.end(), with_checkpoint};
  changes_.freeze(round_->objects);
  round_->left = round_->objects.size();
  if (!with_checkpoint) return;
  std::vector<Object*> changed;
  changes_.list(changed, journal_.super().journal_id, round_->point.through);
  checkpoint_.emplace(context_, journal_, directories_, round_->point, std::move(changed));
}

void WriteBack::advance() {
  if (!round_ || context_.failed()) return;
  if (!round_->applying) {
    if (journal_.durable() < round_->point.through && !SD_BUG(apply_before_sync)) {
      if (journal_.completed() >= round_->point.through) journal_.sync();
      return;
    }
    round_->applying = true;
  }
  start_applies();
  if (round_->left > 0) return;
  if (checkpoint_) {
    checkpoint_->advance();
    if (!checkpoint_->done()) return;
  }
  end_round();
}

void WriteBack::end_round() {
  const JournalPoint point = round_->point;
  round_.reset();
  if (!checkpoint_) return;
  journal_.move_tail(point);
  ++context_.counts.checkpoints;
  for (Object* o : checkpoint_->objects()) {
    o->checkpoint.listed = false;
    cache_.settle(*o);
  }
  checkpoint_.reset();
}

void WriteBack::tick() {
  if (changes_.apply_deadline() <= context_.now) {
    wants_.round = true;
    changes_.forget_apply_deadline();
  }
  if (changes_.checkpoint_deadline() <= context_.now) {
    wants_.checkpoint = true;
    changes_.forget_checkpoint_deadline();
  }
  if (retry_deadline_ <= context_.now) retry();
}

Time WriteBack::next_deadline() const {
  return std::min({changes_.apply_deadline(), changes_.checkpoint_deadline(), retry_deadline_});
}

// --- applying

void WriteBack::start_applies() {
  Round& round = *round_;
  while (round.cursor < round.objects.size() && round.ops < context_.options.max_apply_ops) {
    Object& o = *round.objects[round.cursor++];
    if (o.reads.older() > 0)
      o.frozen.waits = true;
    else
      start_apply(o);
  }
}

void WriteBack::on_read_end(Object& o) {
  if (!o.frozen.waits || o.reads.older() > 0) return;
  o.frozen.waits = false;
  start_apply(o);
}

void WriteBack::start_apply(Object& o) {
  if (!o.frozen.removed || (!o.entry->object_file && !o.entry->meta_file)) {
    write_frozen(o);
    return;
  }
  for (const auto file : {object_file(o.key), meta_file(o.key)}) {
    bool& there = file.kind == FileKind::object ? o.entry->object_file : o.entry->meta_file;
    if (!std::exchange(there, false)) continue;
    (file.kind == FileKind::object ? directories_.objects_dirty : directories_.metas_dirty) = true;
    ++o.frozen.ops;
    ++round_->ops;
    context_.disk(DiskOp::Kind::remove, file, make_tag(Tag::remove_files, o.id));
  }
}

void WriteBack::on_remove_files(Object& o, Status status) {
  --round_->ops;
  --o.frozen.ops;
  if (status != Status::ok && status != Status::not_found) {
    context_.fail("cannot remove the files of object " + to_string(o.key));
    return;
  }
  if (o.frozen.ops == 0) write_frozen(o);
}

// One write of neighbours, from extent `next` on; moves `next` behind them.
DiskOp WriteBack::take_extents(Object& o, std::size_t& next) const {
  const auto& extents = o.frozen.overlay.extents();
  const std::uint32_t first = extents[next].first;
  DiskOp op{
      DiskOp::Kind::write, object_file(o.key), make_tag(Tag::apply, o.id), std::uint64_t{first} * block_size, 0, {}};
  std::uint32_t end = first;
  while (next < extents.size() && extents[next].first == end && !extents[next].is_hole() &&
         op.slices.size() < max_slices_per_op && end - first < max_blocks_per_op) {
    op.length += extents[next].count * block_size;
    op.slices.push_back(extents[next].data);
    end = extents[next].end();
    ++next;
  }
  return op;
}

void WriteBack::write_frozen(Object& o) {
  const bool had_file = o.entry->object_file;
  const auto& extents = o.frozen.overlay.extents();
  for (std::size_t i = 0; i < extents.size();) {
    const auto& e = extents[i];
    if (!e.is_hole()) {
      DiskOp op = take_extents(o, i);
      if (!std::exchange(o.entry->object_file, true)) directories_.objects_dirty = true;
      ++o.frozen.ops;
      context_.disk(std::move(op));
      continue;
    }
    if (had_file) {
      ++o.frozen.ops;
      context_.disk(DiskOp::Kind::punch, object_file(o.key), make_tag(Tag::apply, o.id),
                    std::uint64_t{e.first} * block_size, e.count * block_size);
    }
    ++i;
  }
  round_->ops += o.frozen.ops;
  if (o.frozen.ops > 0)
    o.file_dirty = true;
  else
    apply_finished(o);
}

void WriteBack::on_apply(Object& o, const DiskDone& done) {
  --round_->ops;
  --o.frozen.ops;
  if (done.status == Status::no_space) {
    o.frozen.failed = true;
  } else if (done.status != Status::ok && !(done.kind == DiskOp::Kind::punch && done.status == Status::not_found)) {
    context_.fail("cannot write object " + to_string(o.key));
    return;
  }
  if (o.frozen.ops > 0) return;
  if (!std::exchange(o.frozen.failed, false)) {
    apply_finished(o);
    return;
  }
  round_->retry.push_back(&o);
  note_disk_full();
}

void WriteBack::apply_finished(Object& o) {
  changes_.applied(o);
  --round_->left;
  ++context_.counts.applies;
  note_space();
  cache_.settle(o);
}

// --- checkpoints, and a disk that is full

void WriteBack::on_job(std::uint32_t index, const DiskDone& done) {
  const Status status = checkpoint_->on_job(index, done);
  if (status == Status::ok)
    note_space();
  else if (status == Status::no_space)
    note_disk_full();
}

void WriteBack::note_disk_full() {
  if (!disk_full_) context_.notice("the disk is full; writes that need space are refused");
  disk_full_ = true;
  retry_deadline_ = context_.now + retry_delay;
}

void WriteBack::note_space() {
  if (round_->retry.empty() && !(checkpoint_ && checkpoint_->wants_retry())) disk_full_ = false;
}

void WriteBack::retry() {
  retry_deadline_ = never;
  if (!round_) return;
  std::vector<Object*> again;
  again.swap(round_->retry);
  for (Object* o : again) write_frozen(*o);
  if (checkpoint_) checkpoint_->retry();
}

std::string WriteBack::check_state() const {
  if (!round_) return checkpoint_ ? "a checkpoint belongs to a round" : "";
  const Round& round = *round_;
  if (round.with_checkpoint != checkpoint_.has_value()) return "a round ends with the checkpoint that it began with";
  if (round.point.through >= journal_.next_sequence()) return "a round begins between batches";
  if (round.applying && round.point.through > journal_.durable()) return "only what is durable is applied";
  if (round.left > round.objects.size() || round.objects.size() - round.left > round.cursor)
    return "what is applied was begun";
  if (round.retry.size() > round.left) return "what is tried again is not applied yet";
  for (const Object* o : round.retry)
    if (!o->frozen.in_round || o->frozen.ops > 0) return "what is tried again waits for space";
  return {};
}

}  // namespace sd::store_detail
