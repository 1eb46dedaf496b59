// What goes wrong, and when: draws a fault of an enabled class now and then, and undoes it after a while.
//
// The plan stays within what must be survivable. Nodes lose data or leave only when no object lacks a copy, and at most
// copies - 1 of them at once (with one copy, processes may be killed, since their disks keep what they had written);
// loss of power of all nodes may come at any time and is told to the models. Everything else (cuts, pauses, slowness)
// may come at any time and in any combination. At most one node of a run has a bad disk.
//
// Aimed faults are several faults in the one order that a random plan hardly finds.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/cluster/state.hpp"
#include "sim/config.hpp"
#include "sim/disk.hpp"
#include "sim/event_queue.hpp"

namespace sd::sim {

class World;

class Faults {
 public:
  explicit Faults(World& world);
  void begin(Time until);
  void on_event(const Event& event);
  void heal_all();  // ends every fault, starts every node
  void all_lose_power(Time longest_outage);
  std::uint32_t bad_disk() const { return bad_disk_; }
  std::uint64_t count() const { return count_; }

 private:
  struct Active {
    FaultClass kind{};
    std::uint32_t targets = 0;  // nodes, by bit; for a guest's cut its number
    std::uint32_t other = 0;
    bool used = false;
  };
  void schedule_next();
  void strike();
  bool apply(FaultClass kind);
  void undo(Active& fault);
  bool any_active(FaultSet classes) const;
  bool may_lose() const;
  bool may_forget() const;
  void lose_zone();
  void wipe_one();
  void save_image();
  void go_on_with_image(Active& fault);
  void keep(FaultClass kind, std::uint32_t targets, std::uint32_t other, Time length);
  bool failing_disk();
  void lose_nodes(FaultClass kind);
  bool lone_witness();
  bool isolate_owner(FaultClass kind);
  bool leave_behind();
  bool relay();
  void rot_before_return(std::uint32_t returning);
  bool order(cluster::CommandBody body);
  bool drain(FaultClass kind);
  void undrain(Active& fault);
  void go_on_replacing(Active& fault);
  bool lose_majority();
  void go_on_alone(Active& fault);
  std::uint32_t owner() const;  // of a disk, as a node that serves knows it; config.nodes: none
  void narrow(std::uint32_t node, std::uint32_t kb_per_second);
  void cut(std::uint32_t from_nodes, std::uint32_t to_nodes, bool blocked);
  std::uint64_t choose(std::uint64_t bound);
  std::uint32_t any_node();
  Time any_length();

  World& world_;
  std::vector<Active> active_;
  std::vector<FaultClass> classes_;
  Time until_ = 0;
  std::uint32_t bad_disk_ = 0;
  std::uint64_t count_ = 0;
  bool rotted_ = false;
  bool wiped_ = false;
  std::shared_ptr<const SimDisk::Image> image_;
};

}  // namespace sd::sim
