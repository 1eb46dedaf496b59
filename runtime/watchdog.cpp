#include "runtime/watchdog.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace sd::runtime {

Watchdog::Watchdog(std::chrono::milliseconds interval, unsigned looks, std::function<void()> bite)
    : interval_(interval), stillness_(looks), bite_(std::move(bite)), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, interval_, [this] { return end_; })) {
    if (!stillness_.look(beats_.load(std::memory_order_relaxed))) continue;
    bite_();
    return;
  }
}

void end_at_once(const char* why, int exit_code) {
  [[maybe_unused]] auto ignored = ::write(STDERR_FILENO, why, std::strlen(why));
  // The descriptors of a process are closed when its last thread is gone, which may take as long as the disk likes.
  constexpr int last = 1 << 16;  // the lowest free number is taken each time, and there are fewer
  for (int fd = STDERR_FILENO + 1; fd < last; ++fd) ::shutdown(fd, SHUT_RDWR);
  ::_exit(exit_code);
}

}  // namespace sd::runtime
