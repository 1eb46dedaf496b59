// What one run is made of. A seed draws it (swarm.cpp); a few fields can be overridden by `key=value` words, which is
// also how shrunk runs are written down.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/time.hpp"
#include "core/node/node.hpp"
#include "sim/disk.hpp"
#include "sim/network.hpp"

namespace sd::sim {

enum class FaultClass : std::uint8_t {
  kill,       // a process dies, its machine lives
  power,      // one machine loses power
  power_all,  // all do
  stop,       // a clean stop and start
  partition,  // nodes split into two groups
  one_way,    // one node's packets get out and none in, or the reverse
  bridge,     // one pair of nodes cannot talk
  guest_cut,  // a guest and a node cannot talk
  reset,      // connections are reset
  flip,       // bits flip between nodes
  slow_net,
  pause,  // a process does not run for a while
  slow_disk,
  stall,       // syncs that take very long
  read_error,  // reads fail now and then
  rot,         // stored bits of objects flip
  full,        // a disk is full
  reconnect,   // a guest drops its connection and takes another gateway
  drift,       // clocks run at different speeds
  drain,       // an operator drains a node, and takes it back
  // a node is drained, taken away when it says that it may be, and comes back with an empty disk, as another node
  replace,
  // all nodes but one lose their disks, and an operator makes that one go on alone; the others come back as new ones
  lose_majority,
  // Drawn from a source of their own:
  zone_loss,    // every node of one zone loses power
  clock_jump,   // a clock jumps ahead, within what the lease's margin allows
  wipe,         // a node loses power and comes back with an empty disk, as another node; once a run
  sync_error,   // a sync fails, and what it should have made durable is partly gone; the node gives up and comes back
  lying_sync,   // syncs of the object store say that they are done and are not
  lost_write,   // writes of objects or their metadata do not happen, or hit another object, and say ok
  slow_reader,  // a guest does not take what is sent to it
  // a node comes back with its disk as it was when its last incarnation began, and is started again and again, until it
  // gets an empty one; once a run
  old_image,
  narrow,  // the paths of a node carry little in a second, either way
  // Several at once, aimed at one promise:
  // a node loses its power just as another, which holds what the first had not flushed, is cut off and outlived by its
  // return
  lone_witness,
  lone_owner,   // the owner of a disk and the guests are cut off from all other nodes for longer than its lease
  late_writes,  // likewise; then its words of that time reach the new owner, and the others only after a while
  // a member is away while the others go on; what they have and it also has rots at each of them, just before it
  // returns
  lone_rot,
  relay,  // a member is away, another takes its place; when the first is just back, and behind, a third one dies
  count
};
// those before this one are drawn one by one
constexpr std::size_t random_faults = static_cast<std::size_t>(FaultClass::drain);
constexpr std::size_t simple_faults = static_cast<std::size_t>(FaultClass::lone_witness);
inline constexpr std::string_view fault_names[] = {
    "kill",      "power",        "power_all",  "stop",          "partition",   "one_way",
    "bridge",    "guest_cut",    "reset",      "flip",          "slow_net",    "pause",
    "slow_disk", "stall",        "read_error", "rot",           "full",        "reconnect",
    "drift",     "drain",        "replace",    "lose_majority", "zone_loss",   "clock_jump",
    "wipe",      "sync_error",   "lying_sync", "lost_write",    "slow_reader", "old_image",
    "narrow",    "lone_witness", "lone_owner", "late_writes",   "lone_rot",    "relay"};
static_assert(std::size(fault_names) == static_cast<std::size_t>(FaultClass::count));
using FaultSet = std::uint64_t;
constexpr FaultSet bit(FaultClass fault) { return FaultSet{1} << static_cast<unsigned>(fault); }

// Those after which a disk does not hold, or does not give back, what was written to it.
constexpr FaultSet damaging_faults = bit(FaultClass::read_error) | bit(FaultClass::rot) | bit(FaultClass::lone_rot) |
                                     bit(FaultClass::sync_error) | bit(FaultClass::lying_sync) |
                                     bit(FaultClass::lost_write);

enum class OpClass : std::uint8_t {
  read,
  write,
  flush,
  fua,
  trim,
  zeroes,
  fua_trim,
  fua_zeroes,
  full_zeroes,  // NO_HOLE: the space stays allocated
  fast_zeroes,  // FAST_ZERO: may be refused as not quick
  status,       // block status: a hole must read as zeros
  cache,
  count
};
inline constexpr std::string_view op_names[] = {"read",        "write",       "flush",    "fua",
                                                "trim",        "zeroes",      "fua_trim", "fua_zeroes",
                                                "full_zeroes", "fast_zeroes", "status",   "cache"};
static_assert(std::size(op_names) == static_cast<std::size_t>(OpClass::count));
constexpr bool is_durable(OpClass kind) {
  return kind == OpClass::fua || kind == OpClass::fua_trim || kind == OpClass::fua_zeroes;
}

struct Region {
  std::uint64_t first = 0;
  std::uint32_t sectors = 0;
};

struct Workload {
  std::uint64_t vdi_sectors = 0;
  std::vector<Region> regions;
  std::uint32_t weights[static_cast<std::size_t>(OpClass::count)] = {};
  std::uint32_t depth = 4;  // requests in flight
  std::uint32_t ops = 300;  // of each guest
  std::uint32_t max_sectors = 64;
  Time think_max = milliseconds(20);
  Time op_timeout = seconds(10);  // then the guest gives the connection up
  // Guests also use what they use rarely: block status, DF, the end of the disk, leaving politely with requests in
  // flight.
  bool all_commands = false;
  std::uint32_t readers = 0;  // so many guests of each VDI, the last ones, only read
};

struct Config {
  std::uint32_t nodes = 3;
  std::uint32_t gateways = 0;   // of the nodes: the last ones store nothing
  std::uint32_t witnesses = 0;  // of those: the last ones vote, and serve nobody
  std::uint32_t copies = 3;
  std::uint32_t zones = 3;
  std::uint32_t vdis = 1;
  std::uint32_t guests_per_vdi = 1;
  Workload workload;
  FaultSet faults = 0;             // classes that may happen
  Time fault_gap = seconds(1);     // mean time between faults
  Time fault_length = seconds(2);  // longest
  Time chaos = seconds(10);        // how long they go on
  // lose more than the copies allow for: every request is answered, if with an error, and never wrongly
  bool break_plan = false;
  bool checks = false;            // an operator checks the disks again and again; then nobody scrubs
  bool operates = false;          // an operator makes, grows, deletes and makes disks anew, and switches recovery
  bool scripted = false;          // whoever drives the run breaks things by hand, which no class of faults tells
  bool final_power_loss = false;  // flush, cut the power of all, and read back again
  DiskConfig disk;
  NetworkConfig network;
  Time lease = seconds(3), lease_margin = milliseconds(500);
  Time heartbeat = milliseconds(100);
  std::uint32_t grace_ms = 0;  // how long a node that is down keeps its share of the data
  std::uint64_t journal_bytes = 4u << 20, apply_bytes = 256u << 10, max_dirty_bytes = 1u << 20;
  std::uint32_t meta_cache = 64;
  std::uint32_t remembered_writes = max_recent;
  NodeLimits limits;
  std::size_t send_ahead = 128u << 10;
  std::uint32_t drift_ppm = 0;
  std::uint32_t check_every = 1;  // steps of a node between two checks of its invariants
  std::vector<Time> starts;       // of each node, after the beginning; nodes beyond these start at once
};

// The configuration that a seed draws, before overrides.
Config draw_config(Decisions& decisions);
// One `key=value`: nodes, gateways, witnesses, copies, zones, vdis, guests, ops, depth, regions (how many of those
// drawn, or all of them as first+sectors with commas), chaos_ms, faults (names with commas, or none), mix (likewise),
// final_power, check_every, and the keys of full_text. False if it is not understood.
bool apply_override(Config& config, std::string_view word);
// One line of such words (and more, for people) that says what the run is made of.
std::string to_text(const Config& config);
// The overrides that say most of it.
std::string override_text(const Config& config);
// The overrides that make any seed's configuration equal to this one in every field, whatever that seed draws by
// itself.
std::string full_text(const Config& config);

}  // namespace sd::sim
