// Whether the disk still answers. A dying controller gives no error, and no answer either: the node would go on holding
// its lease, and whoever writes would wait for it, for as long as it lasts.
//
// Told each second or so how long the oldest operation has been under way. After `warn_after` the log and the status
// say so; after `patience` the node gives itself up, as for an error, so that the others can take over.
#pragma once
#include <optional>
#include <string>

#include "core/base/log_line.hpp"
#include "core/base/time.hpp"

namespace sd {

class DiskWatch {
 public:
  static constexpr Time warn_after = seconds(5);

  explicit DiskWatch(Time patience) : patience_(patience) {}

  // What the log is to say; an error means that the node is to stop.
  std::optional<LogLine> look(Time oldest);
  // How long it has not answered for; 0 if not for long.
  Time silent_for() const { return silent_for_; }

 private:
  Time patience_;
  Time silent_for_ = 0;
};

}  // namespace sd
