#include "core/node/disk_watch.hpp"

#include <utility>

namespace sd {

namespace {
std::string in_seconds(Time time) { return std::to_string(time / seconds(1)) + " s"; }
}  // namespace

std::optional<LogLine> DiskWatch::look(Time oldest) {
  const Time before = std::exchange(silent_for_, oldest >= warn_after ? oldest : 0);
  if (oldest >= patience_)
    return LogLine{LogLine::Level::error, "the disk has not answered for " + in_seconds(oldest) +
                                              "; this node stops so that the others can take over"};
  if (silent_for_ > 0 && before == 0)
    return LogLine{LogLine::Level::warning, "the disk has not answered for " + in_seconds(oldest) +
                                                "; what is written waits for it. This node stops after " +
                                                in_seconds(patience_)};
  if (silent_for_ == 0 && before > 0)
    return LogLine{LogLine::Level::info, "the disk answers again, after " + in_seconds(before) + " or more"};
  return {};
}

}  // namespace sd
