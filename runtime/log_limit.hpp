// Keeps a log from being flooded. Whoever can reach a port can cause a line with each connection, and a disk that fails
// causes one with each operation; some gigabytes of the same line an hour say nothing more than the first one, and fill
// the disk of the system.
//
// Lines that differ only in numbers, addresses and ids have one cause. In 10 s from its first line a cause gets 8,
// and a warning or an error in the same words comes only once; the others are counted, and one line tells how many.
// The first line of a cause is always written, unless there are more causes than the table holds: then errors take the
// place of what is less, and what is less is counted. Used by one thread at a time.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/node/node.hpp"

namespace sd::runtime {

class LogLimit {
 public:
  using Clock = std::chrono::steady_clock;
  using Level = LogLine::Level;
  static constexpr auto period = std::chrono::seconds(10);
  static constexpr std::uint32_t lines_per_period = 8;
  static constexpr std::size_t max_causes = 256;

  // False: the line is to be left out, and is counted.
  bool admit(Clock::time_point now, Level level, std::string_view text);
  // Lines that tell what was left out: of each cause once its 10 s are over, or of all of them now. Cheap if there are
  // none.
  std::vector<LogLine> left_out(Clock::time_point now, bool all = false);

  std::size_t causes() const { return causes_.size(); }

 private:
  struct Cause {
    Level level{};
    Clock::time_point end;
    std::vector<std::size_t> written;  // hashes of the lines
    std::uint64_t left_out = 0;
    std::string last;  // of those left out
  };
  using Causes = std::unordered_map<std::string, Cause>;

  bool make_room(Clock::time_point now, Level level);
  void forget(Causes::iterator cause);

  Causes causes_;
  std::vector<LogLine> told_;        // not fetched yet
  std::uint64_t without_place_ = 0;  // lines of causes that found no room
  Clock::time_point next_end_ = Clock::time_point::max();
};

}  // namespace sd::runtime
