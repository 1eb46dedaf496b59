// The thread engine, for kernels without io_uring: a few threads take tasks from one queue and make blocking calls.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "core/base/assert.hpp"
#include "runtime/disk_engine.hpp"

namespace sd::runtime {

namespace {

int perform(const DiskTask& task) {
  ssize_t n = -1;
  switch (task.call) {
    case DiskTask::Call::readv:
      n = ::preadv(task.fd, task.iov_begin(), static_cast<int>(task.iov_count()), static_cast<off_t>(task.offset));
      break;
    case DiskTask::Call::writev:
      n = ::pwritev(task.fd, task.iov_begin(), static_cast<int>(task.iov_count()), static_cast<off_t>(task.offset));
      break;
    case DiskTask::Call::fdatasync: n = ::fdatasync(task.fd); break;
    case DiskTask::Call::fsync: n = ::fsync(task.fd); break;
    case DiskTask::Call::punch:
      n = ::fallocate(task.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(task.offset),
                      static_cast<off_t>(task.remaining));
      break;
    case DiskTask::Call::unlink: n = ::unlink(task.path.c_str()); break;
  }
  return n < 0 ? -errno : static_cast<int>(n);
}

class ThreadEngine final : public DiskEngine {
 public:
  explicit ThreadEngine(unsigned threads) : event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    SD_ASSERT(event_ >= 0, "a process can make an eventfd at its start");
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ThreadEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
    ::close(event_);
  }

  const char* name() const override { return "threads"; }
  int wait_fd() const override { return event_; }
  void queue(DiskTask* task) override { fresh_.push_back(task); }

  void submit() override {
    if (fresh_.empty()) return;
    {
      const std::lock_guard lock(mutex_);
      waiting_.insert(waiting_.end(), fresh_.begin(), fresh_.end());
    }
    if (fresh_.size() == 1)
      wake_.notify_one();
    else
      wake_.notify_all();
    fresh_.clear();
  }

  void reap(std::vector<DiskTask*>& ended) override {
    const std::lock_guard lock(mutex_);
    if (ended_.empty()) return;
    std::uint64_t count;
    (void)!::read(event_, &count, sizeof count);
    ended.insert(ended.end(), ended_.begin(), ended_.end());
    ended_.clear();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      DiskTask* task = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      const int result = perform(*task);
      lock.lock();
      task->result = result;
      ended_.push_back(task);
      if (ended_.size() == 1) {
        const std::uint64_t one = 1;
        (void)!::write(event_, &one, sizeof one);
      }
    }
  }

  const int event_;
  std::vector<DiskTask*> fresh_;  // of the loop thread
  std::mutex mutex_;              // guards what follows
  std::condition_variable wake_;
  std::deque<DiskTask*> waiting_;
  std::vector<DiskTask*> ended_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<DiskEngine> make_thread_engine(unsigned threads) { return std::make_unique<ThreadEngine>(threads); }

}  // namespace sd::runtime
