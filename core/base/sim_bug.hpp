// Planted bugs: known ways to be wrong, compiled in only with SD_SIM_BUGS, so that a test can show that the simulator
// catches each.
//
//   if (!SD_BUG(skip_flush)) disk.sync(...);
//
// One list, so that nobody forgets to test one. Each entry: name, what it breaks.
#pragma once
#include <cstdint>
#include <string_view>

// The list ends at the empty line.
#define SD_BUG_LIST(X)                                                                                                \
  X(ack_before_all_members, "an owner acknowledges a write when the first member holds it")                           \
  X(skip_flush, "a member answers a flush without syncing its journal")                                               \
  X(ignore_generation, "a member accepts requests of a superseded owner")                                             \
  X(serve_without_lease, "a node serves input and output after its lease has run out")                                \
  X(skip_checksum, "a store returns what the disk gave without checking it")                                          \
  X(read_past_write, "an owner reads a range while a write to it is in flight")                                       \
  X(skip_peering, "an owner in a new generation trusts its own copy without asking the others")                       \
  X(raft_vote_twice, "a node votes for two candidates of one term")                                                   \
  X(raft_skip_persist, "a node answers before its log is durable")                                                    \
  X(raft_commit_old_term, "a leader counts copies of an older term's entry as committed")                             \
  X(accept_version_gap, "a member applies a write although it lacks the one before")                                  \
  X(journal_skip_replay, "a store forgets the journal at start")                                                      \
  X(apply_before_sync, "a store changes object files before the journal is durable")                                  \
  X(trim_keeps_data, "a trim is acknowledged and not done")                                                           \
  X(lose_index_entry, "an owner acknowledges a first write before the index names the object")                        \
  X(remove_early, "a leader removes a member whose lease may still run")                                              \
  X(forget_incarnation, "a member that restarted counts as one that kept its volatile data")                          \
  X(flush_one_member, "an owner flushes only its own copy")                                                           \
  X(repair_unchecked, "a damaged block is replaced by what another member has there, whatever it is")                 \
  X(start_needs_space, "a node's second start takes new space on its disk")                                           \
  X(collect_early, "a member removes a copy that belongs elsewhere before it is there")                               \
  X(raft_learner_counts, "a leader counts a learner's copy as a voter's")                                             \
  X(raft_config_early, "a leader changes the voters before the change before is committed, or anything of its term")  \
  X(promote_unheard, "a member gets a vote although it has yet to say that it holds anything of the log")             \
  X(call_nobody, "a node that starts does not look for the addresses of others in its log")                           \
  X(down_counts_as_up, "a member that is down but keeps its place is taken for one that holds every write")           \
  X(drained_too_early, "a member counts as drained before others hold its share")                                     \
  X(believe_old_reads, "an owner does not ask whether the copy that answers a read is as new as it must be")          \
  X(lost_copy_untold, "a member keeps to itself that it lost an object's metadata")                                   \
  X(forget_origins, "a member that starts again has forgotten whose writes it holds")                                 \
  X(deny_before_log, "a node that has yet to read its log says that a disk does not exist")                           \
  X(forget_silently, "a write that comes late is carried out though nobody remembers if it was before")               \
  X(collect_unread,                                                                                                   \
    "a member removes a copy that belongs elsewhere although what was lost of it there has not been looked for here") \
  X(collect_nothing, "a member keeps what it stores in vain")                                                         \
  X(scrub_nothing, "the scrub finds nothing")                                                                         \
  X(delta_keeps_all, "the source of a copy takes every block that the other holds for an equal one")                  \
  X(grant_while_removing, "a leader grants a lease to a member whose removal it has proposed")                        \
  X(lease_from_grant, "a lease counts from when it was granted, not from when it was asked for")                      \
  X(keep_unacknowledged, "a write that only a restarted member holds is kept, though nobody knows whose it was")      \
  X(repeat_writes, "an owner carries a forwarded write out again that an earlier owner had carried out")              \
  X(clean_too_early, "history counts as over although owners have not swept their disks")                             \
  X(remove_one_by_one, "members that fell silent together are removed one after the other")                           \
  X(repeat_incarnation, "a node's incarnations are only counted, so that an old disk gives a number again")           \
  X(old_disk_joins, "a node whose disk is older than its last incarnation is let in like one that has restarted")     \
  X(full_counts_as_copy, "a member that has no room for its copy counts as one that has it")                          \
  X(forget_early, "a member leaves the list although not every object is redundant without it")                       \
  X(check_skips_copies, "a check of a disk reads one copy of each object")                                            \
  X(place_unsynced, "a copy that was written straight to its file counts as complete before that file is synced")     \
  X(place_under_replay, "a copy is written straight to its file although replay may yet undo that")                   \
  X(tell_unwritten, "a member tells an owner of a write that is not in its journal yet")                              \
  X(number_is_disk, "a request for a deleted disk is carried out on the next one of its number")                      \
  X(purge_once, "a deleted disk's objects are looked for once, while writes of it are still under way")               \
  X(stale_exports, "a node says which disks there are as it last heard, and not as it is")                            \
  X(adopt_unwritten, "a decision is not written down although a member that is not made equal lacks it")              \
  X(keep_orphans, "an object begins although members hold one of its name that no index names")                       \
  X(skip_establish, "an owner serves what a peering found without writing the decision down")                         \
  X(newer_means_done, "a write under way counts as carried out once anything newer was written down")                 \
  X(beats_behind_bulk, "leases and the cluster log wait behind the data that is queued for a node")                   \
  X(one_incarnation_for_all,                                                                                          \
    "a node names the same earlier incarnation to everybody, whoever asked for it, and begins every connection anew")

namespace sd {

enum class SimBug : std::uint8_t {
#define SD_BUG_ENUM(name, what) name,
  SD_BUG_LIST(SD_BUG_ENUM)
#undef SD_BUG_ENUM
      count
};

struct SimBugInfo {
  SimBug id;
  std::string_view name;
  std::string_view what;
};

inline constexpr SimBugInfo sim_bugs[] = {
#define SD_BUG_INFO(name, what) {SimBug::name, #name, what},
    SD_BUG_LIST(SD_BUG_INFO)
#undef SD_BUG_INFO
};

#ifdef SD_SIM_BUGS
// The one bug that is switched on, or SimBug::count. Set by the simulator before a run; the only variable of its kind
// in core/.
inline SimBug planted_bug = SimBug::count;
#define SD_BUG(name) (::sd::planted_bug == ::sd::SimBug::name)
#else
#define SD_BUG(name) false
#endif

}  // namespace sd
