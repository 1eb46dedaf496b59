// A cluster, its guests and its operator in the words of a test:
//
//   Scenario s({.nodes = 3, .copies = 3});
//   s.partition({0}, {1, 2});
//   EXPECT_EQ(s.write(1, 0, 8), Answer::ok);   // the guest on node 1 writes sectors 0 to 7
//   s.heal_network();
//   EXPECT_EQ(s.settle(), "");                 // every acknowledged write is there, every copy is whole
//
// The nodes, the world around them and the checkers are those of every run (world.hpp); only what happens, and when, is
// the test's. On each node sits one guest for each disk, which speaks with that node and no other and does nothing
// unless told. Whatever a guest reads is judged by the model of its disk, so a test need not say what the data should
// be.
//
// Nodes are numbered from 0. Every call that waits is bounded in simulated time; what breaks a checker on the way is
// told by `trouble`.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "core/base/sim_probe.hpp"
#include "core/client/protocol.hpp"
#include "sim/guest.hpp"
#include "sim/node_machine.hpp"
#include "sim/world.hpp"

namespace sd::sim {

struct Shape {
  std::uint32_t nodes = 3;
  std::uint32_t copies = 3;
  std::uint32_t zones = 0;      // 0: each node is one
  std::uint32_t gateways = 0;   // of the nodes, the last ones: store nothing
  std::uint32_t witnesses = 0;  // of those, the last ones: vote, and serve nobody
  std::uint32_t vdis = 1;
  std::uint64_t objects = 8;  // of each disk
  Time lease = seconds(1), lease_margin = milliseconds(250);
  bool late_resume = false;       // what a cut stalled goes on a while after its end, and new connections are quicker
  Time op_timeout = seconds(40);  // longer than any wait of a node that ends with an answer
  std::uint64_t seed = 1;
  TraceSink* sink = nullptr;  // told what happens, if somebody wants to read it
};

class Scenario {
 public:
  using Nodes = std::vector<std::uint32_t>;
  using Answer = Guest::Answer;
  static constexpr std::uint64_t object = 8192;  // sectors

  // The cluster is up, formatted and has its disks, or `trouble` says why not.
  explicit Scenario(const Shape& shape);
  ~Scenario();

  // --- Time
  void run(Time length);
  bool until(const std::function<bool()>& condition, Time limit = seconds(60));
  Time now() const { return world_->now; }
  // after so much silence a member may be removed
  Time lease_end() const { return shape_.lease + shape_.lease_margin; }

  // --- Nodes and their machines
  void kill(const Nodes& nodes);                                                   // the process
  void kill_after(std::uint32_t node, std::uint32_t effects, bool power = false);  // in the middle of what it does
  void cut_power(const Nodes& nodes);
  void power_off_all();  // guests see it: what was not flushed may be gone
  void start(const Nodes& nodes);
  void stop(const Nodes& nodes);  // cleanly, and waits for it
  void pause(std::uint32_t node, Time length);
  void drift(std::uint32_t node, std::int64_t ppm) { machine(node).set_drift(ppm); }
  void jump_clock(std::uint32_t node, Time ahead) { machine(node).jump_clock(ahead); }
  void hang_disk(std::uint32_t node, bool hangs) {
    disk(node).config.stall_per_thousand = hangs ? 1000 : 0;
    disk(node).config.stall = seconds(3600);
  }
  SimDisk& disk(std::uint32_t node) { return machine(node).disk; }
  // as data of disks can: the rest is kept for the cluster log and for getting out of it
  void fill_disk_to_reserve(std::uint32_t node);
  void fill_disk(std::uint32_t node);   // to the last byte: what is there can be overwritten, and nothing added
  void empty_disk(std::uint32_t node);  // as large as at the start again
  // A new disk for a machine without power, and an operator who knows that it has to find the others.
  void wipe(std::uint32_t node);
  void forget_seeds(const Nodes& nodes);  // from their next start on they are told of nobody

  // --- The network
  void partition(const Nodes& one, const Nodes& other);  // neither hears the other; guests still reach their nodes
  void one_way(const Nodes& from, const Nodes& to);      // nothing gets from -> to
  void unblock(const Nodes& from, const Nodes& to) { set_blocked(from, to, false); }
  void heal_network();
  void slow_links(std::uint32_t node, std::uint32_t factor);
  void narrow_links(std::uint32_t node, std::uint32_t kb_per_second);  // each of its links to other nodes, each way

  // --- Guests: sectors [first, first + count) of a disk, through a node
  struct Asked {
    Guest* guest = nullptr;
    std::size_t number = 0;
  };
  Asked ask(OpClass kind, std::uint32_t node, std::uint64_t first, std::uint32_t count, std::uint32_t vdi = 0);
  Answer answer(const Asked& asked) const { return asked.guest->answer(asked.number); }
  Answer wait(const Asked& asked, Time limit = seconds(60));
  Answer write(std::uint32_t node, std::uint64_t first, std::uint32_t count, std::uint32_t vdi = 0) {
    return wait(ask(OpClass::write, node, first, count, vdi));
  }
  Answer read(std::uint32_t node, std::uint64_t first, std::uint32_t count, std::uint32_t vdi = 0) {
    return wait(ask(OpClass::read, node, first, count, vdi));
  }
  Answer trim(std::uint32_t node, std::uint64_t first, std::uint32_t count, std::uint32_t vdi = 0) {
    return wait(ask(OpClass::trim, node, first, count, vdi));
  }
  // Block status in words, as in "4096 data, 8192 hole"; empty if it was not answered.
  std::string status_of(std::uint32_t node, std::uint64_t first, std::uint32_t count, std::uint32_t vdi = 0);
  Answer flush(std::uint32_t node, std::uint32_t vdi = 0) { return wait(ask(OpClass::flush, node, 0, 0, vdi)); }
  void reconnect(std::uint32_t node, std::uint32_t vdi = 0) { guest(node, vdi).change_gateway(); }
  // Sectors 0 to 7 of each of the first `objects` objects; true if all were acknowledged.
  bool write_all(std::uint32_t node, std::uint32_t objects, std::uint32_t vdi = 0);
  // All that was ever written, through that node: true if every read was answered.
  bool read_all(std::uint32_t node, std::uint32_t vdi = 0);

  // --- The operator: empty, or the error in words
  std::string order(const client::SdRequest& request, std::optional<std::uint32_t> node = {});
  std::string create_disk(const std::string& name, std::optional<std::uint32_t> node = {});
  std::string delete_disk(const std::string& name, std::optional<std::uint32_t> node = {});
  // Guests that are connected still see the disk as it was; see reconnect.
  std::string grow_disk(std::uint32_t vdi, std::uint64_t objects, std::optional<std::uint32_t> node = {});
  // `dog vdi check`: what it has found over all of the disk, and whether it was answered to the end.
  struct DiskCheck : client::VdiCheckReport {
    bool done = false;
  };
  DiskCheck check_disk(std::uint32_t vdi = 0, std::optional<std::uint32_t> node = {});
  // From now on the guests of disk `vdi` use the one of that name, which must be new: it reads as zeros.
  void use_disk(std::uint32_t vdi, const std::string& name);

  // --- What an observer sees
  NodeMachine& machine(std::uint32_t node) { return *world_->nodes[node]; }
  const NodeMachine& machine(std::uint32_t node) const { return *world_->nodes[node]; }
  NodeStatus status(std::uint32_t node) const { return machine(node).node()->status(machine(node).local_time()); }
  const cluster::State& state(std::uint32_t node) const { return machine(node).node()->state(); }
  bool serves(std::uint32_t node) const { return machine(node).running() && status(node).serving; }
  std::uint32_t serving() const;                     // how many do
  std::uint32_t leader() const;                      // shape.nodes: none
  std::uint32_t owner(std::uint32_t vdi = 0) const;  // the node, as the serving ones know it; likewise
  std::uint32_t objects_on(std::uint32_t node, std::uint32_t vid) const;  // files of data objects
  // it is a member of that object, as it knows
  bool holds(std::uint32_t node, std::uint32_t index, std::uint32_t vdi = 0) const;
  // likewise, of the first object of the disk's index
  bool holds_index(std::uint32_t node, std::uint32_t vdi = 0) const;
  // at every member
  FileId object_file(std::uint32_t index, FileKind kind = FileKind::object, std::uint32_t vdi = 0) const;
  bool redundant() const { return world_->clean(); }  // everybody is up and every object has its copies
  std::uint64_t steps() const { return world_->hash.steps(); }
  std::string troubles() const { return world_->troubles(); }  // what everybody is at
  // The run has taken that rare path. Always true in a build without probes; of two scenarios only the one made last
  // may be asked.
  bool came_by(Probe probe) const;
  const std::string& trouble() const { return world_->what(); }

  // Ends all that goes wrong, starts every node, reads everything through every node, waits until every object has its
  // copies, and compares them. Empty if all is well. Nothing may be called afterwards.
  std::string settle();
  // Likewise with nodes that stay away for good: nothing is compared, but everything must be read through the others.
  std::string settle_without(const Nodes& lost);

 private:
  struct Written {
    std::uint64_t first;
    std::uint32_t count;
  };
  void set_blocked(const Nodes& from, const Nodes& to, bool blocked);
  bool acts_for(std::uint32_t node, Oid oid, const cluster::Vdi& vdi) const;
  void heal();
  Guest& guest(std::uint32_t node, std::uint32_t vdi) { return *world_->guests[vdi * shape_.nodes + node]; }

  Shape shape_;
  Decisions decisions_;
  std::unique_ptr<World> world_;
  std::vector<std::vector<Written>> written_;  // by disk
  std::uint32_t volumes_ = 0;
};

}  // namespace sd::sim
