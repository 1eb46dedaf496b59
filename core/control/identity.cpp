#include "core/control/identity.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/codec.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/peer/message.hpp"

namespace sd::control {

namespace {

// The identity file: two slots of one block, used in turn, so that a torn write leaves the other. Little-endian: magic,
// version, node id, incarnation, number of earlier ones, these (newest first), CRC-32C of what stands before it.
constexpr std::uint32_t identity_magic = 0x49445348;
constexpr std::uint32_t identity_version = 2;
enum Step : std::uint64_t { read, written, synced, linked };

struct Stored {
  NodeId id = 0;
  Incarnation incarnation = 0;
  std::vector<Incarnation> earlier;
};

std::optional<Stored> decode(std::span<const std::byte> slot) {
  Reader r(slot);
  Stored stored;
  if (r.u32() != identity_magic || r.u32() != identity_version) return {};
  stored.id = r.u64();
  stored.incarnation = r.u64();
  for (auto n = r.count(max_kept_incarnations); n > 0 && !r.failed(); --n) stored.earlier.push_back(r.u64());
  const std::size_t size = slot.size() - r.remaining();
  if (r.u32() != crc32c(slot.first(size)) || r.failed() || stored.id == 0) return {};
  return stored;
}

std::optional<Stored> newest(std::span<const std::byte> file) {
  if (!file.empty() && file.size() < limits::block_size) return decode(file);
  std::optional<Stored> best;
  for (std::size_t at = 0; at + limits::block_size <= file.size(); at += limits::block_size) {
    const auto slot = decode(file.subspan(at, limits::block_size));
    if (slot && (!best || starts_of(slot->incarnation) > starts_of(best->incarnation))) best = slot;
  }
  return best;
}

DiskOp operation(DiskOp::Kind kind, Step step) {
  DiskOp op;
  op.kind = kind;
  op.file = {FileKind::identity, 0, 0};
  op.tag = Identity::disk_tag | step;
  return op;
}

}  // namespace

void Identity::start(std::vector<DiskOp>& disk) {
  DiskOp op = operation(DiskOp::Kind::read, read);
  op.length = 2 * limits::block_size;
  disk.push_back(std::move(op));
}

void Identity::write(BufferPool& pool, std::vector<DiskOp>& disk) {
  Slice block = pool.zeros(limits::block_size);
  std::string bytes;
  Writer w(bytes);
  w.u32(identity_magic);
  w.u32(identity_version);
  w.u64(id_);
  w.u64(incarnation_);
  w.u32(static_cast<std::uint32_t>(earlier_.size()));
  for (const Incarnation incarnation : earlier_) w.u64(incarnation);
  w.u32(crc32c(bytes.data(), bytes.size()));
  std::memcpy(block.mutable_data(), bytes.data(), bytes.size());
  DiskOp op = operation(DiskOp::Kind::write, written);
  // The first incarnation writes both slots, so that later ones find their room taken even on a disk that is full by
  // then.
  if (earlier_.empty() && !SD_BUG(start_needs_space))
    op.slices.push_back(block);
  else
    op.offset = starts_of(incarnation_) % 2 * limits::block_size;
  op.slices.push_back(std::move(block));
  op.length = op.slices.size() * limits::block_size;
  disk.push_back(std::move(op));
  progress_ = Progress::writing;
}

void Identity::on_read(const DiskDone& done, BufferPool& pool, Random& random, std::vector<DiskOp>& disk) {
  if (done.status != Status::ok && done.status != Status::not_found)
    return fail("the identity file cannot be read: " + std::string(to_string(done.status)));
  auto best = newest(done.data.bytes());
  if (done.status == Status::ok && !best && !done.data.empty()) {
    // Even a write that was torn leaves the other slot; and an identity made up anew would make this node's data a
    // stranger's.
    const bool blank = std::ranges::all_of(done.data.bytes(), [](std::byte b) { return b == std::byte{0}; });
    if (!blank)
      return fail(
          "the identity file is damaged; restore it from a backup, or empty the data directory and let the node join "
          "as a new one");
  }
  id_ = best ? best->id : 0;
  while (id_ == 0) id_ = random.next();
  if (best) {
    earlier_ = std::move(best->earlier);
    if (earlier_.size() == max_kept_incarnations) earlier_.pop_back();
    earlier_.insert(earlier_.begin(), best->incarnation);
  }
  incarnation_ = incarnation_of(best ? starts_of(best->incarnation) + 1 : 1, SD_BUG(repeat_incarnation) ? 0 : drawn_);
  write(pool, disk);
}

void Identity::on_disk(DiskDone&& done, BufferPool& pool, Random& random, std::vector<DiskOp>& disk) {
  const auto step = done.tag & ~disk_tag;
  if (step == read) return on_read(done, pool, random, disk);
  if (done.status != Status::ok)
    return fail("the identity file cannot be written: " + std::string(to_string(done.status)));
  if (step == written)
    disk.push_back(operation(DiskOp::Kind::sync, synced));
  else if (step == synced)
    disk.push_back(operation(DiskOp::Kind::sync_directory, linked));
  else
    progress_ = Progress::ready;
}

void Identity::fail(std::string reason) {
  progress_ = Progress::failed;
  reason_ = std::move(reason);
}

std::vector<Incarnation> Identity::shown(Incarnation asked_for) const {
  if (asked_for == 0) asked_for = asked_for_;
  std::vector<Incarnation> shown(
      earlier_.begin(),
      earlier_.begin() + static_cast<std::ptrdiff_t>(std::min(earlier_.size(), peer::max_earlier_incarnations)));
  if (asked_for != 0 && std::ranges::find(shown, asked_for) == shown.end()) {
    if (shown.size() == peer::max_earlier_incarnations) shown.pop_back();
    shown.push_back(asked_for);
  }
  return shown;
}

bool Identity::has_been(Incarnation incarnation) const {
  if (std::ranges::find(earlier_, incarnation) != earlier_.end()) return true;
  return earlier_.size() == max_kept_incarnations && starts_of(incarnation) < starts_of(earlier_.back());
}

}  // namespace sd::control
