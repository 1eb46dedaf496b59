#include "sim/checkers.hpp"

#include "sim/node_machine.hpp"
#include "sim/world.hpp"

namespace sd::sim {

namespace {
constexpr std::uint32_t status_every = 8;  // steps
}

void Checkers::check_state(const NodeMachine& machine, Seen& seen) {
  const cluster::State& state = machine.node()->state();
  if (state.applied == seen.applied) return;
  if (state.applied < seen.applied)
    world_.fail(Violation::Class::safety, machine.name() + " goes back in the cluster log");
  seen.applied = state.applied;
  if (world_.tracing()) {
    std::string text = "applied " + std::to_string(state.applied) + ": epoch " + std::to_string(state.epoch()) +
                       " since " + std::to_string(state.epochs.empty() ? 0 : state.epochs.front().epoch);
    for (const auto& [vid, vdi] : state.vdis) {
      const cluster::Member* owner = state.member(vdi.owner);
      text += ", " + vdi.name + " owned by " + (owner ? to_string(owner->address) : "nobody") + " since " +
              std::to_string(vdi.owner_index);
    }
    world_.trace(machine.name(), text);
  }
  scratch_.clear();
  state.encode(scratch_);
  const std::uint64_t digest = fnv1a(scratch_.data(), scratch_.size());
  const auto [at, first] = states_.try_emplace(state.applied, AtIndex{digest, machine.id()});
  if (!first && at->second.digest != digest)
    world_.fail(Violation::Class::safety, machine.name() + " and node" + std::to_string(at->second.node) +
                                              " hold different cluster states at log index " +
                                              std::to_string(state.applied));
}

void Checkers::check_one_server(const NodeMachine& machine, const NodeStatus& status) {
  if (!status.serving) return;
  for (const auto& [vid, vdi] : machine.node()->state().vdis) {
    if (vdi.owner != status.id || vdi.deleting) continue;
    for (const auto& other : world_.nodes) {
      if (other->id() == machine.id() || !other->running()) continue;
      const cluster::Vdi* theirs = other->node()->state().find(vid);
      if (!theirs || theirs->owner == vdi.owner || theirs->created_index != vdi.created_index) continue;
      const NodeStatus there = other->node()->status(other->local_time());
      if (there.serving && theirs->owner == there.id)
        world_.fail(Violation::Class::safety, "two nodes serve volume " + std::to_string(vid) +
                                                  " at one time: " + machine.name() + ", owner since log index " +
                                                  std::to_string(vdi.owner_index) + ", and " + other->name() +
                                                  ", owner since " + std::to_string(theirs->owner_index));
    }
  }
}

void Checkers::after_step(const NodeMachine& machine, std::uint32_t step) {
  if (seen_.size() <= machine.id()) seen_.resize(machine.id() + 1);
  Seen& seen = seen_[machine.id()];
  if (seen.incarnation != machine.incarnations()) {
    seen = {};
    seen.incarnation = machine.incarnations();
  }
  const std::uint64_t applied = seen.applied;
  check_state(machine, seen);
  if (step % status_every != 0 && seen.applied == applied) return;
  const NodeStatus status = machine.node()->status(machine.local_time());
  if (status.term < seen.term || status.commit_index < seen.commit)
    world_.fail(Violation::Class::safety, machine.name() + "'s term or commit index goes back");
  // No fault of the run damages what is stored: then nothing may count as damaged, and nothing be replaced.
  if ((world_.config.faults & damaging_faults) == 0 && !world_.config.scripted &&
      status.recovery.repaired_blocks + status.recovery.lost_blocks > 0)
    world_.fail(Violation::Class::safety, machine.name() + " took blocks for damaged that nobody has damaged");
  seen.term = status.term;
  seen.commit = status.commit_index;
  check_one_server(machine, status);
  if (!status.leader) return;
  const auto [at, first] = leaders_.try_emplace(status.term, machine.id());
  if (!first && at->second != machine.id())
    world_.fail(Violation::Class::safety, "two leaders in term " + std::to_string(status.term) + ": node" +
                                              std::to_string(at->second) + " and " + machine.name());
}

void Checkers::on_fatal(const NodeMachine& machine) {
  world_.trace(machine.name(), "gives up: " + machine.node()->fatal());
  // A full disk is none: a full node starts, and runs.
  if ((world_.config.faults & damaging_faults) == 0 && machine.disk.stats().injected_errors == 0 &&
      machine.disk.oldest(world_.now) < NodeOptions{}.disk_patience * 9 / 10)  // by its own clock
    world_.fail(Violation::Class::safety,
                machine.name() + " gives up although its disk has no faults: " + machine.node()->fatal());
}

}  // namespace sd::sim
