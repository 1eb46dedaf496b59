#include "core/store/checkpoint.hpp"

#include "core/base/assert.hpp"

namespace sd::store_detail {

std::size_t Checkpoint::jobs() const {
  switch (step_) {
    case Step::sync_files: return 2 * objects_.size() + 1;
    case Step::write_slots: return objects_.size();
    case Step::sync_slots: return objects_.size() + 1;
    case Step::write_super:
    case Step::sync_super: return 1;
    case Step::done: return 0;
  }
  return 0;
}

void Checkpoint::advance() {
  while (step_ != Step::done) {
    const std::size_t n = jobs();
    while (cursor_ < n && in_flight_ < context_.options.max_apply_ops) issue(cursor_++);
    if (cursor_ < n || in_flight_ > 0 || !retry_.empty()) return;
    step_ = static_cast<Step>(static_cast<int>(step_) + 1);
    cursor_ = 0;
  }
}

void Checkpoint::start(std::size_t index, DiskOp&& op) {
  op.tag = make_tag(Tag::job, index);
  ++in_flight_;
  context_.disk(std::move(op));
}

void Checkpoint::sync(std::size_t index, FileId file, DiskOp::Kind kind) { start(index, {kind, file, 0, 0, 0, {}}); }

void Checkpoint::issue(std::size_t index) {
  switch (step_) {
    case Step::sync_files: sync_file(index); return;
    case Step::write_slots: write_slot(index); return;
    case Step::sync_slots: sync_slot(index); return;
    case Step::write_super: start(index, journal_.next_super(tail_)); return;
    case Step::sync_super: sync(index, journal_file()); return;
    case Step::done: break;
  }
  SD_ASSERT(false, "a checkpoint that is done has no jobs");
}

void Checkpoint::sync_file(std::size_t index) {
  const std::size_t n = objects_.size();
  if (index < n) {
    Object& o = *objects_[index];
    if (std::exchange(o.file_dirty, false)) sync(index, object_file(o.key));
  } else if (index < 2 * n) {
    // The slot that will stay must be durable before the other one is overwritten.
    Object& o = *objects_[index - n];
    if (std::exchange(o.slots.maybe_volatile, false)) sync(index, meta_file(o.key));
  } else if (std::exchange(directories_.objects_dirty, false)) {
    sync(index, {FileKind::object, 0, 0}, DiskOp::Kind::sync_directory);
  }
}

void Checkpoint::write_slot(std::size_t index) {
  Object& o = *objects_[index];
  if (!o.checkpoint.exists) {
    o.checkpoint.pending = false;
    return;
  }
  if (o.checkpoint.pending) {
    if (o.checkpoint.snapshot.empty()) o.checkpoint.snapshot = encode_checkpointed(o, context_.pool);
    o.checkpoint.pending = false;
    o.slots.newest = o.checkpoint.slot;
    o.slots.valid = true;
  }
  if (!o.entry->meta_file) {
    o.entry->meta_file = true;
    directories_.metas_dirty = true;
  }
  start(index, {DiskOp::Kind::write,
                meta_file(o.key),
                0,
                o.slots.newest.sequence % 2 * meta_slot_bytes,
                meta_slot_bytes,
                {o.checkpoint.snapshot}});
}

void Checkpoint::sync_slot(std::size_t index) {
  if (index < objects_.size()) {
    Object& o = *objects_[index];
    o.checkpoint.snapshot = {};
    if (o.checkpoint.exists) sync(index, meta_file(o.key));
  } else if (std::exchange(directories_.metas_dirty, false)) {
    sync(index, {FileKind::object_meta, 0, 0}, DiskOp::Kind::sync_directory);
  }
}

Status Checkpoint::on_job(std::uint32_t index, const DiskDone& done) {
  --in_flight_;
  if (done.status == Status::ok) return done.status;
  if (done.status == Status::no_space && step_ == Step::write_slots)
    retry_.push_back(index);
  else
    context_.fail("a step of a checkpoint failed: " + std::string(to_string(done.status)));
  return done.status;
}

void Checkpoint::retry() {
  std::vector<std::uint32_t> again;
  again.swap(retry_);
  for (const auto index : again) issue(index);
}

}  // namespace sd::store_detail
