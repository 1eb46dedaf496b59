// The oracle of one virtual disk: told of every operation when it begins and when it ends, it says whether what the
// reads returned can be explained by a correct block device (design invariants 1, 2 and 6):
//
// - Reads and writes are linearizable for each 512-byte sector; a request over many sectors promises nothing about them
//   together.
// - An operation without an answer, or with an error, may have happened, may still happen, or never; but only once.
// - A write that was answered survives; after `power_lost` (the loss of every node) what was flushed, or written with
//   FUA, survives and each sector holds its last flushed value or any later one; once that was read it stays. After
//   `members_lost_power` (of so many that some object may have been on no other) likewise, but a gateway may have been
//   spared: what was under way may still happen, once more even.
// - Every byte of a read is explained: payloads name their volume, sector and operation, so nothing can come from
//   elsewhere.
//
// The verdict is a pure function of the calls. Not checked: writes that are not multiples of sectors, snapshots,
// resizing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/sector_history.hpp"

namespace sd::sim {

struct Violation {
  enum class Class : std::uint8_t { safety, durability, liveness, leak } kind = Class::safety;
  std::string what;
};

class DeviceModel {
 public:
  enum class Kind : std::uint8_t { read, write, zeros, flush };

  DeviceModel(std::uint32_t volume, std::uint64_t sectors) : volume_(volume), sectors_count_(sectors) {
    ops_.emplace_back();
  }

  // An operation begins; its number is its name and, for a write, its value. [first, first + count) are sectors; none
  // for a flush.
  OpId begin(Kind kind, std::uint64_t first, std::uint32_t count, bool fua);
  // The payload of a write: 512 bytes for each of its sectors.
  void fill(OpId op, std::span<std::byte> out) const;
  // Answered with success. `data` of a read, empty otherwise.
  void end(OpId op, std::span<const std::byte> data = {});
  // The same for a read whose data somebody else has decoded: for each sector the operation that wrote it, 0 for zeros,
  // nothing for bytes that are no payload of that sector.
  using Seen = std::optional<OpId>;
  void end_read(OpId op, std::span<const Seen> seen);
  // The same for a block status: for each sector whether it was said to be a hole, which reads as zeros. Of the others,
  // and of those behind the end of `hole`, nothing was said.
  void end_status(OpId op, const std::vector<bool>& hole);
  // What a read returned, for people: which operations wrote its sectors, as `operation x sectors`.
  std::string describe_data(OpId op, std::span<const std::byte> data) const;
  // Answered with an error, or never: it may have happened and may still.
  void unknown(OpId op);
  // From now on the operation, which was never answered, cannot happen any more.
  void fence(OpId op);
  // All nodes have lost power: volatile data may be gone, and what was under way can no longer happen.
  void power_lost() { lose_power(true); }
  // Some of them: what was under way still can.
  void members_lost_power() { lose_power(false); }

  const std::optional<Violation>& violation() const { return violation_; }
  std::uint64_t sectors() const { return sectors_count_; }
  void grow(std::uint64_t sectors) { sectors_count_ = sectors; }  // what is new reads as zeros
  // It was as large at some time.
  bool has_been(std::uint64_t sectors) const { return sectors >= first_sectors_ && sectors <= sectors_count_; }
  std::uint64_t checked_sectors() const { return checked_; }
  std::uint64_t inconclusive() const;
  bool open(OpId op) const { return ops_[op].state == State::open; }

 private:
  enum class State : std::uint8_t { open, done, unknown };
  struct Op {
    Kind kind = Kind::flush;
    State state = State::open;
    bool fua = false;
    std::uint32_t count = 0;
    std::uint64_t first = 0;
    Tick invoked = 0;
    std::uint32_t losses = 0;  // of power, before it ended
    Tick ended = 0;            // with success, and no power was lost meanwhile; 0: not so
  };
  // The operation that wrote these 512 bytes, 0 for zeros, nothing if they are no payload of this sector.
  std::optional<OpId> decode(std::uint64_t sector, const std::byte* bytes) const;
  bool finish(OpId op);
  void lose_power(bool all);
  void fence_sectors(const Op& op, OpId id);
  bool check_seen(OpId op, std::uint32_t at, Seen value, std::map<std::uint64_t, SectorHistory>::iterator& hint);
  void check_read(OpId op, std::span<const std::byte> data);
  OpId lost_write(OpId read, std::uint64_t sector, bool durable) const;
  OpId covering_flush(OpId write) const;
  std::string describe_lost(OpId read, std::uint64_t sector, bool durable) const;
  void fail(Violation::Class kind, OpId op, std::uint64_t sector, const std::string& what);
  SectorHistory& history(std::uint64_t sector, std::map<std::uint64_t, SectorHistory>::iterator& hint);

  std::uint32_t volume_;
  std::uint64_t sectors_count_;
  const std::uint64_t first_sectors_ = sectors_count_;
  std::vector<Op> ops_;
  std::map<std::uint64_t, SectorHistory> sectors_;
  Tick tick_ = 0;
  Tick power_tick_ = 0;
  std::uint32_t losses_ = 0;  // of power
  Tick flushed_before_ = 0;
  std::uint64_t checked_ = 0;
  std::optional<Violation> violation_;
};

}  // namespace sd::sim
