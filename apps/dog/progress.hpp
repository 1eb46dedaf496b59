// How far a transfer is, on standard error if that is a terminal: a bar, the rate, and the time left.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace sd::dog {

class Progress {
 public:
  // `total` 0: not known.
  Progress(std::string what, std::uint64_t total);
  ~Progress();  // leaves the cursor on a new line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void add(std::uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  std::string what_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  bool shown_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point drawn_ = begin_;
};

}  // namespace sd::dog
