#include "apps/dog/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/client/size_text.hpp"

namespace sd::dog {

namespace {

std::string duration(double seconds) {
  const auto s = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 359'999.0));
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

Progress::Progress(std::string what, std::uint64_t total)
    : what_(std::move(what)), total_(total), shown_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (!shown_ || drawn_ == begin_) return;
  draw(Clock::now());
  fmt::print(stderr, "\n");
}

void Progress::add(std::uint64_t bytes) {
  done_ += bytes;
  const auto now = Clock::now();
  if (shown_ && now - drawn_ >= std::chrono::milliseconds(200)) draw(now);
}

void Progress::draw(Clock::time_point now) {
  drawn_ = now;
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  std::string line = what_ + " ";
  if (total_ > 0) {
    constexpr std::size_t cells = 24;
    const double part = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
    const auto full = static_cast<std::size_t>(part * static_cast<double>(cells));
    line += fmt::format("[{}{}] {:3.0f}%  {} of {}", std::string(full, '#'), std::string(cells - full, '.'), part * 100,
                        client::format_size(done_), client::format_size(total_));
  } else {
    line += client::format_size(done_);
  }
  line += fmt::format("  {}/s", client::format_size(static_cast<std::uint64_t>(rate)));
  if (total_ > done_ && rate > 0)
    line += fmt::format("  {} left", duration(static_cast<double>(total_ - done_) / rate));
  fmt::print(stderr, "\r\x1b[K{}", line);
}

}  // namespace sd::dog
