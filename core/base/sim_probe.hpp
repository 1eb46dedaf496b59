// Probes at rare paths: SD_SOMETIMES(condition, name) notes that a run came by while the condition held. Compiled in
// only with SD_SIM_BUGS; a simulator that never comes by does not test what happens there, so a table over many seeds
// shows which probes it reaches.
//
// One list, so that nobody forgets one. It ends at the empty line.
#pragma once
#include <cstdint>
#include <string_view>

#define SD_PROBE_LIST(X)                                                                                          \
  X(peering_asks_again, "an owner asks an object's members anew in one generation")                               \
  X(peering_waits_for_members, "the answers may lack acknowledged writes: others are waited for")                 \
  X(peering_patience_over, "members that restarted are believed: the others stayed away too long")                \
  X(peering_fails_waiting, "requests fail, since the members that are needed stay away")                          \
  X(object_forgotten, "an owner forgets an idle object, since it knows too many")                                 \
  X(peering_pulls, "a member is behind and pulls")                                                                \
  X(peering_only_damaged, "every copy of the newest version is damaged or was unreadable")                        \
  X(pull_without_space, "a pull fails for want of space")                                                         \
  X(reads_without_full_member, "an object is read although a member has no room for its copy")                    \
  X(establishes, "the outcome of a peering is written down")                                                      \
  X(establishes_twice, "that is begun again before it was done")                                                  \
  X(write_found_done, "a write under way was carried out in the generation before")                               \
  X(write_sent_again, "a write under way was lost with its generation, and is sent again")                        \
  X(repeated_write_known, "a forwarded write was carried out by an earlier owner")                                \
  X(forward_repeated, "a forwarded request arrives twice")                                                        \
  X(forward_before_log, "a node that has just started is asked for a disk that it does not know yet")             \
  X(forward_behind_end, "an owner is asked for what lies behind the end of the disk that it knows")               \
  X(index_page_shared, "two first writes of one object wait for one index entry")                                 \
  X(orphan_cleared, "an object begins anew, and members give up one of its name that no index named")             \
  X(index_page_fails, "a page of the index cannot be loaded")                                                     \
  X(request_parked, "a member waits for the cluster log before it takes a request")                               \
  X(request_refused, "a member refuses a request of a superseded owner")                                          \
  X(request_fenced, "a write of before the members were asked anew arrives late")                                 \
  X(request_waits_for_first, "a write waits behind a first write that is being looked into")                      \
  X(first_write_voids, "a first write finds what an earlier generation left")                                     \
  X(pull_repeated, "an owner repeats a pull that is under way")                                                   \
  X(lease_lost, "a node that serves stops, since its lease has ended")                                            \
  X(lease_refused_removing, "no lease: the member's removal is on its way")                                       \
  X(lease_refused_early, "no lease: the leader has not applied what it inherited")                                \
  X(lease_refused_alone, "no lease: the leader has not heard a majority lately")                                  \
  X(old_disk_refused, "a node comes back with an older disk, and is refused")                                     \
  X(old_incarnation_shown, "a node is asked for an incarnation that it did not name, and that its disk knows")    \
  X(member_silent, "a member is removed because it is silent")                                                    \
  X(member_gone, "a member is removed because nobody listens where it listened")                                  \
  X(raft_conflict, "entries that were never committed are dropped")                                               \
  X(raft_vote_refused, "a vote is refused")                                                                       \
  X(raft_snapshot, "a snapshot is installed")                                                                     \
  X(removed_together, "members that fell silent together are removed in one epoch")                               \
  X(member_forgotten, "a member that was drained or replaced leaves the list")                                    \
  X(query_waits_for_journal, "a member is asked for an object while a change of it is on its way to the journal") \
  X(journal_damaged, "a batch that had been durable cannot be read")                                              \
  X(journal_tail_erased, "what follows the journal's valid prefix is erased")                                     \
  X(chunk_placed, "a chunk that a copy brings is written straight to the object file")                            \
  X(metadata_lost, "an object's newest metadata is lost with changes that the journal no longer has")             \
  X(read_from_older_copy, "a member answers a read from a state older than the one it had acknowledged")          \
  X(lost_copy_told, "a member tells the owner that its copy is not whole")                                        \
  X(repaired_by_leftover, "blocks that were lost are found in a copy that was about to be removed")               \
  X(check_finds_old_copy, "a check of a disk meets a member without a whole copy")                                \
  X(check_gives_up, "a check of a disk leaves an object as it is")                                                \
  X(block_damaged, "a read finds a damaged block")

namespace sd {

enum class Probe : std::uint8_t {
#define SD_PROBE_ENUM(name, what) name,
  SD_PROBE_LIST(SD_PROBE_ENUM)
#undef SD_PROBE_ENUM
      count
};
static_assert(static_cast<unsigned>(Probe::count) <= 64, "a run's probes are one number");

struct ProbeInfo {
  std::string_view name;
  std::string_view what;
};

// What seeds drawn at random reach hardly or not at all. A scenario of its own (sim/scenario_*_test.cpp) takes each of
// these paths and says so (Scenario::came_by); all others must be reached by the seeds of `sheepsim --probes`.
inline constexpr Probe probes_of_scenarios[] = {
    Probe::establishes_twice,     Probe::first_write_voids,     Probe::index_page_fails,
    Probe::journal_damaged,       Probe::repaired_by_leftover,  Probe::metadata_lost,
    Probe::old_incarnation_shown, Probe::peering_fails_waiting, Probe::request_fenced,
    Probe::peering_patience_over, Probe::read_from_older_copy,  Probe::lease_refused_removing,
    Probe::forward_behind_end,
};

inline constexpr ProbeInfo probes[] = {
#define SD_PROBE_INFO(name, what) {#name, what},
    SD_PROBE_LIST(SD_PROBE_INFO)
#undef SD_PROBE_INFO
};

#ifdef SD_SIM_BUGS
// The probes that this run came by, a bit each. Set to 0 by the simulator before a run.
inline std::uint64_t probes_reached = 0;
#define SD_SOMETIMES(condition, name) \
  static_cast<void>((condition) &&    \
                    (::sd::probes_reached |= std::uint64_t{1} << static_cast<unsigned>(::sd::Probe::name)))
#else
#define SD_SOMETIMES(condition, name) static_cast<void>(0)
#endif

}  // namespace sd
