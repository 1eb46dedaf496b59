// How fast background recovery may copy: a rate of bytes per second while the node also works for clients, and another
// while it does not.
//
// Nothing is asked of the disks or the network to find out which; the requests that pass are counted. A token bucket of
// one burst: what was not used for a while is not saved up, so that recovery which begins anew does not begin with a
// rush.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/base/time.hpp"
#include "core/cluster/state.hpp"

namespace sd {

class Throttle {
 public:
  // A request of a client passed through this node.
  void on_foreground(Time now) {
    roll(now);
    ++count_;
  }
  bool busy(Time now) const {
    if (now < window_ends_) return count_ >= enough || before_ >= enough;
    return now < window_ends_ + window && count_ >= enough;
  }

  // Whether so many bytes may be asked for now; if so they count.
  bool take(Time now, std::uint64_t bytes, const cluster::RecoveryRates& rates) {
    const std::uint64_t rate = busy(now) ? rates.busy : rates.idle;
    if (rate == 0) return true;
    if (std::exchange(rate_, rate) != rate) free_at_ = 0;  // what was taken at another rate says nothing
    if (now < free_at_) return false;
    free_at_ = std::max(free_at_, now - std::min(now, burst)) + bytes * seconds(1) / rate;
    return true;
  }
  Time free_at() const { return free_at_; }

 private:
  static constexpr Time window = milliseconds(500);
  static constexpr std::uint64_t enough = 8;  // requests in a window; recovery's own reads of the index are fewer
  static constexpr Time burst = milliseconds(20);

  void roll(Time now) {
    if (now < window_ends_) return;
    before_ = now < window_ends_ + window ? count_ : 0;
    count_ = 0;
    window_ends_ = now + window;
  }

  std::uint64_t rate_ = 0;
  Time free_at_ = 0;
  Time window_ends_ = 0;
  std::uint64_t count_ = 0, before_ = 0;
};

}  // namespace sd
