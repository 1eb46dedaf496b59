// The io_uring engine: one ring, filled during a turn of the loop and submitted once at its end.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <linux/falloc.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>

#include "core/base/assert.hpp"
#include "runtime/disk_engine.hpp"

namespace sd::runtime {

namespace {

constexpr unsigned ring_entries = 256;
// Threads of the kernel for what would block. It takes four for each processor unless told, and a checkpoint's syncs of
// objects can fill as many for long; the journal's next write and sync must not wait behind them.
constexpr unsigned max_workers = 64;
constexpr unsigned max_in_flight = 512;  // the completion ring's size: it never overflows

class UringEngine final : public DiskEngine {
 public:
  ~UringEngine() override {
    if (ready_) ::io_uring_queue_exit(&ring_);
  }

  std::expected<void, std::string> open() {
    // Completions are posted when the loop enters the kernel anyway, instead of interrupting it.
    int error = ::io_uring_queue_init(ring_entries, &ring_, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    if (error == -EINVAL) error = ::io_uring_queue_init(ring_entries, &ring_, 0);
    if (error < 0)
      return std::unexpected(
          fmt::format("the kernel offers no io_uring here ({}): use --io-engine threads", std::strerror(-error)));
    ready_ = true;
    const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(::io_uring_get_probe_ring(&ring_),
                                                                           ::io_uring_free_probe);
    for (const int op : {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_UNLINKAT})
      if (!probe || !::io_uring_opcode_supported(probe.get(), op))
        return std::unexpected(std::string("the kernel's io_uring is too old: use --io-engine threads"));
    unsigned workers[2] = {max_workers, 0};
    ::io_uring_register_iowq_max_workers(&ring_, workers);
    return {};
  }

  const char* name() const override { return "io_uring"; }
  int wait_fd() const override { return ring_.ring_fd; }

  void queue(DiskTask* task) override {
    if (in_flight_ >= max_in_flight) {
      backlog_.push_back(task);
      return;
    }
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (!sqe) {
      submit();
      sqe = ::io_uring_get_sqe(&ring_);
      SD_ASSERT(sqe != nullptr, "the submission ring is empty after a submit");
    }
    prepare(sqe, *task);
    ::io_uring_sqe_set_data(sqe, task);
    ++in_flight_;
  }

  void submit() override {
    while (::io_uring_sq_ready(&ring_) > 0) {
      const int n = ::io_uring_submit(&ring_);
      if (n == -EINTR || n == -EAGAIN || n == -EBUSY) continue;
      SD_ASSERT(n >= 0, "the kernel takes well-formed submissions");
    }
  }

  void reap(std::vector<DiskTask*>& ended) override {
    std::array<io_uring_cqe*, 64> cqes;
    for (;;) {
      const unsigned n = ::io_uring_peek_batch_cqe(&ring_, cqes.data(), cqes.size());
      if (n == 0) break;
      for (unsigned i = 0; i < n; ++i) {
        auto* task = static_cast<DiskTask*>(::io_uring_cqe_get_data(cqes[i]));
        task->result = cqes[i]->res;
        ended.push_back(task);
      }
      ::io_uring_cq_advance(&ring_, n);
      in_flight_ -= n;
    }
    if (backlog_.empty()) return;
    while (!backlog_.empty() && in_flight_ < max_in_flight) {
      DiskTask* task = backlog_.front();
      backlog_.pop_front();
      queue(task);
    }
    submit();
  }

 private:
  static void prepare(io_uring_sqe* sqe, const DiskTask& task) {
    switch (task.call) {
      case DiskTask::Call::readv:
        return ::io_uring_prep_readv(sqe, task.fd, task.iov_begin(), task.iov_count(), task.offset);
      case DiskTask::Call::writev:
        return ::io_uring_prep_writev(sqe, task.fd, task.iov_begin(), task.iov_count(), task.offset);
      case DiskTask::Call::fdatasync: return ::io_uring_prep_fsync(sqe, task.fd, IORING_FSYNC_DATASYNC);
      case DiskTask::Call::fsync: return ::io_uring_prep_fsync(sqe, task.fd, 0);
      case DiskTask::Call::punch:
        return ::io_uring_prep_fallocate(sqe, task.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         static_cast<off_t>(task.offset), static_cast<off_t>(task.remaining));
      case DiskTask::Call::unlink: return ::io_uring_prep_unlinkat(sqe, AT_FDCWD, task.path.c_str(), 0);
    }
  }

  io_uring ring_{};
  bool ready_ = false;
  unsigned in_flight_ = 0;
  std::deque<DiskTask*> backlog_;
};

}  // namespace

std::expected<std::unique_ptr<DiskEngine>, std::string> make_uring_engine() {
  auto engine = std::make_unique<UringEngine>();
  if (auto opened = engine->open(); !opened) return std::unexpected(std::move(opened.error()));
  return engine;
}

}  // namespace sd::runtime
