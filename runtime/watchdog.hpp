// Ends the process when its loop stands still: a disk that hangs can hold up the one thread that does everything, in a
// call that the kernel does not return from. Its connections would stay open, and whoever is connected would wait.
//
// Counts its own looks, of which there is one each interval, and not the time: a process that was stopped (SIGSTOP, a
// debugger, a paused machine) has not looked either, and is left alone when it goes on.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace sd::runtime {

// Counts the looks at something that should move.
class Stillness {
 public:
  explicit Stillness(unsigned looks) : looks_(looks) {}
  // One look. True if nothing has moved for so many of them.
  bool look(std::uint64_t beats) {
    still_ = beats == seen_ ? still_ + 1 : 0;
    seen_ = beats;
    return still_ >= looks_;
  }

 private:
  unsigned looks_, still_ = 0;
  std::uint64_t seen_ = 0;
};

class Watchdog {
 public:
  // After `looks` of them without a `beat`, `bite` is called, once, by a thread of its own.
  Watchdog(std::chrono::milliseconds interval, unsigned looks, std::function<void()> bite);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void beat() { beats_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void watch();

  const std::chrono::milliseconds interval_;
  Stillness stillness_;  // the thread's own
  const std::function<void()> bite_;
  std::atomic<std::uint64_t> beats_{0};
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

// Says `why` on the standard error, hangs up every connection of this process, and ends it with that exit code: at
// once, whatever its other threads are at.
[[noreturn]] void end_at_once(const char* why, int exit_code);

}  // namespace sd::runtime
