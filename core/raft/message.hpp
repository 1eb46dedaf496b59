// What Raft nodes say to each other, and its bytes. Decoding is bounded: nothing is allocated beyond what the input
// holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/codec.hpp"
#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/time.hpp"

namespace sd::raft {

using Index = std::uint64_t;  // of a log entry, from 1; 0 is before the first
using Term = std::uint64_t;   // from 1

inline constexpr std::size_t max_voters = 31;  // every commit sorts their positions
// a Config of max_members fits too: see the proof below
inline constexpr std::size_t max_entry_data = limits::max_command;
inline constexpr std::size_t max_entries_per_message = 1024;
inline constexpr std::size_t max_snapshot_chunk = 512u << 10;  // a message must fit into limits::max_peer_header
// the replicated state with max_vdis is about 100 MB
inline constexpr std::size_t max_snapshot = 256u << 20;
static_assert(limits::max_members * sizeof(NodeId) + 8 <= max_entry_data);
static_assert(max_snapshot_chunk + limits::max_members * sizeof(NodeId) + 256 <= limits::max_peer_header);

// Who belongs to the group. Both lists are sorted, without repetition, and have no node in common.
struct Config {
  std::vector<NodeId> voters;
  std::vector<NodeId> learners;

  bool is_voter(NodeId id) const;
  bool is_learner(NodeId id) const;
  bool contains(NodeId id) const { return is_voter(id) || is_learner(id); }
  bool empty() const { return voters.empty() && learners.empty(); }
  friend bool operator==(const Config&, const Config&) = default;
};

// Sorted, disjoint, no node 0, at least one voter, within the limits.
bool well_formed(const Config& config);
// The two differ in the role of exactly one node, so that their majorities overlap (Ongaro's thesis, 4.1).
bool one_step_apart(const Config& a, const Config& b);
void encode(const Config& config, Writer& out);
// nullopt unless well_formed.
std::optional<Config> decode_config(Reader& in);
std::string to_bytes(const Config& config);
std::optional<Config> config_from(std::string_view bytes);

struct Entry {
  enum class Kind : std::uint8_t {
    noop,     // the first entry of each leader; data is empty
    command,  // data is the state machine's
    config,   // data is a Config
  };
  Term term = 0;
  Index index = 0;
  Kind kind = Kind::noop;
  std::string data;
  friend bool operator==(const Entry&, const Entry&) = default;
};

// One flat struct for all types; each field's comment says which types use it. Unused fields are 0 and still travel.
struct Message {
  enum class Type : std::uint8_t {
    pre_vote,  // would you vote for me in `term`? promises and changes nothing
    pre_vote_reply,
    vote,  // vote for me in `term`
    vote_reply,
    append,  // entries after (index, log_term); without entries a heartbeat
    append_reply,
    snapshot,        // a part of the leader's snapshot
    snapshot_reply,  // how much of it has arrived; the end is answered by append_reply
    take_over,       // the sender, leader of this term, has just stepped down: campaign at once
  };
  Type type = Type::append;
  std::uint64_t group = 0;
  Term term = 0;  // the sender's; of pre_vote and its grant: the term asked about
  NodeId from = 0;
  // vote: the candidate's last; append: before the entries; append_reply: durable and equal to the leader's up to here,
  // or with `reject` the append's index; snapshot, snapshot_reply: the snapshot's last entry
  Index index = 0;
  Term log_term = 0;  // of `index`; vote, append, snapshot
  Index commit = 0;   // the leader's; append
  // append_reply with reject: try from the entry after this; snapshot_reply: bytes that have arrived
  Index hint = 0;
  // replies; vote: the leader of the term before has stepped down, so nobody has to keep faith with it
  bool reject = false;
  Time sent = 0;                      // the requester's clock when it sent the request; replies give it back
  std::uint64_t snapshot_offset = 0;  // of `snapshot` in the whole
  std::uint64_t snapshot_size = 0;    // of the whole
  Config config;                      // at the snapshot's last entry; empty in other types
  std::vector<Entry> entries;         // append; consecutive from index + 1
  std::string snapshot;               // at most max_snapshot_chunk bytes
  friend bool operator==(const Message&, const Message&) = default;
};

// Appends the message's bytes to `out`: at most limits::max_peer_header for messages made by Raft.
void encode(const Message& message, std::string& out);
// nullopt for anything that no encode() made; never reads past the span.
std::optional<Message> decode(std::span<const std::byte> bytes);

}  // namespace sd::raft
