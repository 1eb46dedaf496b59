// A machine that runs a node: its disk, its clock, its process, which comes and goes. Performs the node's effects one
// at a time, and may die after any of them.
#pragma once
#include <memory>
#include <string>

#include "core/node/node.hpp"
#include "core/node/node_invariants.hpp"
#include "sim/disk.hpp"
#include "sim/network.hpp"

namespace sd::sim {

class World;

class NodeMachine final : public Host {
 public:
  NodeMachine(World& world, MachineId id, NodeOptions options);
  ~NodeMachine() override;

  static Endpoint address_of(MachineId id) { return Endpoint::v4(10, 0, 0, static_cast<std::uint8_t>(id + 1), 7000); }

  void start();          // power and a new process; nothing if it runs
  void die(bool power);  // the process, and the machine's power with it
  // Dies when it has performed this many effects more, or at the latest after a moment.
  void arm_crash(std::uint32_t effects, bool power);
  void crash_if_armed();  // now
  void pause(Time until);
  void stop();                       // cleanly; `running` ends by itself
  void set_drift(std::int64_t ppm);  // counted from now; clocks never go back
  void jump_clock(Time ahead);
  void wipe();  // a new disk; the process must not run
  void forget_seeds() { options_.seeds.clear(); }
  std::string found_anew();               // an operator: go on alone, the majority is lost; empty, or why not
  bool order(cluster::CommandBody body);  // as an operator, through this node; false: it cannot

  void on_tick(const Event& event);
  void on_disk_done(const Event& event);
  void tell_space();

  bool running() const { return node_ != nullptr; }
  const Node* node() const { return node_.get(); }
  MachineId id() const { return id_; }
  const std::string& name() const { return name_; }
  std::uint32_t incarnations() const { return incarnation_; }
  Time local_time() const { return local(now()); }
  const NodeOptions& options() const { return options_; }

  SimDisk disk;

  // Host
  StreamId accept(Service service) override;
  void dialed(StreamId stream, DialResult result) override;
  std::span<std::byte> receive_buffer(StreamId stream) override;
  void received(StreamId stream, std::size_t bytes) override;
  OutQueue* output(StreamId stream) override;
  void drained(StreamId stream) override;
  void closed(StreamId stream) override;

 private:
  Time now() const;
  Time local(Time true_time) const;
  Time true_time(Time local_deadline) const;
  void perform();
  bool doomed();  // one more effect: does it die before this one?
  void schedule_tick();
  void after_step(unsigned kind);

  World& world_;
  MachineId id_;
  NodeOptions options_;
  std::string name_;
  std::unique_ptr<Node> node_;
  NodeInvariants invariants_;  // of node_
  Effects effects_;
  std::vector<DiskDone> held_;  // completed while the process was paused
  std::uint32_t incarnation_ = 0;
  Time clock_offset_ = 0;
  std::int64_t drift_ppm_ = 0;
  Time tick_at_ = never;
  Time paused_until_ = 0;
  bool stopping_ = false;
  bool crash_armed_ = false;
  bool crash_power_ = false;
  std::uint32_t crash_in_ = 0;
  std::uint32_t steps_ = 0;
  Time last_step_at_ = 0;
  std::uint32_t steps_at_once_ = 0;
};

}  // namespace sd::sim
