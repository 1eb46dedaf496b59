// One simulated cluster with its guests: nodes on faulty disks, behind a faulty network, and what watches over them.
//
// A run: the nodes start one after the other and an operator formats the cluster and makes the VDIs; guests work while
// faults come and go; then everything is healed, and the cluster has to answer every request within a bound, return to
// full redundancy, and read back right; in the end nothing may be left over. The first thing that is not as it should
// be ends the run.
//
// A run is a function of its decisions and its configuration.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/config.hpp"
#include "sim/device_model.hpp"
#include "sim/event_queue.hpp"
#include "sim/network.hpp"
#include "sim/trace_hash.hpp"

namespace sd::sim {

class NodeMachine;
class Guest;
class Admin;
class Operator;
class Faults;
class Checkers;

// Told what happens, for people. Absent in most runs, and then nothing is formatted.
class TraceSink : public MessageSink {
 public:
  virtual void line(Time at, std::string_view lane, std::string_view text) = 0;
  void message(MachineId, MachineId, Time, Time, std::size_t) override {}
};

// The exit codes of the simulator.
enum class Outcome : int {
  ok = 0,
  usage = 1,
  assertion = 10,
  safety = 11,
  durability = 12,
  liveness = 13,
  leak = 14,
  nondeterminism = 15
};
std::string_view to_string(Outcome outcome);

struct Report {
  Outcome outcome = Outcome::ok;
  std::string what;  // of a failure
  std::uint64_t hash = 0, steps = 0;
  Time simulated = 0;
  std::uint64_t operations = 0, errors = 0, checked_sectors = 0, faults = 0, restarts = 0, inconclusive = 0;
  std::uint64_t probes = 0;       // rare paths that it came by (core/base/sim_probe.hpp)
  std::vector<TraceStep> hashes;  // after each step, if asked for
};

class World {
 public:
  World(Decisions& decisions, const Config& config, TraceSink* sink, bool remember_hashes);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Report run();

  // --- For scripts (scenario.hpp)
  // The same world, one event at a time: nothing strikes, heals or works unless the script says so. `begin` once, then
  // `step` as often as one likes, then `finish`, which ends the processes; with `compare`, all nodes must run, and
  // every copy is compared.
  void begin(bool scripted);
  void step();
  Report finish(bool compare);
  const std::string& what() const { return what_; }  // of a failure
  std::string troubles() const;                      // what each node and guest is at, in words

  // --- For the parts of the world
  void fail(Violation::Class kind, const std::string& what);
  bool failed() const { return outcome_ != Outcome::ok; }
  bool tracing() const { return sink_ != nullptr; }
  void trace(std::string_view lane, const std::string& text) {
    if (sink_) sink_->line(now, lane, text);
  }
  void wake_client(MachineId machine, Time at) { events.push({at, 0, machine, 0, 0, EventKind::client_timer, 0}); }
  void all_lost_power();  // tells the models
  void member_died();     // likewise, if what it alone remembered may have been the last of it
  // Every node runs, knows the same configuration, serves, and no object lacks a copy.
  bool clean() const;
  // as clean, and no share of the data waits for a member that is away: as many may be lost as the copies allow for
  bool redundant() const;
  bool all_up() const;  // as clean, but some copies may have yet to be made
  // Of a clean one: nobody stores what belongs elsewhere, and where blocks rot the scrub has read everything since.
  bool collected();
  std::uint32_t gateways() const { return config.nodes - config.witnesses; }  // nodes that serve guests: the first ones
  bool healed() const { return phase_ >= Phase::settle; }

  Decisions& decisions;
  const Config config;

 private:
  std::unique_ptr<BufferPool> pool_owner_;

 public:
  BufferPool& pool;
  EventQueue events;
  TraceHash hash;
  Network network;
  Time now = 0;
  std::vector<std::unique_ptr<NodeMachine>> nodes;
  std::vector<std::unique_ptr<DeviceModel>> models;  // one for each VDI
  std::vector<std::unique_ptr<Guest>> guests;        // of VDI i / guests_per_vdi
  std::unique_ptr<Admin> admin;
  std::unique_ptr<Operator> op;  // in some runs
  std::unique_ptr<Faults> faults;
  std::unique_ptr<Checkers> checkers;

 private:
  enum class Phase : std::uint8_t { setup, chaos, settle, drain, read_back, flush, dark, read_again, redundancy, over };
  void dispatch(const Event& event);
  void on_phase();
  void enter(Phase phase, Time limit);
  void check_models();
  void check_copies();
  std::vector<std::uint64_t> scrubs_wanted_;  // passes of each node
  std::uint64_t checks_wanted_ = 0;           // passes of the operator

  TraceSink* sink_;
  Phase phase_ = Phase::setup;
  Time phase_began_ = 0;
  Time phase_limit_ = 0;
  Outcome outcome_ = Outcome::ok;
  std::string what_;
  bool powered_off_ = false;  // the loss of power at the end has been
};

// Runs one seed with overrides (may be empty). Replays `log` instead of the seed's own choices, if given.
Report run_seed(std::uint64_t seed, const std::vector<std::string>& overrides, TraceSink* sink = nullptr,
                bool remember_hashes = false);
// Likewise with a source of choices of the caller's: one that records, or that replays a log.
Report run_decisions(Decisions& decisions, const std::vector<std::string>& overrides, TraceSink* sink = nullptr,
                     bool remember_hashes = false);

}  // namespace sd::sim
