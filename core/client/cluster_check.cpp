#include "core/client/cluster_check.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/client/cluster_view.hpp"

namespace sd::client {

namespace {

constexpr std::size_t max_named = 64;  // nodes that are down; of more only the number is told

class Check {
 public:
  Check(const cluster::State& state, const NodeStatus& status) : state_(state), status_(status) {}

  void service();
  void members();
  void redundancy();
  void asked_node();
  void advice();
  CheckReport sorted() const;

 private:
  void add(Severity severity, std::string text) { report_.findings.push_back({severity, std::move(text)}); }

  const cluster::State& state_;
  const NodeStatus& status_;
  CheckReport report_;
};

void Check::service() {
  if (!status_.open) add(Severity::error, "the asked node is still reading its files");
  if (status_.leader_id == 0)
    add(Severity::error,
        "no leader: the asked node cannot reach a majority of the cluster; start the missing nodes or repair the "
        "network");
  if (!state_.formatted && status_.leader_id != 0)
    add(Severity::error, "the cluster is not formatted; run `dog cluster format`");
  if (state_.shut_down) add(Severity::error, "the cluster is shut down; start its sheep again");
  if (state_.formatted && !state_.shut_down && !status_.serving && !status_.trouble.empty())
    add(Severity::error, "the asked node does not serve: " + status_.trouble);
}

void Check::members() {
  std::size_t down = 0;
  for (const auto& [id, member] : state_.members) {
    if (member.up) continue;
    ++down;
    const std::string what = !member.placed             ? "; others hold its share of the data"
                             : state_.epochs.size() > 1 ? ""
                                                        : "; its share of the data is kept for it";
    if (down <= max_named)
      add(Severity::error, "node " + to_string(member.address) +
                               " is down; start it again, or, if it is gone for good, `dog node drain` it" + what);
  }
  for (const NodeId id : state_.missing())
    if (const cluster::Member* member = state_.member(id))
      add(Severity::error, "node " + to_string(member->address) +
                               " may hold data that no other node has: objects that need it wait, and fail after 30 s; "
                               "start it, or give it up: "
                               "`dog cluster recover force`");
  for (const auto& [id, member] : state_.members)
    if (member.draining && member.up)
      add(Severity::note, "node " + to_string(member.address) +
                              (state_.is_drained(id) ? " is drained: it may be stopped" : " is being drained"));
  if (down > max_named) add(Severity::error, "and " + std::to_string(down - max_named) + " more nodes are down");
}

void Check::redundancy() {
  const std::size_t zones = storing_zones(state_, false);
  std::size_t thin = 0;
  for (const auto& [vid, vdi] : state_.vdis)
    if (!vdi.deleting && vdi.copies > zones) ++thin;
  if (thin > 0)
    add(Severity::error, std::to_string(thin) + " VDIs want more copies than there are zones with nodes up (" +
                             std::to_string(zones) +
                             "): their data has fewer copies than asked for; start the missing nodes");
  if (state_.formatted && state_.epochs.size() > 1)
    add(Severity::warning,
        std::string(state_.recovery_off ? "recovery is switched off" : "recovery is under way") +
            ": not every object has all its copies since epoch " + std::to_string(state_.epochs.front().epoch) +
            " (now " + std::to_string(state_.epoch()) +
            (state_.recovery_off ? "); `dog cluster recover enable`" : "); wait, and see `dog node recovery`"));
}

void Check::asked_node() {
  if (status_.recovery.unreadable_objects > 0)
    add(Severity::error,
        "the asked node has found blocks that are damaged at every member, in " +
            std::to_string(status_.recovery.unreadable_objects) +
            " objects; reads of them fail: see its log, restore them from a backup, and see `dog vdi check`");
  if (status_.disk_silent_for > 0)
    add(Severity::error, "the disk of the asked node has not answered for " +
                             std::to_string(status_.disk_silent_for / seconds(1)) +
                             " s, and what is written waits for it; look at the machine");
  if (status_.full)
    add(Severity::error,
        "the disk of the asked node is full, and writes that need space on it are refused; add a node or free some "
        "space");
  else if (status_.space_total > 0 && status_.space_free < status_.space_total / 20)
    add(Severity::warning, "less than 5% of the asked node's disk is free; add a node or free some space");
}

void Check::advice() {
  if (state_.formatted && state_.copies == 1) add(Severity::note, "new VDIs have one copy: losing one disk loses data");
  if (state_.members.size() == 2)
    add(Severity::note,
        "two nodes are no safer than one against failures: one of them is no majority; add a third, or a witness "
        "(`shepherd`)");
}

CheckReport Check::sorted() const {
  CheckReport sorted;
  for (const Severity severity : {Severity::error, Severity::warning, Severity::note})
    std::ranges::copy_if(report_.findings, std::back_inserter(sorted.findings),
                         [&](const Finding& finding) { return finding.severity == severity; });
  return sorted;
}

}  // namespace

CheckReport check_cluster(const cluster::State& state, const NodeStatus& status) {
  Check check(state, status);
  check.service();
  check.members();
  check.redundancy();
  check.asked_node();
  check.advice();
  return check.sorted();
}

}  // namespace sd::client
