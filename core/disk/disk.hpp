// What a machine may ask of a disk, as data. The driver performs the operations and hands each result back as a
// DiskDone.
//
// Contract, the same for the real disk (runtime/) and the simulated one (sim/):
// - Operations may complete in any order; a machine that needs an order waits for the first completion. A read sees
//   every write that had completed before it was started. Two operations in flight on overlapping ranges have no
//   defined outcome: don't.
// - A completed write is visible to reads and survives the death of the process, but not a loss of power: only a later
//   `sync` of that file, completed with ok, makes the writes that had completed before it started durable. Before that
//   any subset of their 512-byte sectors may survive; a sector is never mixed.
// - A file that a write or truncate created may vanish with power until `sync_directory` of its directory has
//   completed; so may the effect of `remove` be undone.
// - After a `sync` that failed, none of the unsynced writes of that file may be trusted (they may be dropped by the
//   kernel).
// - Offsets, lengths and slices of reads and writes are multiples of 512 where the driver was started with O_DIRECT;
//   machines in core/ use multiples of 4096 for everything large, so that both work.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/slice.hpp"
#include "core/base/status.hpp"

namespace sd {

// The directories and files of one node's data directory. Paths are the driver's business: see runtime/ for the names.
enum class FileKind : std::uint8_t {
  identity,     // who this node is; id 0
  raft,         // cluster log; id 0 and 1, used in turn
  journal,      // write-ahead journal of the object store; id 0
  object,       // data of object `id` (an Oid); `strip` is the erasure-coding strip, 0 for a whole copy
  object_meta,  // checksums and version of that object
};

struct FileId {
  FileKind kind{};
  std::uint8_t strip = 0;
  std::uint64_t id = 0;
  friend constexpr auto operator<=>(const FileId&, const FileId&) = default;
};

struct DiskOp {
  enum class Kind : std::uint8_t {
    // [offset, offset + length): `data` of the result; short at the end of the file; not_found if there is no file
    read,
    // `slices` one after the other at `offset`; creates the file and extends it as needed; no_space, io_error
    write,
    sync,            // fdatasync; not_found if there is no file
    sync_directory,  // of the directory that holds file.kind
    remove,          // of a file; ok if there was none
    // [offset, offset + length) becomes a hole that reads as zeros; the size stays; not_found if there is no file
    punch,
    truncate,  // to `offset` bytes; creates the file
    list,      // `files` of the result: every file of file.kind
  };
  Kind kind{};
  FileId file;
  std::uint64_t tag = 0;  // comes back in the result; meaning is the machine's own
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::vector<Slice> slices;
  bool uncached = false;  // write: nobody is expected to read it soon, and memory is better used for something else
};

struct DiskDone {
  std::uint64_t tag = 0;
  DiskOp::Kind kind{};
  Status status = Status::ok;  // ok, not_found, no_space, io_error
  Slice data;
  std::vector<FileId> files;  // ordered
};

}  // namespace sd
