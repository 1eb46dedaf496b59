// The one source of every random choice of a simulated world.
//
// Each site draws from its own stream, so that taking one kind of choice out of a run (while shrinking it) shifts the
// others as little as possible. A seed regenerates every choice; a recorded log replays them even when the seed's
// meaning has changed since.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/random.hpp"

namespace sd::sim {

enum class Site : std::uint8_t {
  config,
  limits,
  fault_plan,
  fault_target,
  crash_point,
  disk_latency,
  disk_fault,
  disk_crash,
  net_latency,
  net_split,
  net_fault,
  dial,
  guest_a,
  guest_b,
  guest_c,
  admin,
  node_seed,
  clock,
  aim,
  membership,
  rare,
  image,
  resume,
  check,
  narrow,
  sizes,
  operate,
  count
};

class Decisions {
 public:
  explicit Decisions(std::uint64_t seed);
  // A source that gives back a recorded log (see `text`); past its end the seed's own streams go on. Nothing if the
  // text is no log.
  static std::optional<Decisions> parse(std::string_view text);

  // A number in [0, bound). bound must not be 0; a bound of 1 draws nothing.
  std::uint64_t choose(Site site, std::uint64_t bound) {
    if (bound <= 1) return 0;
    if (plain_) return streams_[static_cast<std::size_t>(site)].below(bound);
    return slow_choose(site, bound);
  }
  // In [low, high], both included.
  std::uint64_t between(Site site, std::uint64_t low, std::uint64_t high) { return low + choose(site, high - low + 1); }
  // True `hits` times out of `of`.
  bool chance(Site site, std::uint64_t hits, std::uint64_t of) { return hits != 0 && choose(site, of) < hits; }
  // 62 random bits, for masks and seeds.
  std::uint64_t bits(Site site) { return choose(site, 1ull << 62); }

  std::uint64_t seed() const { return seed_; }
  void record();  // from now on; costs memory, so it is off unless asked for
  // The recorded choices: a line with the seed, then `site value` in hexadecimal, `*n` for a repeated line.
  std::string text() const;
  // A replayed log asked for another site, or held a value out of bounds: the program has changed since it was written.
  bool diverged() const { return diverged_; }
  // Which choice that was first, counted from 0, in words.
  const std::string& divergence() const { return divergence_; }

 private:
  struct Draw {
    Site site;
    std::uint64_t value;
    friend bool operator==(const Draw&, const Draw&) = default;
  };
  std::uint64_t slow_choose(Site site, std::uint64_t bound);

  std::uint64_t seed_;
  std::array<Random, static_cast<std::size_t>(Site::count)> streams_;
  bool plain_ = true;  // neither recording nor replaying
  bool recording_ = false;
  bool diverged_ = false;
  std::string divergence_;
  std::vector<Draw> log_;
  std::vector<Draw> replay_;
  std::size_t next_ = 0;
};

}  // namespace sd::sim
