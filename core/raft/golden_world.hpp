// The interpreter of core/raft/testdata/*.txt: a group of Raft nodes in which nothing happens by itself. Messages lie
// on the wire until they are delivered or dropped, disks do what they are told at once unless they are slow, clocks
// stand. Each command says everything that it caused.
//
//   add-nodes 3 voters 1 2 3           nodes whose logs begin with this configuration; "learners 4" after it
//   elect 1                            node 1 is made leader, and all know what is committed; only the end is told
//   cut 1, heal 1                      nothing reaches it or leaves it any more
//   campaign 1                         the clock goes to node 1's next deadline, and it is told the time
//   heartbeat 1                        the same, of a leader
//   wait 600                           milliseconds; nobody is told
//   tick 2                             node 2 is told the time
//   propose 1 x                        a command; "times 5" after it repeats it
//   members 1 +learner 4               also +voter, -: what the configuration of node 1 says of node 4
//   deliver                            all messages, and those that they cause; "1->2": only those that lie there now
//   drop 1->2                          what lies there now
//   slow-disk 2, complete-disk 2       operations wait, and are done; "one" after it: only the first
//   fast-disk 2                        the same, and waits no more
//   crash 2 unsynced                   what was not synced is lost; "kept": it is not
//   tear 2                             the last page of the log that is down becomes zeros
//   cut-log 2 8192                     the file of a node that is down keeps so many bytes
//   restart 2
//   compact 1, hand-over 1 2, leader-gone 2 1
//   tell 2 append from 3 term 5 index 4/1 commit 4 entries 1:x 1:y
//   state, log 1
#pragma once
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "core/raft/raft.hpp"
#include "core/raft/raft_invariants.hpp"
#include "core/raft/test_disk.hpp"

namespace sd::raft {

class GoldenWorld {
 public:
  std::string run(const std::vector<std::string>& words);
  // The first invariant that was broken.
  const std::string& violation() const { return violation_; }

 private:
  using Words = std::vector<std::string>;
  struct Node {
    NodeId id = 0;
    TestDisk disk;
    std::unique_ptr<Raft> raft{};  // none while down
    bool slow = false;
    std::vector<DiskOp> under_way{};
    std::optional<Observation> seen{};
    Config config{};
    std::string state{};  // everything applied
  };
  struct OnTheWire {
    NodeId from, to;
    Message message;
  };

  void add_nodes(const Words& words);
  void start(Node& n);
  void elect(Node& n);
  void deliver(const std::string& link);
  void drop(const std::string& link);
  void complete(Node& n, bool one);
  void propose(Node& n, const Words& words);
  void change_members(Node& n, const std::string& role, NodeId who);
  void tell(Node& n, const Words& words);
  void state();
  void log(const Node& n);

  Node& node(const std::string& word) { return nodes_.at(std::stoull(word)); }
  void perform(Node& n, Effects& out);
  void say_what_changed(Node& n);
  void say(const Node& n, const std::string& what) {
    said_ << std::string(indent_, ' ') << n.id << " " << what << "\n";
  }

  BufferPool pool_;
  std::map<NodeId, Node> nodes_;
  std::vector<OnTheWire> wire_;
  std::set<NodeId> cut_;
  Time now_ = seconds(1);
  std::size_t indent_ = 0;
  std::ostringstream said_;
  std::string violation_;
};

}  // namespace sd::raft
