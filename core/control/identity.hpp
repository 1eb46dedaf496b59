// Who a node is: its id, drawn once, and its incarnation, one for each start. Both are in the identity file, which is
// written anew at each start before anything else is read.
//
// The problem: an old image of a disk, put back, would take part as the same node and deny what it promised since. So
// each incarnation is drawn (no two starts of two copies share one), and the file keeps the earlier ones: a cluster
// that knows an incarnation which the disk has never seen knows more than the disk (see core/peer/introduction.hpp).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/random.hpp"
#include "core/base/slice.hpp"
#include "core/disk/disk.hpp"

namespace sd::control {

// Incarnations that the identity file keeps, of which a slot is one block.
inline constexpr std::size_t max_kept_incarnations = 400;
static_assert(4 + 4 + 8 + 8 + 4 + 8 * max_kept_incarnations + 4 <= limits::block_size);

class Identity {
 public:
  static constexpr std::uint64_t disk_tag = 0x03ull << 56;  // of its disk operations

  enum class Progress : std::uint8_t { reading, writing, ready, failed };

  // `drawn`: the part of the incarnation that is drawn.
  explicit Identity(std::uint64_t drawn) : drawn_(drawn) {}

  void start(std::vector<DiskOp>& disk);
  // `random` gives a new node its id.
  void on_disk(DiskDone&& done, BufferPool& pool, Random& random, std::vector<DiskOp>& disk);
  Progress progress() const { return progress_; }
  const std::string& reason() const { return reason_; }  // of a failure

  NodeId id() const { return id_; }
  Incarnation incarnation() const { return incarnation_; }

  // --- Once it is ready

  // Those that an introduction names: the newest, and the one that was asked for.
  std::vector<Incarnation> shown(Incarnation asked_for = 0) const;
  // Whether this disk has been that incarnation, or may have been: its list goes back only so far.
  bool has_been(Incarnation incarnation) const;
  // Somebody knows this node by it. The last one asked for is named in every introduction from now on.
  void ask_for(Incarnation incarnation) { asked_for_ = incarnation; }

 private:
  void write(BufferPool& pool, std::vector<DiskOp>& disk);
  void on_read(const DiskDone& done, BufferPool& pool, Random& random, std::vector<DiskOp>& disk);
  void fail(std::string reason);

  std::uint64_t drawn_;
  Progress progress_ = Progress::reading;
  std::string reason_;
  NodeId id_ = 0;
  Incarnation incarnation_ = 0;
  std::vector<Incarnation> earlier_;  // of this disk, newest first, as many as the file keeps
  Incarnation asked_for_ = 0;
};

}  // namespace sd::control
