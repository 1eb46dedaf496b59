// Rounds: what is durable in the journal goes to the object files; checkpoints: and the journal is emptied. See
// store_impl.hpp.
#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;

namespace {

constexpr std::size_t max_slices_per_op = 256;
// Neighbours are joined until a write is this large. More gains little, and page caches keep what was written at once
// as one large folio, of which ext4 then visits every block for each small write.
constexpr std::uint32_t max_blocks_per_op = 16;
constexpr Time retry_delay = seconds(1);

}  // namespace

bool Store::Impl::round_wanted() const {
  return want_round || want_checkpoint || current_bytes >= options.apply_bytes || head - tail > super.capacity / 2 ||
         dirty.size() * 2 >= options.max_dirty_objects;
}

void Store::Impl::begin_round() {
  SD_ASSERT(phase == Phase::idle && pending.records.empty(), "a round begins between batches");
  checkpoint_round = state == State::running && (want_checkpoint || head - tail > super.capacity / 2 ||
                                                 dirty.size() * 2 >= options.max_dirty_objects);
  if (checkpoint_round && dirty.empty() && unapplied.empty() && head == tail) checkpoint_round = false;
  want_round = false;
  if (state == State::running) want_checkpoint = false;
  apply_deadline = never;
  if (!checkpoint_round && unapplied.empty()) return;

  round_through = next_sequence - 1;
  round_position = head;
  round_link = last_link;
  round.swap(unapplied);
  for (auto* o : round) {
    SD_ASSERT(o->frozen.empty() && !o->frozen_removed && o->reads[o->read_generation ^ 1] == 0,
              "the round before has ended");
    o->in_unapplied = false;
    o->in_round = true;
    o->frozen.swap(o->current);
    o->frozen_removed = std::exchange(o->current_removed, false);
    o->read_generation ^= 1;
    if (o->frozen_removed) {  // a new object of this name begins with new files
      o->slot = {};
      o->slot_valid = o->slot_maybe_volatile = o->file_dirty = false;
    }
  }
  current_bytes = 0;
  if (checkpoint_round) {
    checkpoint_deadline = never;
    checkpoint_list.swap(dirty);
    for (auto* o : checkpoint_list) {
      o->dirty = false;
      o->in_checkpoint = o->checkpoint_listed = true;
      o->checkpoint_exists = o->exists;
    }
  }
  phase = Phase::wait_durable;
}

void Store::Impl::advance_round() {
  while (state == State::running || state == State::scanning) {
    switch (phase) {
      case Phase::idle: return;
      case Phase::wait_durable:
        if (durable < round_through && !SD_BUG(apply_before_sync)) {
          if (completed >= round_through) start_sync();
          return;
        }
        phase = Phase::applying;
        round_cursor = 0;
        round_left = round.size();
        break;
      case Phase::applying:
        start_applies();
        if (round_left > 0) return;
        if (checkpoint_round)
          begin_phase(Phase::sync_files);
        else
          end_round();
        break;
      case Phase::sync_files:
        if (!issue_jobs()) return;
        begin_phase(Phase::write_slots);
        break;
      case Phase::write_slots:
        if (!issue_jobs()) return;
        begin_phase(Phase::sync_slots);
        break;
      case Phase::sync_slots:
        if (!issue_jobs()) return;
        begin_phase(Phase::write_super);
        break;
      case Phase::write_super:
        if (!issue_jobs()) return;
        begin_phase(Phase::sync_super);
        break;
      case Phase::sync_super:
        if (!issue_jobs()) return;
        end_round();
        break;
    }
  }
}

// --- applying

void Store::Impl::start_applies() {
  while (round_cursor < round.size() && round_ops < options.max_apply_ops) {
    Object& o = *round[round_cursor++];
    if (o.reads[o.read_generation ^ 1] > 0)
      o.apply_waits = true;
    else
      start_apply(o);
  }
}

void Store::Impl::start_apply(Object& o) {
  if (!o.frozen_removed || (!o.entry->object_file && !o.entry->meta_file)) {
    write_frozen(o);
    return;
  }
  for (const auto file : {object_file(o.oid), meta_file(o.oid)}) {
    bool& there = file.kind == FileKind::object ? o.entry->object_file : o.entry->meta_file;
    if (!std::exchange(there, false)) continue;
    (file.kind == FileKind::object ? object_directory_dirty : meta_directory_dirty) = true;
    ++o.apply_ops;
    ++round_ops;
    disk(DiskOp::Kind::remove, file, make_tag(Tag::remove_files, o.id));
  }
}

void Store::Impl::on_remove_files(Object& o, Status status) {
  --round_ops;
  --o.apply_ops;
  if (status != Status::ok && status != Status::not_found) {
    fail("cannot remove the files of object " + to_string(o.oid));
    return;
  }
  if (o.apply_ops == 0) write_frozen(o);
}

void Store::Impl::write_frozen(Object& o) {
  const bool had_file = o.entry->object_file;
  const auto& extents = o.frozen.extents();
  for (std::size_t i = 0; i < extents.size();) {
    const auto& e = extents[i];
    if (e.is_hole()) {
      if (had_file) {
        ++o.apply_ops;
        disk(DiskOp::Kind::punch, object_file(o.oid), make_tag(Tag::apply, o.id), std::uint64_t{e.first} * block_size,
             e.count * block_size);
      }
      ++i;
      continue;
    }
    // Neighbours go out in one write.
    DiskOp op{DiskOp::Kind::write,
              object_file(o.oid),
              make_tag(Tag::apply, o.id),
              std::uint64_t{e.first} * block_size,
              0,
              {}};
    std::uint32_t next = e.first;
    while (i < extents.size() && extents[i].first == next && !extents[i].is_hole() &&
           op.slices.size() < max_slices_per_op && next - e.first < max_blocks_per_op) {
      op.length += extents[i].count * block_size;
      op.slices.push_back(extents[i].data);
      next = extents[i].end();
      ++i;
    }
    if (!o.entry->object_file) {
      o.entry->object_file = true;
      object_directory_dirty = true;
    }
    ++o.apply_ops;
    disk(std::move(op));
  }
  round_ops += o.apply_ops;
  if (o.apply_ops > 0)
    o.file_dirty = true;
  else
    apply_finished(o);
}

void Store::Impl::on_apply(Object& o, const DiskDone& done) {
  --round_ops;
  --o.apply_ops;
  if (done.status == Status::no_space) {
    o.apply_failed = true;
  } else if (done.status != Status::ok && !(done.kind == DiskOp::Kind::punch && done.status == Status::not_found)) {
    fail("cannot write object " + to_string(o.oid));
    return;
  }
  if (o.apply_ops > 0) return;
  if (!o.apply_failed) {
    apply_finished(o);
    return;
  }
  if (!disk_full) notice("the disk is full; writes that need space are refused");
  disk_full = true;
  o.apply_failed = false;
  apply_retry.push_back(&o);
  retry_deadline = now + retry_delay;
}

void Store::Impl::apply_finished(Object& o) {
  dirty_bytes -= o.frozen.bytes();
  o.frozen.clear();
  o.frozen_removed = false;
  o.in_round = false;
  --round_left;
  ++counts.applies;
  if (apply_retry.empty() && job_retry.empty()) disk_full = false;
  settle(o);
}

void Store::Impl::retry_after_full() {
  retry_deadline = never;
  std::vector<Object*> again;
  again.swap(apply_retry);
  for (auto* o : again) write_frozen(*o);
  std::vector<std::uint32_t> jobs;
  jobs.swap(job_retry);
  for (const auto index : jobs) issue_job(index);
}

// --- checkpoint

void Store::Impl::begin_phase(Phase next) {
  SD_ASSERT(jobs_in_flight == 0, "one step of a checkpoint follows another");
  phase = next;
  job_cursor = 0;
}

// Starts what may be started of this phase; true when all of it is done.
bool Store::Impl::issue_jobs() {
  const std::size_t n = checkpoint_list.size();
  const std::size_t jobs = phase == Phase::sync_files    ? 2 * n + 1
                           : phase == Phase::write_slots ? n
                           : phase == Phase::sync_slots  ? n + 1
                                                         : 1;
  while (job_cursor < jobs && jobs_in_flight < options.max_apply_ops) issue_job(job_cursor++);
  return job_cursor == jobs && jobs_in_flight == 0 && job_retry.empty();
}

void Store::Impl::issue_job(std::size_t index) {
  const std::size_t n = checkpoint_list.size();
  const auto start = [&](DiskOp op) {
    op.tag = make_tag(Tag::job, index);
    ++jobs_in_flight;
    disk(std::move(op));
  };
  const auto sync = [&](FileId file) { start({DiskOp::Kind::sync, file, 0, 0, 0, {}}); };
  switch (phase) {
    case Phase::sync_files:
      if (index < n) {
        Object& o = *checkpoint_list[index];
        if (std::exchange(o.file_dirty, false)) sync(object_file(o.oid));
      } else if (index < 2 * n) {
        // The slot that will stay must be durable before the other one is overwritten.
        Object& o = *checkpoint_list[index - n];
        if (std::exchange(o.slot_maybe_volatile, false)) sync(meta_file(o.oid));
      } else if (std::exchange(object_directory_dirty, false)) {
        start({DiskOp::Kind::sync_directory, {FileKind::object, 0, 0}, 0, 0, 0, {}});
      }
      return;
    case Phase::write_slots: {
      Object& o = *checkpoint_list[index];
      if (!o.checkpoint_exists) {
        o.in_checkpoint = false;
        return;
      }
      if (o.in_checkpoint) {
        if (o.snapshot.empty()) o.snapshot = encode_slot(o);
        o.in_checkpoint = false;
        o.slot = {o.slot.sequence + 1, super.journal_id, round_through};
        o.slot_valid = true;
      }
      if (!o.entry->meta_file) {
        o.entry->meta_file = true;
        meta_directory_dirty = true;
      }
      start({DiskOp::Kind::write,
             meta_file(o.oid),
             0,
             o.slot.sequence % 2 * meta_slot_bytes,
             meta_slot_bytes,
             {o.snapshot}});
      return;
    }
    case Phase::sync_slots:
      if (index < n) {
        Object& o = *checkpoint_list[index];
        o.snapshot = {};
        if (o.checkpoint_exists) sync(meta_file(o.oid));
      } else if (std::exchange(meta_directory_dirty, false)) {
        start({DiskOp::Kind::sync_directory, {FileKind::object_meta, 0, 0}, 0, 0, 0, {}});
      }
      return;
    case Phase::write_super: {
      ++super.sequence;
      super.tail_position = round_position;
      super.tail_sequence = round_through + 1;
      super.tail_link = round_link;
      Slice block = pool.allocate(journal::super_bytes);
      journal::encode_super(super,
                            std::span<std::byte, journal::super_bytes>(block.mutable_data(), journal::super_bytes));
      start({DiskOp::Kind::write,
             journal_file(),
             0,
             super.sequence % 2 * journal::super_bytes,
             journal::super_bytes,
             {std::move(block)}});
      return;
    }
    case Phase::sync_super: sync(journal_file()); return;
    default: SD_ASSERT(false, "only these phases have jobs");
  }
}

void Store::Impl::on_job(std::uint32_t index, const DiskDone& done) {
  --jobs_in_flight;
  if (done.status == Status::ok) {
    if (apply_retry.empty() && job_retry.empty()) disk_full = false;
    return;
  }
  if (done.status == Status::no_space && phase == Phase::write_slots) {
    if (!disk_full) notice("the disk is full; writes that need space are refused");
    disk_full = true;
    job_retry.push_back(index);
    retry_deadline = now + retry_delay;
    return;
  }
  fail("a step of a checkpoint failed: " + std::string(to_string(done.status)));
}

void Store::Impl::end_round() {
  round.clear();
  phase = Phase::idle;
  if (!checkpoint_round) return;
  tail = round_position;
  tail_sequence = round_through + 1;
  ++counts.checkpoints;
  for (auto* o : checkpoint_list) {
    o->checkpoint_listed = false;
    settle(*o);
  }
  checkpoint_list.clear();
}

}  // namespace sd
