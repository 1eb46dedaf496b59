// Compares the copies of every object, at rest, through stores opened on the simulated disks.
#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <set>

#include "core/base/crc32c.hpp"
#include "core/cluster/placement.hpp"
#include "core/store/store.hpp"
#include "sim/checkers.hpp"
#include "sim/faults.hpp"
#include "sim/node_machine.hpp"
#include "sim/world.hpp"

namespace sd::sim {

namespace {

// One machine's store. Every call runs until its answer is there; time stands still.
class Reader {
 public:
  Reader(World& world, NodeMachine& machine)
      : world_(world), machine_(machine), store_(options_of(machine), world.pool, 1) {
    store_.open(world_.now, effects_);
    run();
  }

  bool ready() const { return store_.ready() && !store_.failed(); }
  std::vector<Oid> objects() const { return store_.objects(); }
  StoreDone query(Oid oid) {
    store_.query(world_.now, 1, oid, effects_);
    return answer();
  }
  StoreDone read_chunk(Oid oid, std::uint32_t chunk) {
    store_.read_chunk(world_.now, 1, oid, chunk, effects_);
    return answer();
  }

 private:
  static StoreOptions options_of(const NodeMachine& machine) {
    StoreOptions options;
    options.journal_bytes = machine.options().journal_bytes;
    options.apply_bytes = machine.options().apply_bytes;
    options.max_dirty_bytes = machine.options().max_dirty_bytes;
    options.meta_cache = static_cast<std::uint32_t>(machine.options().meta_cache);
    return options;
  }
  void run() {
    store_.flush_batch(world_.now, effects_);
    std::vector<SimDisk::Started> pending;
    while (!effects_.disk.empty() || !pending.empty()) {
      for (DiskOp& op : std::exchange(effects_.disk, {}))
        pending.push_back(machine_.disk.start(world_.now, std::move(op)));
      const auto next = std::ranges::min_element(pending, {}, &SimDisk::Started::done_at);
      const std::uint32_t slot = next->slot;
      pending.erase(next);
      store_.on_disk(world_.now, machine_.disk.finish(slot), effects_);
    }
  }
  StoreDone answer() {
    run();
    StoreDone done;
    for (StoreDone& each : std::exchange(effects_.done, {}))
      if (each.ticket == 1) done = std::move(each);
    return done;
  }

  World& world_;
  NodeMachine& machine_;
  StoreEffects effects_;
  Store store_;
};

// What a chunk holds, as one number; zeros for blocks that are not allocated.
std::uint64_t digest(const StoreDone& chunk) {
  std::string bytes;
  for (const Slice& slice : chunk.data) bytes.append(reinterpret_cast<const char*>(slice.data()), slice.size());
  return crc32c({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}) ^ chunk.chunks << 32;
}

// Whether the index, as this store has it, names a data object.
bool named(Reader& reader, Oid oid) {
  const std::uint64_t at = std::uint64_t{oid.index() % limits::index_entries_per_object} * 4;
  const StoreDone chunk =
      reader.read_chunk(Oid::index_object(oid.vid(), oid.index() / limits::index_entries_per_object),
                        static_cast<std::uint32_t>(at / limits::chunk_size));
  const auto block = static_cast<unsigned>(at % limits::chunk_size / limits::block_size);
  if (chunk.status != Status::ok || (chunk.chunks >> block & 1) == 0) return false;
  std::size_t skip =
      static_cast<std::size_t>(std::popcount(chunk.chunks & ((1ull << block) - 1))) * limits::block_size +
      at % limits::block_size;
  for (const Slice& slice : chunk.data) {
    if (skip < slice.size()) {
      std::uint32_t entry = 0;
      std::memcpy(&entry, slice.data() + skip, 4);
      return entry != 0;
    }
    skip -= slice.size();
  }
  return false;
}

std::string text_of(const Version& v) {
  return std::to_string(v.log_index()) + "." + std::to_string(v.round()) + "." + std::to_string(v.sequence);
}

}  // namespace

std::string compare_copies(World& world, const cluster::State& state, const std::vector<NodeId>& ids) {
  const FaultSet bad_disks =
      bit(FaultClass::read_error) | bit(FaultClass::full) | bit(FaultClass::lost_write) | bit(FaultClass::lying_sync);
  const std::uint32_t left_out = world.config.faults & bad_disks ? world.faults->bad_disk() : world.config.nodes;
  std::vector<std::unique_ptr<Reader>> readers;
  std::set<Oid> objects;
  for (const auto& machine : world.nodes) {
    readers.push_back(std::make_unique<Reader>(world, *machine));
    if (machine->id() == left_out) continue;
    if (!readers.back()->ready()) return "the store of " + machine->name() + " cannot be opened at the end";
    for (const Oid oid : readers.back()->objects()) objects.insert(oid);
  }
  const cluster::Placement placement(state);
  for (const Oid oid : objects) {
    const cluster::Vdi* vdi = state.find(oid.vid());
    if (!vdi) return "object " + to_string(oid) + " is stored and its disk is gone";
    if (vdi->deleting) continue;
    // Of a former disk of that number, and removed when this one is used for the first time.
    const auto is_void = [&](const auto& reader) {
      return reader->query(oid).info.version.log_index() < vdi->created_index;
    };
    if (vdi->owner == 0 && std::ranges::all_of(readers, is_void)) continue;
    // Named by no index: the first write of an object whose entry was lost with all power, unflushed like itself.
    if (oid.is_data()) {
      bool known = false;
      for (const NodeId member : placement.acting(
               Oid::index_object(oid.vid(), oid.index() / limits::index_entries_per_object), vdi->copies)) {
        const auto i = static_cast<std::uint32_t>(std::ranges::find(ids, member) - ids.begin());
        known = known || i == left_out || named(*readers[i], oid);
      }
      if (!known) return "object " + to_string(oid) + " is stored and no index names it";
    }
    const std::string name = "object " + to_string(oid);
    const ActingSet acting = placement.acting(oid, vdi->copies);
    for (std::uint32_t i = 0; i < world.config.nodes; ++i)
      if (i != left_out && acting.size() == vdi->copies && std::ranges::find(acting, ids[i]) == acting.end() &&
          readers[i]->query(oid).info.exists)
        return name + " is still stored by " + world.nodes[i]->name() + ", where it does not belong";
    std::uint32_t first = world.config.nodes;
    std::vector<std::uint32_t> holders;
    ObjectInfo known;
    for (const NodeId member : placement.acting(oid, vdi->copies)) {
      const auto i = static_cast<std::uint32_t>(std::ranges::find(ids, member) - ids.begin());
      if (i == left_out) continue;
      const std::string& who = world.nodes[i]->name();
      const ObjectInfo info = readers[i]->query(oid).info;
      // What a node has in memory its scrub does not read again: such a loss shows at the next start.
      if (info.incomplete && (world.config.faults & bit(FaultClass::rot)) != 0 && i == world.faults->bad_disk())
        continue;
      // Never written: nothing has to be there, and what a pull began is void.
      if (info.incomplete && info.version != Version{}) return name + " is incomplete at " + who;
      if (first == world.config.nodes) {
        first = i;
        known = info;
      } else if (info.version != known.version) {
        return name + " has version " + text_of(known.version) + " at " + world.nodes[first]->name() + " and " +
               text_of(info.version) + " at " + who;
      }
      holders.push_back(i);
    }
    if (known.version == Version{}) continue;
    for (std::uint32_t chunk = 0; chunk < limits::chunks_per_object; ++chunk) {
      std::optional<std::uint64_t> content;
      for (const std::uint32_t i : holders) {
        const StoreDone found = readers[i]->read_chunk(oid, chunk);
        if (found.status != Status::ok) return name + " cannot be read at rest at " + world.nodes[i]->name();
        if (content && *content != digest(found))
          return name + ", chunk " + std::to_string(chunk) + ", differs at " + world.nodes[i]->name();
        content = digest(found);
      }
    }
  }
  return "";
}

}  // namespace sd::sim
