#include "runtime/disk_driver.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "core/base/assert.hpp"

namespace sd::runtime {

namespace {

constexpr std::size_t alignment = 4096;
constexpr std::size_t max_idle_tasks = 256;
// Writes up to this size are copied into the page cache in place; larger ones keep the loop free for others meanwhile.
constexpr std::size_t max_write_in_place = 256u << 10;
// A write into the page cache that took this long was throttled by the kernel, which has too much left to write back;
// or this thread lost the processor, which looks the same. Writes then go to the engine for a while, so that the loop
// goes on: for ten times as long, since the engine costs two switches of thread for each write, and a busy machine is
// no reason to pay them for a whole second.
constexpr std::uint64_t throttled_ns = 5'000'000, throttled_factor = 10, throttled_for_most_ns = 1'000'000'000;

std::uint64_t now_ns() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

bool aligned(std::uint64_t n) { return n % alignment == 0; }

bool aligned(const DiskTask& task) {
  if (!aligned(task.offset) || !aligned(task.remaining)) return false;
  for (std::size_t i = task.first_iov; i < task.iov.size(); ++i)
    if (!aligned(reinterpret_cast<std::uintptr_t>(task.iov[i].iov_base)) || !aligned(task.iov[i].iov_len)) return false;
  return true;
}

std::string_view name_of(DiskOp::Kind kind) {
  switch (kind) {
    case DiskOp::Kind::read: return "reading";
    case DiskOp::Kind::write: return "writing";
    case DiskOp::Kind::sync: return "syncing";
    case DiskOp::Kind::sync_directory: return "syncing the directory of";
    case DiskOp::Kind::remove: return "removing";
    case DiskOp::Kind::punch: return "punching a hole into";
    case DiskOp::Kind::truncate: return "truncating";
    case DiskOp::Kind::list: break;
  }
  return "listing";
}

}  // namespace

std::expected<std::unique_ptr<DiskDriver>, std::string> DiskDriver::create(DiskDriverOptions options, BufferPool& pool,
                                                                           Log log) {
  if (options.journal_directory.empty()) options.journal_directory = options.directory + "/journal";
  std::unique_ptr<DiskEngine> engine;
  if (options.engine != DiskEngineKind::threads) {
    auto uring = make_uring_engine();
    if (uring)
      engine = std::move(*uring);
    else if (options.engine == DiskEngineKind::uring)
      return std::unexpected(std::move(uring.error()));
    else
      log.info(uring.error());
  }
  if (!engine) engine = make_thread_engine(2);
  return std::make_unique<DiskDriver>(std::move(options), pool, std::move(log), std::move(engine));
}

DiskDriver::DiskDriver(DiskDriverOptions options, BufferPool& pool, Log log, std::unique_ptr<DiskEngine> engine)
    : options_(std::move(options)),
      pool_(pool),
      log_(std::move(log)),
      files_(options_.directory, options_.journal_directory, options_.direct, options_.max_open_files),
      engine_(std::move(engine)) {}

DiskDriver::~DiskDriver() {
  noted_.clear();
  starved_.clear();
  while (!in_flight_.empty()) {
    pollfd p{engine_->wait_fd(), POLLIN, 0};
    ::poll(&p, 1, 100);
    ended_.clear();
    engine_->reap(ended_);
    for (DiskTask* task : ended_) {
      left_engine(task);
      recycle(task);
    }
  }
}

void DiskDriver::start(DiskOp&& op) { noted_.push_back(std::move(op)); }

void DiskDriver::poll(std::vector<DiskDone>& done, std::size_t budget) {
  std::size_t spent = 0;
  if (starved() && now_ns() >= starved_until_) {
    noted_.insert(noted_.begin(), std::make_move_iterator(starved_.begin()), std::make_move_iterator(starved_.end()));
    starved_.clear();
  }
  while (!noted_.empty() && spent < budget) {
    DiskOp op = std::move(noted_.front());
    noted_.pop_front();
    spent += 4096;
    if (op.kind == DiskOp::Kind::read) spent += op.length;
    for (const Slice& slice : op.slices) spent += slice.size();
    begin(std::move(op), done);
  }
  engine_->submit();
  if (in_flight_.empty()) return;
  ended_.clear();
  engine_->reap(ended_);
  if (ended_.empty()) return;
  for (DiskTask* task : ended_) on_ended(task, done);
  engine_->submit();  // what was short and goes on
}

DiskTask* DiskDriver::new_task(DiskOp&& op) {
  std::unique_ptr<DiskTask> task;
  if (idle_.empty()) {
    task = std::make_unique<DiskTask>();
  } else {
    task = std::move(idle_.back());
    idle_.pop_back();
  }
  task->op = std::move(op);
  task->offset = task->op.offset;
  task->remaining = task->transferred = task->first_iov = 0;
  task->began = 0;
  task->iov.clear();
  return task.release();
}

void DiskDriver::recycle(DiskTask* task) {
  std::unique_ptr<DiskTask> owned(task);
  owned->op.slices.clear();
  owned->file.reset();
  owned->data = {};
  if (idle_.size() < max_idle_tasks) idle_.push_back(std::move(owned));
}

void DiskDriver::begin(DiskOp&& op, std::vector<DiskDone>& done) {
  using Kind = DiskOp::Kind;
  DiskTask* task = new_task(std::move(op));
  const FileId& id = task->op.file;
  if (task->op.kind == Kind::list) {
    auto files = files_.list(id.kind);
    if (!files && is_out_of_descriptors(files.error())) return starve(task, files.error());
    finish(task, files ? 0 : files.error(), done);
    if (files) done.back().files = std::move(*files);
    return;
  }
  if (task->op.kind == Kind::remove) {
    files_.forget(id);
    task->call = DiskTask::Call::unlink;
    task->path = files_.path(id);
    return to_engine(task);
  }
  if (task->op.kind == Kind::sync_directory) {
    const auto fd = files_.directory_fd(id.kind);
    if (!fd) return is_out_of_descriptors(fd.error()) ? starve(task, fd.error()) : finish(task, fd.error(), done);
    task->call = DiskTask::Call::fsync;
    task->fd = *fd;
    return to_engine(task);
  }
  const bool create = task->op.kind == Kind::write || task->op.kind == Kind::truncate;
  auto file = files_.open(id, create);
  if (!file && !is_out_of_descriptors(file.error()) && replace_by_file(id)) file = files_.open(id, create);
  if (!file) return is_out_of_descriptors(file.error()) ? starve(task, file.error()) : finish(task, file.error(), done);
  task->file = std::move(*file);
  task->fd = task->file->fd;
  switch (task->op.kind) {
    case Kind::truncate:
      return finish(task, ::ftruncate(task->fd, static_cast<off_t>(task->offset)) == 0 ? 0 : errno, done);
    case Kind::sync: task->call = DiskTask::Call::fdatasync; return to_engine(task);
    case Kind::punch:
      if (task->op.length == 0) return finish(task, 0, done);
      task->call = DiskTask::Call::punch;
      task->remaining = task->op.length;
      return to_engine(task);
    default: return begin_transfer(task, done);
  }
}

void DiskDriver::begin_transfer(DiskTask* task, std::vector<DiskDone>& done) {
  if (task->op.kind == DiskOp::Kind::read) {
    task->call = DiskTask::Call::readv;
    task->remaining = task->op.length;
    task->data = pool_.allocate(task->op.length);
    if (task->remaining > 0) task->iov.push_back({task->data.mutable_data(), task->data.size()});
  } else {
    task->call = DiskTask::Call::writev;
    for (Slice& slice : task->op.slices) {
      if (slice.empty()) continue;
      task->iov.push_back({slice.mutable_data(), slice.size()});
      task->remaining += slice.size();
    }
  }
  if (task->remaining == 0) return finish(task, 0, done);
  const bool direct = options_.direct || task->op.uncached;
  if (task->op.uncached) files_.open_direct(task->op.file, *task->file);
  if (direct && task->file->direct_fd >= 0 && aligned(*task))
    task->fd = task->file->direct_fd;
  else if (options_.in_place && transfer_in_place(*task))
    return finish(task, task->result < 0 ? -task->result : 0, done);
  to_engine(task);
}

// Tries the page cache. True if the operation is done or has failed; false if the engine must do (the rest of) it.
bool DiskDriver::transfer_in_place(DiskTask& task) {
  if (task.call == DiskTask::Call::readv) {
    while (true) {
      const ssize_t n = ::preadv2(task.fd, task.iov_begin(), static_cast<int>(task.iov_count()),
                                  static_cast<off_t>(task.offset), RWF_NOWAIT);
      if (n < 0) return false;  // not in the cache, or the file system cannot tell: the engine finds out
      task.result = static_cast<int>(n);
      if (!advance(task)) return true;
    }
  }
  if (task.remaining > max_write_in_place) return false;
  const std::uint64_t before = now_ns();
  if (before < writes_in_engine_until_) return false;
  while (true) {
    const ssize_t n =
        ::pwritev(task.fd, task.iov_begin(), static_cast<int>(task.iov_count()), static_cast<off_t>(task.offset));
    if (n < 0 && errno == EINTR) continue;
    task.result = n < 0 ? -errno : n == 0 ? -EIO : static_cast<int>(n);
    if (task.result < 0 || !advance(task)) break;
  }
  const std::uint64_t after = now_ns();
  if (const std::uint64_t took = after - before; took > throttled_ns)
    writes_in_engine_until_ = after + std::min(took * throttled_factor, throttled_for_most_ns);
  return true;
}

// Takes `result` bytes as transferred. False if that was the end: nothing remains, or the file ended.
bool DiskDriver::advance(DiskTask& task) {
  std::size_t n = static_cast<std::size_t>(task.result);
  SD_ASSERT(n <= task.remaining, "the kernel transfers no more than asked");
  task.offset += n;
  task.remaining -= n;
  task.transferred += n;
  if (n == 0 || task.remaining == 0) return false;
  while (n > 0) {
    iovec& v = task.iov[task.first_iov];
    if (n < v.iov_len) {
      v.iov_base = static_cast<char*>(v.iov_base) + n;
      v.iov_len -= n;
      break;
    }
    n -= v.iov_len;
    ++task.first_iov;
  }
  if (task.fd != task.file->fd && !aligned(task)) task.fd = task.file->fd;  // the tail of a file need not be aligned
  return true;
}

void DiskDriver::to_engine(DiskTask* task) {
  if (task->began == 0) task->began = now_ns();
  task->place = in_flight_.size();
  in_flight_.push_back(task);
  engine_->queue(task);
}

void DiskDriver::left_engine(DiskTask* task) {
  in_flight_.back()->place = task->place;
  in_flight_[task->place] = in_flight_.back();
  in_flight_.pop_back();
}

std::chrono::nanoseconds DiskDriver::oldest() const {
  std::uint64_t first = UINT64_MAX;
  for (const DiskTask* task : in_flight_) first = std::min(first, task->began);
  const std::uint64_t now = now_ns();
  return std::chrono::nanoseconds(first < now ? now - first : 0);
}

void DiskDriver::on_ended(DiskTask* task, std::vector<DiskDone>& done) {
  left_engine(task);
  if (task->result == -EINTR || task->result == -EAGAIN) return to_engine(task);
  if (task->result == -EINVAL && task->file && task->fd == task->file->direct_fd && task->fd >= 0) {
    task->fd = task->file->fd;  // a device with larger sectors
    return to_engine(task);
  }
  if (task->result < 0 && task->call == DiskTask::Call::unlink && replace_by_file(task->op.file))
    return to_engine(task);
  if (task->result < 0) return finish(task, -task->result, done);
  const bool transfer = task->call == DiskTask::Call::readv || task->call == DiskTask::Call::writev;
  if (transfer && advance(*task)) return to_engine(task);
  finish(task, transfer && task->call == DiskTask::Call::writev && task->remaining > 0 ? EIO : 0, done);
}

void DiskDriver::finish(DiskTask* task, int error, std::vector<DiskDone>& done) {
  if (task->op.kind == DiskOp::Kind::remove && error == ENOENT) error = 0;
  DiskDone& result = done.emplace_back();
  result.tag = task->op.tag;
  result.kind = task->op.kind;
  result.status = error == 0 ? Status::ok : status_of(task->op, error);
  if (error == 0 && task->op.kind == DiskOp::Kind::read) {
    result.data = std::move(task->data);
    result.data.shrink(task->transferred);
  }
  recycle(task);
}

// True if something else was in the place of an object's file: now there is an empty one. Its checksums do not fit, so
// the object's copy counts as damaged, and others repair it.
bool DiskDriver::replace_by_file(const FileId& file) {
  if (!files_.is_not_a_file(file)) return false;
  const std::string path = files_.path(file);
  const auto aside = files_.set_aside(file);
  if (aside)
    log_.error(
        fmt::format("{} is no file; it is called {} now, and the data of the object are lost here", path, *aside));
  else
    log_.error(fmt::format("{} is no file, and cannot be moved away: {}", path, std::strerror(aside.error())));
  return aside.has_value();
}

// Nothing is known of the disk: what another process takes away, it gives back.
void DiskDriver::starve(DiskTask* task, int error) {
  if (!starved())
    log_.warning(fmt::format("cannot open files: {}; what needs one waits. Raise the limit of open files",
                             std::strerror(error)));
  starved_.push_back(std::move(task->op));
  starved_until_ = now_ns() + std::chrono::nanoseconds(starved_retry).count();
  recycle(task);
}

Status DiskDriver::status_of(const DiskOp& op, int error) {
  using Kind = DiskOp::Kind;
  if (error == ENOENT && (op.kind == Kind::read || op.kind == Kind::sync || op.kind == Kind::punch))
    return Status::not_found;
  if (error == ENOSPC || error == EDQUOT) {
    log_.debug(fmt::format("{} {}: {}", name_of(op.kind), files_.path(op.file), std::strerror(error)));
    return Status::no_space;
  }
  log_.error(
      fmt::format("{} {} (offset {}): {}", name_of(op.kind), files_.path(op.file), op.offset, std::strerror(error)));
  return Status::io_error;
}

}  // namespace sd::runtime
