#include "sim/faults.hpp"

#include <bit>

#include "sim/guest.hpp"
#include "sim/node_machine.hpp"
#include "sim/world.hpp"

namespace sd::sim {

namespace {
constexpr std::uint32_t next_fault = UINT32_MAX;  // as an event's slot
// Of an old image: the node is off, and the image saved; it runs; it is off, on its old disk; it tries with that.
enum ImageStage : std::uint32_t { image_saved, image_kept, image_restored, image_in_use };
constexpr FaultSet cuts = bit(FaultClass::partition) | bit(FaultClass::one_way) | bit(FaultClass::bridge) |
                          bit(FaultClass::lone_witness) | bit(FaultClass::lone_owner) | bit(FaultClass::late_writes);
constexpr FaultSet losses = bit(FaultClass::kill) | bit(FaultClass::power) | bit(FaultClass::stop) |
                            bit(FaultClass::power_all) | bit(FaultClass::zone_loss) | bit(FaultClass::wipe) |
                            bit(FaultClass::old_image) | bit(FaultClass::sync_error) | bit(FaultClass::lone_rot) |
                            bit(FaultClass::relay) | bit(FaultClass::lose_majority);

std::string list(std::uint32_t targets) {
  std::string text;
  for (std::uint32_t i = 0; i < 32; ++i)
    if (targets >> i & 1) text += (text.empty() ? "" : ",") + std::to_string(i);
  return text;
}
}  // namespace

Faults::Faults(World& world) : world_(world) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(FaultClass::count); ++i)
    if (i != static_cast<std::size_t>(FaultClass::drift))
      if (world.config.faults >> i & 1) classes_.push_back(static_cast<FaultClass>(i));
  bad_disk_ = static_cast<std::uint32_t>(choose(world.config.nodes));
}

std::uint64_t Faults::choose(std::uint64_t bound) { return world_.decisions.choose(Site::fault_plan, bound); }
std::uint32_t Faults::any_node() {
  return static_cast<std::uint32_t>(world_.decisions.choose(Site::fault_target, world_.config.nodes));
}
Time Faults::any_length() {
  const Time longest = world_.config.fault_length;
  return milliseconds(10) + (choose(2) == 0 ? choose(longest) : choose(longest / 8 + 1));
}

void Faults::begin(Time until) {
  until_ = until;
  if (!classes_.empty()) schedule_next();
}

void Faults::schedule_next() {
  // Troubles come in clusters: the second one before the first is dealt with.
  const bool soon = choose(3) == 0;
  const Time at = world_.now + 1 + choose(soon ? world_.config.fault_gap / 5 : 2 * world_.config.fault_gap);
  if (at < until_) world_.events.push({at, 0, next_fault, 0, 0, EventKind::fault, 0});
}

bool Faults::any_active(FaultSet classes) const {
  for (const Active& fault : active_)
    if (fault.used && (classes & bit(fault.kind)) &&
        !(fault.kind == FaultClass::old_image && fault.other == image_kept))
      return true;
  return false;
}

void Faults::keep(FaultClass kind, std::uint32_t targets, std::uint32_t other, Time length) {
  std::uint32_t slot = 0;
  while (slot < active_.size() && active_[slot].used) ++slot;
  if (slot == active_.size()) active_.emplace_back();
  active_[slot] = {kind, targets, other, true};
  world_.events.push({world_.now + length, 0, slot, 0, 0, EventKind::fault, 0});
}

void Faults::on_event(const Event& event) {
  if (event.a == next_fault) {
    if (world_.healed()) return;
    strike();
    schedule_next();
    return;
  }
  Active& fault = active_[event.a];
  if (fault.used) undo(fault);
}

void Faults::strike() {
  const FaultClass kind = classes_[choose(classes_.size())];
  if (!apply(kind)) return;
  ++count_;
  world_.hash.fold(0xfa17ull << 8 | static_cast<std::uint64_t>(kind));
}

void Faults::cut(std::uint32_t from_nodes, std::uint32_t to_nodes, bool blocked) {
  for (std::uint32_t from = 0; from < world_.config.nodes; ++from)
    for (std::uint32_t to = 0; to < world_.config.nodes; ++to)
      if (from != to && (from_nodes >> from & 1) && (to_nodes >> to & 1)) world_.network.set_blocked(from, to, blocked);
}

void Faults::narrow(std::uint32_t node, std::uint32_t kb_per_second) {
  for (std::uint32_t other = 0; other < world_.config.nodes; ++other) {
    world_.network.set_narrow(node, other, kb_per_second);
    world_.network.set_narrow(other, node, kb_per_second);
  }
}

// Nodes lose data only when no object lacks a copy, and one after the other; unless the plan is to be broken.
bool Faults::may_lose() const { return world_.config.break_plan || (!any_active(losses) && world_.redundant()); }

// A node that comes back as another one takes its vote along for good. While a young cluster still gives out its votes,
// two nodes may be all that vote; they are promised no more than that either may be away for a while.
bool Faults::may_forget() const {
  if (world_.config.break_plan) return true;
  std::size_t voters = 0;
  for (const auto& machine : world_.nodes)
    voters += machine->running() && machine->node()->status(machine->local_time()).voter;
  return may_lose() && voters >= 3;
}

void Faults::lose_nodes(FaultClass kind) {
  const std::uint32_t tolerated = world_.config.copies > 1 ? world_.config.copies - 1 : 1;
  std::uint32_t wanted = 1 + static_cast<std::uint32_t>(choose(tolerated));
  if (wanted > 1 && choose(2) == 0) wanted = 1;
  if (world_.config.faults & (bit(FaultClass::rot) | bit(FaultClass::lost_write))) wanted = 1;
  std::uint32_t targets = 0;
  for (std::uint32_t i = 0; i < wanted; ++i) {
    const std::uint32_t node = any_node();
    if (targets >> node & 1) continue;
    targets |= 1u << node;
    NodeMachine& machine = *world_.nodes[node];
    if (kind == FaultClass::stop) {
      machine.stop();
    } else if (const std::uint64_t effects = world_.decisions.choose(Site::crash_point, 40); effects == 0) {
      machine.die(kind == FaultClass::power);
    } else {
      machine.arm_crash(static_cast<std::uint32_t>(effects), kind == FaultClass::power);
    }
  }
  world_.trace("faults", std::string(fault_names[static_cast<std::size_t>(kind)]) + " of node " + list(targets));
  keep(kind, targets, 0, milliseconds(60) + any_length());
}

// Writes and syncs of a node fail: it must give up, and what it had not made durable is gone as with its power.
bool Faults::failing_disk() {
  const std::uint32_t node = any_node();
  world_.nodes[node]->disk.config.write_error_per_million = 1000u << world_.decisions.choose(Site::disk_fault, 10);
  world_.trace("faults", "writes fail at node " + std::to_string(node));
  keep(FaultClass::power, 1u << node, 0, milliseconds(60) + any_length());
  return true;
}

std::uint32_t Faults::owner() const {
  for (const auto& machine : world_.nodes) {
    if (!machine->running() || !machine->node()->status(machine->local_time()).serving) continue;
    for (const auto& [vid, vdi] : machine->node()->state().vdis)
      for (const auto& other : world_.nodes)
        if (other->running() && vdi.owner != 0 && other->node()->status(other->local_time()).id == vdi.owner)
          return other->id();
  }
  return world_.config.nodes;
}

// What one node loses with its power, another still has; it must be waited for when the first is back before it.
bool Faults::lone_witness() {
  const Config& config = world_.config;
  if (config.nodes < 3 || any_active(losses | cuts) || !world_.redundant()) return false;
  const std::uint32_t loser = any_node();
  const std::uint32_t witness = (loser + 1 + static_cast<std::uint32_t>(choose(config.nodes - 1))) % config.nodes;
  const std::uint32_t others = ((1u << config.nodes) - 1) & ~(1u << witness);
  world_.trace("faults",
               "node " + std::to_string(loser) + " loses power, and node " + std::to_string(witness) + " is cut off");
  world_.nodes[loser]->die(true);
  cut(1u << witness, others, true);
  cut(others, 1u << witness, true);
  keep(FaultClass::power, 1u << loser, 0, milliseconds(60) + choose(seconds(1)));
  keep(FaultClass::lone_witness, 1u << witness, others, config.lease + config.lease_margin + seconds(1) + any_length());
  return true;
}

// The owner goes on alone, with guests that do not know. Which of them sit there is left to chance.
bool Faults::isolate_owner(FaultClass kind) {
  const Config& config = world_.config;
  const std::uint32_t one = owner();
  if (config.nodes < 3 || any_active(losses | cuts) || one == config.nodes) return false;
  const std::uint32_t others = ((1u << config.nodes) - 1) & ~(1u << one);
  world_.trace("faults", "node " + std::to_string(one) + ", an owner, is cut off");
  cut(1u << one, others, true);
  cut(others, 1u << one, true);
  for (const auto& guest : world_.guests)
    if (choose(2) == 0) guest->change_gateway(one);
  const Time lease = config.lease + config.lease_margin;
  keep(kind, 1u << one, others,
       kind == FaultClass::late_writes ? lease + milliseconds(300) + choose(milliseconds(1500))
                                       : lease + milliseconds(500) + any_length());
  return true;
}

// Once a run: blocks that rotted and are not read again stay so, and must not be the last good ones the next time.
bool Faults::leave_behind() {
  const Config& config = world_.config;
  if (config.nodes < 3 || any_active(losses | cuts) || rotted_ || !world_.redundant()) return false;
  rotted_ = true;
  const auto one = static_cast<std::uint32_t>(choose(config.nodes - config.gateways));
  world_.trace("faults", "node " + std::to_string(one) + " dies and will be behind");
  world_.nodes[one]->die(false);
  keep(FaultClass::lone_rot, 1u << one, 0, config.lease + config.lease_margin + seconds(1) + any_length());
  return true;
}

// Whoever stood in for the first holds what the third had, until the first has it.
bool Faults::relay() {
  const Config& config = world_.config;
  if (config.copies < 2 || config.nodes - config.gateways < 4 || any_active(losses | cuts) || !world_.redundant())
    return false;
  const auto one = static_cast<std::uint32_t>(choose(config.nodes - config.gateways));
  world_.trace("faults", "node " + std::to_string(one) + " dies and will be behind");
  world_.nodes[one]->die(false);
  keep(FaultClass::relay, 1u << one, 0, config.lease + config.lease_margin + seconds(1) + any_length());
  return true;
}

void Faults::rot_before_return(std::uint32_t returning) {
  // What two of those that stayed have, one may lose: nobody else need hold it.
  const std::uint32_t storing = world_.config.nodes - world_.config.gateways;
  const std::uint32_t one = (returning + 1) % storing, other = (returning + 2) % storing;
  if (storing >= 3)
    for (std::uint64_t blocks = 1 + choose(4); blocks > 0; --blocks)
      if (world_.nodes[one]->disk.flip_bit_held_by(world_.nodes[other]->disk))
        world_.trace("faults", "a block rots at node " + std::to_string(one));
  for (std::uint32_t i = 0; i < storing; ++i) {
    if (i == returning) continue;
    for (std::uint64_t blocks = 1 + choose(4); blocks > 0; --blocks)
      if (world_.nodes[i]->disk.flip_bit_held_by(world_.nodes[returning]->disk))
        world_.trace("faults", "a block rots at node " + std::to_string(i));
  }
  world_.nodes[returning]->start();
}

bool Faults::order(cluster::CommandBody body) {
  for (const auto& machine : world_.nodes)
    if (machine->running() && machine->node()->status(machine->local_time()).serving)
      return machine->order(std::move(body));
  return false;
}

bool Faults::drain(FaultClass kind) {
  constexpr FaultSet drains = bit(FaultClass::drain) | bit(FaultClass::replace);
  if (any_active(losses | drains) || !world_.redundant()) return false;
  const auto node = static_cast<std::uint32_t>(
      world_.decisions.choose(Site::fault_target, world_.config.nodes - world_.config.gateways));
  if (!order(cluster::Drain{world_.nodes[node]->node()->status(world_.nodes[node]->local_time()).id, true}))
    return false;
  world_.trace("faults", "node " + std::to_string(node) + " is to be drained");
  keep(kind, 1u << node, 0,
       kind == FaultClass::replace ? milliseconds(20) + choose(milliseconds(400)) : milliseconds(500) + any_length());
  return true;
}

void Faults::undrain(Active& fault) {
  for (const auto& machine : world_.nodes)
    if ((fault.targets >> machine->id() & 1) && machine->running())
      order(cluster::Drain{machine->node()->status(machine->local_time()).id, false});
}

// An operator waits until the node says that all its data is elsewhere, and that it has no vote; if that takes long he
// thinks better of it.
void Faults::go_on_replacing(Active& fault) {
  NodeMachine& machine = *world_.nodes[static_cast<std::uint32_t>(std::countr_zero(fault.targets))];
  if (!machine.running()) {
    if (fault.other == 1) machine.start();  // else it was lost by itself
    return;
  }
  const NodeStatus status = machine.node()->status(machine.local_time());
  // A disk that could not be read while its data moved may hold what the others lack, until they have asked again and
  // it is emptied.
  const bool doubtful = machine.id() == bad_disk_ && (world_.config.faults & bit(FaultClass::read_error)) != 0 &&
                        !status.recovery.collected;
  const bool ready = status.serving && !status.voter && machine.node()->state().is_drained(status.id) && !doubtful;
  if (ready && world_.all_up() && !any_active(losses) && !world_.healed()) {
    world_.trace("faults", "node " + std::to_string(machine.id()) + " is taken away");
    machine.die(true);
    machine.wipe();
    keep(FaultClass::replace, fault.targets, 1, milliseconds(100) + any_length());
    // Without it every object is as redundant as before: the others may fail as ever.
    if (world_.config.copies > 1 && choose(2) == 0) lose_nodes(FaultClass::power);
  } else if (fault.other < 20 && !world_.healed()) {
    keep(FaultClass::replace, fault.targets, fault.other == 0 ? 2 : fault.other + 1, milliseconds(200));
  } else {
    undrain(fault);
  }
}

bool Faults::lose_majority() {
  const Config& config = world_.config;
  if (any_active(losses | cuts | bit(FaultClass::drain) | bit(FaultClass::replace)) || !world_.redundant())
    return false;
  const std::uint32_t survivor = any_node();
  const std::uint32_t others = ((1u << config.nodes) - 1) & ~(1u << survivor);
  world_.trace("faults", "all nodes but " + std::to_string(survivor) + " are lost for good");
  for (auto& machine : world_.nodes) {
    if (machine->id() == survivor) continue;
    machine->die(true);
    machine->wipe();
  }
  keep(FaultClass::lose_majority, others, survivor, config.lease + config.heartbeat * 20 + any_length());
  return true;
}

// The operator asks again until the node is sure that nobody leads; only then new nodes are started.
void Faults::go_on_alone(Active& fault) {
  NodeMachine& survivor = *world_.nodes[fault.other];
  if (survivor.running()) {
    if (const std::string why = survivor.found_anew(); !why.empty()) {
      world_.trace("faults", "the operator has to wait: " + why);
      return keep(FaultClass::lose_majority, fault.targets, fault.other, milliseconds(200));
    }
  }
  for (auto& machine : world_.nodes)
    if (fault.targets >> machine->id() & 1) machine->start();
}

void Faults::lose_zone() {
  const std::uint64_t zone = choose(world_.config.zones);
  std::uint32_t targets = 0;
  for (std::uint32_t i = 0; i < world_.config.nodes; ++i)
    if (i % world_.config.zones == zone) targets |= 1u << i;
  world_.trace("faults", "zone " + std::to_string(zone) + " loses power: nodes " + list(targets));
  for (std::uint32_t i = 0; i < world_.config.nodes; ++i)
    if (targets >> i & 1) world_.nodes[i]->die(true);
  keep(FaultClass::zone_loss, targets, 0, milliseconds(60) + any_length());
}

// Once a run: meant for what stays, not for how fast an identity that never comes back loses its vote.
void Faults::wipe_one() {
  const std::uint32_t node = any_node();
  NodeMachine& machine = *world_.nodes[node];
  world_.trace("faults", "node " + std::to_string(node) + " loses power, and its disk");
  machine.die(true);
  machine.wipe();
  wiped_ = true;
  keep(FaultClass::wipe, 1u << node, 0, milliseconds(60) + any_length());
}

void Faults::save_image() {
  const std::uint32_t node = any_node();
  world_.trace("faults", "node " + std::to_string(node) + " loses power, and an image of its disk is kept");
  world_.nodes[node]->die(true);
  image_ = world_.nodes[node]->disk.image();
  keep(FaultClass::old_image, 1u << node, image_saved, milliseconds(60) + choose(seconds(1)));
}

// The machine is off again and comes back with what its disk was. Often just when somebody else loses power too, and
// the last one who has what both lost is cut off.
void Faults::go_on_with_image(Active& fault) {
  const Config& config = world_.config;
  const std::uint32_t targets = fault.targets;
  NodeMachine& machine = *world_.nodes[static_cast<std::uint32_t>(std::countr_zero(targets))];
  switch (fault.other) {
    case image_saved:
      machine.start();
      return keep(FaultClass::old_image, targets, image_kept, milliseconds(200) + any_length());
    case image_kept: {
      if (world_.healed()) return;
      if (!may_forget()) return keep(FaultClass::old_image, targets, image_kept, milliseconds(200));
      world_.trace("faults",
                   "node " + std::to_string(machine.id()) + " loses power, and its disk is put back to the image");
      const bool aimed = !any_active(cuts) && choose(2) == 0;
      const std::uint32_t one =
          (machine.id() + 1 + static_cast<std::uint32_t>(choose(config.nodes - 1))) % config.nodes;
      std::uint32_t witness = config.nodes;
      for (std::uint32_t i = 0; i < config.nodes; ++i)
        if (i != machine.id() && i != one) witness = i;
      machine.die(true);
      machine.disk.restore(*image_);
      keep(FaultClass::old_image, targets, image_restored, milliseconds(60) + choose(seconds(1)));
      if (!aimed) return;
      if (config.copies > 2) {
        world_.trace("faults", "node " + std::to_string(one) + " loses power too, and node " + std::to_string(witness) +
                                   " is cut off");
        world_.nodes[one]->die(true);
        keep(FaultClass::power, 1u << one, 0, milliseconds(60) + choose(seconds(1)));
      }
      const std::uint32_t others = ((1u << config.nodes) - 1) & ~(1u << witness);
      cut(1u << witness, others, true);
      cut(others, 1u << witness, true);
      return keep(FaultClass::lone_witness, 1u << witness, others,
                  config.lease + config.lease_margin + seconds(1) + any_length());
    }
    case image_restored:
      machine.start();
      return keep(FaultClass::old_image, targets, image_in_use, milliseconds(500) + any_length());
    default:
      world_.trace("faults", "the operator empties the disk of node " + std::to_string(machine.id()));
      machine.die(true);
      machine.wipe();
      machine.start();
  }
}

void Faults::all_lose_power(Time longest_outage) {
  world_.trace("faults", "power loss of all nodes");
  for (auto& node : world_.nodes) node->die(true);
  world_.all_lost_power();
  for (std::uint32_t i = 0; i < world_.config.nodes; ++i)
    keep(FaultClass::power_all, 1u << i, 0, milliseconds(1) + choose(longest_outage));
}

bool Faults::apply(FaultClass kind) {
  const std::uint32_t all = (1u << world_.config.nodes) - 1;
  const Config& config = world_.config;
  switch (kind) {
    case FaultClass::kill:
    case FaultClass::power:
    case FaultClass::stop:
      if (!may_lose()) return false;
      if (kind == FaultClass::power && config.copies > 1 && world_.decisions.choose(Site::disk_fault, 4) == 0)
        return failing_disk();
      lose_nodes(kind);
      return true;
    case FaultClass::zone_loss:
      if (!may_lose()) return false;
      lose_zone();
      return true;
    case FaultClass::wipe:
      if (!may_forget() || (wiped_ && !config.break_plan)) return false;
      wipe_one();
      return true;
    case FaultClass::old_image:
      if (!may_lose() || image_) return false;
      save_image();
      return true;
    case FaultClass::sync_error:
      if (!may_lose()) return false;
      world_.nodes[bad_disk_]->disk.config.sync_error_per_thousand = static_cast<std::uint32_t>(50 + choose(900));
      world_.trace("faults", "syncs fail at node " + std::to_string(bad_disk_));
      keep(kind, bad_disk_, 0, any_length());
      return true;
    case FaultClass::lying_sync:
      if (any_active(bit(kind))) return false;
      world_.nodes[bad_disk_]->disk.config.lying_sync = true;
      world_.trace("faults", "syncs lie at node " + std::to_string(bad_disk_));
      keep(kind, bad_disk_, 0, any_length());
      return true;
    case FaultClass::lost_write:
      if (any_active(bit(kind)) || !world_.redundant()) return false;
      world_.nodes[bad_disk_]->disk.config.lost_write_per_million = static_cast<std::uint32_t>(1000 + choose(100'000));
      world_.trace("faults", "writes are lost at node " + std::to_string(bad_disk_));
      keep(kind, bad_disk_, 0, any_length());
      return true;
    case FaultClass::clock_jump:
      // One at a time within a lease, so that the jumps do not add up.
      if (any_active(bit(kind))) return false;
      world_.nodes[any_node()]->jump_clock(1 + choose(config.lease_margin / 2));
      keep(kind, 0, 0, 2 * (config.lease + config.lease_margin));
      return true;
    case FaultClass::slow_reader: {
      if (any_active(bit(kind))) return false;
      const auto guest = static_cast<std::uint32_t>(choose(world_.guests.size()));
      world_.trace("faults", "guest " + std::to_string(guest) + " takes nothing");
      world_.guests[guest]->take_nothing(true);
      keep(kind, guest, 0, any_length());
      return true;
    }
    case FaultClass::power_all:
      if (any_active(losses)) return false;
      all_lose_power(any_length());
      return true;
    case FaultClass::partition: {
      if (config.nodes < 2 || any_active(bit(kind))) return false;
      const auto group = static_cast<std::uint32_t>(1 + choose(all - 1));
      cut(group, all & ~group, true);
      cut(all & ~group, group, true);
      world_.trace("faults", "partition " + list(group) + " | " + list(all & ~group));
      keep(kind, group, all & ~group, any_length());
      return true;
    }
    case FaultClass::one_way: {
      if (config.nodes < 2 || any_active(bit(kind))) return false;
      const std::uint32_t one = 1u << any_node();
      const bool inbound = choose(2) == 0;
      cut(inbound ? all & ~one : one, inbound ? one : all & ~one, true);
      world_.trace("faults", "node " + list(one) + (inbound ? " hears nobody" : " is heard by nobody"));
      keep(kind, inbound ? all & ~one : one, inbound ? one : all & ~one, any_length());
      return true;
    }
    case FaultClass::bridge: {
      if (config.nodes < 2 || any_active(bit(kind))) return false;
      const std::uint32_t a = any_node();
      const std::uint32_t b = any_node();
      if (a == b) return false;
      cut(1u << a, 1u << b, true);
      cut(1u << b, 1u << a, true);
      world_.trace("faults", "nodes " + std::to_string(a) + " and " + std::to_string(b) + " cannot talk");
      keep(kind, 1u << a, 1u << b, any_length());
      return true;
    }
    case FaultClass::guest_cut: {
      const auto guest = static_cast<std::uint32_t>(choose(world_.guests.size()));
      const std::uint32_t node = any_node();
      const MachineId machine = world_.guests[guest]->id();
      const auto directions = choose(3);
      if (directions != 1) world_.network.set_blocked(machine, node, true);
      if (directions != 2) world_.network.set_blocked(node, machine, true);
      world_.trace("faults", "guest " + std::to_string(guest) + " and node " + std::to_string(node) + " are cut off");
      keep(kind, guest, node, any_length());
      return true;
    }
    case FaultClass::reset: return world_.network.reset_one(any_node());
    case FaultClass::flip:
      if (any_active(bit(kind))) return false;
      world_.network.config.flip_per_million = static_cast<std::uint32_t>(100 + choose(20'000));
      world_.trace("faults", "bits flip between nodes");
      keep(kind, 0, 0, any_length());
      return true;
    case FaultClass::slow_net: {
      if (any_active(bit(kind))) return false;
      const std::uint32_t node = any_node();
      const std::uint32_t factor = choose(2) == 0 ? 10 : 200;
      for (std::uint32_t i = 0; i < config.nodes; ++i) {
        world_.network.set_slow(node, i, factor);
        world_.network.set_slow(i, node, factor);
      }
      world_.trace("faults", "network of node " + std::to_string(node) + " slow by " + std::to_string(factor));
      keep(kind, node, 0, any_length());
      return true;
    }
    case FaultClass::narrow: {
      if (any_active(bit(kind))) return false;
      const std::uint32_t node = any_node();
      const std::uint32_t kb_per_second = 100u << choose(6);
      narrow(node, kb_per_second);
      world_.trace("faults",
                   "network of node " + std::to_string(node) + " carries " + std::to_string(kb_per_second) + " KB/s");
      keep(kind, node, 0, any_length());
      return true;
    }
    case FaultClass::pause: {
      if (any_active(bit(kind))) return false;
      const std::uint32_t node = any_node();
      if (!world_.nodes[node]->running()) return false;
      const Time length = any_length();
      world_.nodes[node]->pause(world_.now + length);
      keep(kind, 1u << node, 0, length);
      return true;
    }
    case FaultClass::slow_disk:
    case FaultClass::stall: {
      if (any_active(bit(kind))) return false;
      const std::uint32_t node = any_node();
      DiskConfig& disk = world_.nodes[node]->disk.config;
      if (kind == FaultClass::slow_disk)
        disk.slow_factor = choose(2) == 0 ? 10 : 500;
      else
        disk.stall_per_thousand = static_cast<std::uint32_t>(10 + choose(500));
      disk.stall = milliseconds(100) + choose(seconds(3));
      world_.trace("faults",
                   "disk of node " + std::to_string(node) + (kind == FaultClass::stall ? " stalls" : " is slow"));
      keep(kind, node, 0, any_length());
      return true;
    }
    case FaultClass::read_error:
      if (any_active(bit(kind))) return false;
      world_.nodes[bad_disk_]->disk.config.read_error_per_million = static_cast<std::uint32_t>(1000 + choose(100'000));
      world_.trace("faults", "reads fail at node " + std::to_string(bad_disk_));
      keep(kind, bad_disk_, 0, any_length());
      return true;
    case FaultClass::rot:
      if (!world_.redundant()) return false;
      {
        const FileKind kind_of_file = choose(4) == 0 ? FileKind::object_meta : FileKind::object;
        if (kind_of_file == FileKind::object && world_.decisions.choose(Site::disk_fault, 3) == 0) {
          world_.trace("faults", "a page cannot be read any more at node " + std::to_string(bad_disk_));
          return world_.nodes[bad_disk_]->disk.spoil_page(kind_of_file);
        }
        world_.trace("faults", "a bit rots at node " + std::to_string(bad_disk_));
        return world_.nodes[bad_disk_]->disk.flip_bit(kind_of_file);
      }
    case FaultClass::full: {
      if (any_active(bit(kind))) return false;
      SimDisk& disk = world_.nodes[bad_disk_]->disk;
      if (disk.used() < world_.config.journal_bytes) return false;  // a new node needs room to begin with
      const std::uint64_t left = choose(1u << 20);
      disk.config.capacity = disk.used() + (left % 4 == 0 ? left % 16384 : left);  // often not even a block is left
      world_.trace("faults", "disk of node " + std::to_string(bad_disk_) + " is full");
      keep(kind, bad_disk_, 0, any_length());
      if (left % 4 == 0 && !any_active(losses)) {
        world_.trace("faults", "node " + std::to_string(bad_disk_) + " is killed, and starts on its full disk");
        world_.nodes[bad_disk_]->die(false);
        keep(FaultClass::kill, 1u << bad_disk_, 0, milliseconds(60));
      }
      return true;
    }
    case FaultClass::reconnect: world_.guests[choose(world_.guests.size())]->change_gateway(); return true;
    case FaultClass::drain:
    case FaultClass::replace: return drain(kind);
    case FaultClass::lose_majority: return lose_majority();
    case FaultClass::lone_witness: return lone_witness();
    case FaultClass::lone_owner:
    case FaultClass::late_writes: return isolate_owner(kind);
    case FaultClass::lone_rot: return leave_behind();
    case FaultClass::relay: return relay();
    case FaultClass::drift:
    case FaultClass::count: break;
  }
  return false;
}

void Faults::undo(Active& fault) {
  fault.used = false;
  world_.trace("faults", "end of " + std::string(fault_names[static_cast<std::size_t>(fault.kind)]));
  switch (fault.kind) {
    case FaultClass::kill:
    case FaultClass::power:
    case FaultClass::power_all:
    case FaultClass::zone_loss:
    case FaultClass::wipe:
      for (std::uint32_t i = 0; i < world_.config.nodes; ++i)
        if (fault.targets >> i & 1) {
          world_.nodes[i]->disk.config.write_error_per_million = 0;
          world_.nodes[i]->crash_if_armed();
          world_.nodes[i]->start();
        }
      break;
    case FaultClass::stop:
      for (std::uint32_t i = 0; i < world_.config.nodes; ++i)
        if (fault.targets >> i & 1) {
          world_.nodes[i]->die(false);  // it had its time
          world_.nodes[i]->start();
        }
      break;
    case FaultClass::drain: undrain(fault); break;
    case FaultClass::replace: go_on_replacing(fault); break;
    case FaultClass::old_image: go_on_with_image(fault); break;
    case FaultClass::lose_majority: go_on_alone(fault); break;
    case FaultClass::late_writes: {
      // First one way, to whoever has taken over; then for all, in a second call.
      const std::uint32_t next = owner();
      if (fault.other != 0 && next != world_.config.nodes && (fault.other >> next & 1)) {
        const std::uint32_t targets = fault.targets;
        cut(targets, 1u << next, false);
        keep(FaultClass::late_writes, targets, 0, milliseconds(50) + choose(milliseconds(600)));
        break;
      }
      const std::uint32_t others = ((1u << world_.config.nodes) - 1) & ~fault.targets;
      cut(fault.targets, others, false);
      cut(others, fault.targets, false);
      break;
    }
    case FaultClass::lone_witness:
    case FaultClass::lone_owner:
    case FaultClass::partition:
    case FaultClass::bridge:
      cut(fault.targets, fault.other, false);
      cut(fault.other, fault.targets, false);
      break;
    case FaultClass::one_way: cut(fault.targets, fault.other, false); break;
    case FaultClass::lone_rot: rot_before_return(static_cast<std::uint32_t>(std::countr_zero(fault.targets))); break;
    case FaultClass::relay: {
      // The first comes back; soon after another dies; it comes back as well.
      const auto one = static_cast<std::uint32_t>(std::countr_zero(fault.targets));
      if (fault.other == 0) {
        world_.nodes[one]->start();
        const std::uint32_t storing = world_.config.nodes - world_.config.gateways;
        const auto next = (one + 1 + static_cast<std::uint32_t>(choose(storing - 1))) % storing;
        keep(FaultClass::relay, 1u << next, 1, milliseconds(20) + choose(milliseconds(1500)));
      } else if (fault.other == 1) {
        world_.trace("faults", "node " + std::to_string(one) + " dies");
        world_.nodes[one]->die(false);
        keep(FaultClass::relay, 1u << one, 2,
             world_.config.lease + world_.config.lease_margin + seconds(1) + any_length());
      } else {
        world_.nodes[one]->start();
      }
      break;
    }
    case FaultClass::guest_cut:
      world_.network.set_blocked(world_.guests[fault.targets]->id(), fault.other, false);
      world_.network.set_blocked(fault.other, world_.guests[fault.targets]->id(), false);
      break;
    case FaultClass::flip: world_.network.config.flip_per_million = 0; break;
    case FaultClass::slow_net:
      for (std::uint32_t i = 0; i < world_.config.nodes; ++i) {
        world_.network.set_slow(fault.targets, i, 1);
        world_.network.set_slow(i, fault.targets, 1);
      }
      break;
    case FaultClass::narrow: narrow(fault.targets, 0); break;
    case FaultClass::slow_disk: world_.nodes[fault.targets]->disk.config.slow_factor = 1; break;
    case FaultClass::stall: world_.nodes[fault.targets]->disk.config.stall_per_thousand = 0; break;
    case FaultClass::read_error: world_.nodes[fault.targets]->disk.config.read_error_per_million = 0; break;
    case FaultClass::sync_error: world_.nodes[fault.targets]->disk.config.sync_error_per_thousand = 0; break;
    case FaultClass::lying_sync: world_.nodes[fault.targets]->disk.config.lying_sync = false; break;
    case FaultClass::lost_write: world_.nodes[fault.targets]->disk.config.lost_write_per_million = 0; break;
    case FaultClass::slow_reader: world_.guests[fault.targets]->take_nothing(false); break;
    case FaultClass::full: world_.nodes[fault.targets]->disk.config.capacity = world_.config.disk.capacity; break;
    default: break;
  }
}

void Faults::heal_all() {
  for (unsigned stage = 0; stage < 3; ++stage)  // a relay has three
    for (std::size_t i = 0; i < active_.size(); ++i)
      if (active_[i].used) undo(active_[i]);
  // New nodes wait until the operator has made the last one go on alone.
  std::uint32_t lost = 0;
  for (const Active& fault : active_)
    if (fault.used && fault.kind == FaultClass::lose_majority) lost |= fault.targets;
  for (auto& node : world_.nodes)
    if ((lost >> node->id() & 1) == 0) node->start();
}

}  // namespace sd::sim
