// Judges what real clients recorded, by the rules and the code by which the simulator judges its own guests
// (sim/device_model.hpp).
//
// A history is text, one event a line, fields separated by one space, in the order of their times:
//
//   v VOLUME SECTORS                              a disk, before its first operation; VOLUME is a number
//   b TIME VOLUME OP KIND FIRST COUNT CLIENT      an operation begins: before its request was sent
//   e TIME VOLUME OP ok [SEEN]                    it was answered: written after the answer had arrived
//   e TIME VOLUME OP error NUMBER                 it was answered with this error: it may have happened and may still
//   e TIME VOLUME OP unknown                      it will not be answered: likewise
//   p TIME                                        all nodes were dead at this time: what was not flushed may be gone
//   # ...                                         nothing; as are empty lines
//
// TIME is any clock that never goes back (decimal). OP is a number from 1 up, used once for each VOLUME. KIND is read,
// write, fua (a write with that flag), zero, trim or flush. FIRST and COUNT are sectors of 512 bytes, 0 and 0 for a
// flush. CLIENT is a word for people. SEEN, for reads, says what each sector held, as runs: `OP x SECTORS` without
// spaces, joined by commas ("17x8,0x4,?x1"): the operation whose payload is there (the client has checked its checksum,
// place and number), 0 for zeros, ? for bytes that are no payload of that sector. Beginning and end are lines of their
// own, so that a reader keeps only what is open, and what was recorded when a recorder dies is a history still:
// operations without an end are unknown.
//
// The histories of several recorders of one machine are joined by `sort -s -n -k 2`, with the `v` lines first.
//
// Not checked: that operations end at all; sizes and names that an NBD server shows.
#pragma once
#include <cstdint>
#include <istream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "sim/device_model.hpp"

namespace sd::sim {

class RecordedHistory {
 public:
  // False at a line that is no part of a history, or when a violation was found: then nothing more is taken.
  bool line(std::string_view text);
  // All lines of a stream.
  bool read(std::istream& in);

  // What is wrong with the history itself ("line 7: ..."); its verdict means nothing then.
  const std::optional<std::string>& malformed() const { return malformed_; }
  // What is wrong with the disks.
  const std::optional<Violation>& violation() const { return violation_; }
  // "3 disks, 1000 operations (...)".
  std::string summary() const;

 private:
  struct Disk {
    std::unique_ptr<DeviceModel> model;
    std::map<std::uint64_t, OpId> names;  // what the recorder calls an operation -> what the model calls it
    struct Open {
      DeviceModel::Kind kind;
      std::uint32_t count;
      std::string text;
    };
    std::map<std::uint64_t, Open> open;
  };
  bool refuse(const std::string& why);
  bool disk(std::string_view rest);
  bool begin(std::string_view rest);
  bool end(std::string_view rest);
  bool end_read(Disk& disk, std::uint64_t name, std::string_view seen);
  bool power();
  bool time(std::string_view word);

  std::map<std::uint64_t, Disk> disks_;
  std::uint64_t line_ = 0;
  std::uint64_t now_ = 0;
  std::uint64_t operations_ = 0;
  std::uint64_t reads_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t unknown_ = 0;
  std::uint64_t power_losses_ = 0;
  std::optional<std::string> malformed_;
  std::optional<Violation> violation_;
};

}  // namespace sd::sim
