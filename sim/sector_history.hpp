// What one 512-byte sector of a virtual disk may hold, decided from the operations on it: an online linearizability
// check of a register.
//
// Every data write has a value of its own, so a write and the reads that saw it form a cluster, which must occupy one
// stretch of the linear order. With `finish` the earliest return and `start` the latest invocation in a cluster, the
// history is linearizable iff no two clusters with finish < start ("forward": the value must hold all along) overlap
// and no other cluster lies inside a forward one (Gibbons and Korach, Testing shared memories, 1997). A write without
// an answer and without a reader binds nothing.
//
// Zeros are not unique: a read of zeros is given to some writer of zeros that fits, and if that guess ends in a
// contradiction, all assignments are searched (Wing and Gong). The search is bounded; a history that exhausts it is
// accepted and counted.
//
// Loss of power: the sector may then hold any value that is not certainly older than a durable one; which one is open
// until a read pins it. Ticks are event numbers, all different.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace sd::sim {

using OpId = std::uint32_t;  // of one virtual disk; as a value it names the data written by that operation; 0 is zeros
using Tick = std::uint64_t;
inline constexpr Tick no_tick = UINT64_MAX;

class SectorHistory {
 public:
  enum class Verdict : std::uint8_t {
    ok,
    never_written,  // nobody wrote that value here, or only later
    stale,          // no order of the operations explains it: an old value read, a write lost or undone
    lost_durable,   // a value older than one that was flushed, after a loss of power
    changed_base,   // after a loss of power, two different survivors were read
  };

  void begin_write(OpId op, bool zeros, Tick invoked);
  // `durable`: the write was acknowledged with FUA.
  Verdict end_write(OpId op, Tick returned, bool durable);
  // The write may have happened until now or never; from now on it cannot happen.
  void fence(OpId op, Tick now);
  Verdict read(OpId value, Tick invoked, Tick returned);
  // Everything volatile may be gone. `flushed_before`: writes that had returned by this tick were flushed (0: none).
  // `all`: with everybody who had heard of them, so that writes under way cannot happen any more.
  void lose_power(Tick now, Tick flushed_before, bool all);

  std::uint32_t inconclusive() const { return inconclusive_; }

 private:
  struct Cluster {
    OpId write = 0;  // 0 in the base
    OpId value = 0;  // 0: zeros
    bool base = false;
    bool durable = false;
    Tick invoked = 0;  // of the write
    Tick returned = no_tick;
    Tick limit = no_tick;  // fenced then
    Tick start = 0;
    Tick finish = no_tick;
    std::uint32_t reads = 0;
  };
  struct Read {
    OpId value;
    Tick invoked, returned;
  };

  static bool contradict(const Cluster& a, const Cluster& b);
  bool fits(const Cluster& changed) const;
  Cluster* find(OpId write);
  Verdict judge(Verdict verdict);
  bool add_read(Cluster& cluster, Tick invoked, Tick returned);
  Verdict read_zeros(Tick invoked, Tick returned);
  bool base_may_be(OpId value) const;
  bool search();

  std::vector<Cluster> clusters_;  // of this period of power
  std::vector<Read> reads_;
  // The value at the start of the period: one of these; `pinned_` once read. Empty means zeros, a disk's first state.
  std::vector<OpId> base_;
  Tick base_tick_ = 0;
  bool pinned_ = true;
  bool base_present_ = false;  // clusters_ has the base
  bool guessed_ = false;       // a read of zeros had more than one possible writer
  bool searching_ = false;     // the guesses were wrong: every verdict needs the search
  std::uint32_t inconclusive_ = 0;
};

std::string_view to_string(SectorHistory::Verdict verdict);

}  // namespace sd::sim
