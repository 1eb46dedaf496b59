// The check that an operator asks for: every copy of every object is read at its members, each block against its
// checksum, and what is wrong is put right as it is found.
//
// Nothing of its own is needed for that. A member repairs damaged blocks as for the scrub; and one whose copy turns out
// to be missing, incomplete or older than the owner knows it to be is the owner's reason to ask all members anew, which
// makes their copies equal. So a check disturbs no client: it only ever does early what else would be done when
// somebody comes by.
//
// A request checks a bounded number of objects, for a bounded time, and says where to go on: whoever asks keeps the
// state. One request of a disk is worked on at a time, some objects at once; members keep to the rate of recovery. A
// new generation asks again about the objects under way.
#pragma once
#include <deque>
#include <optional>
#include <vector>

#include "core/replication/object_log.hpp"
#include "core/volume/check.hpp"
#include "core/volume/index.hpp"

namespace sd::volume_detail {

class DiskCheck {
 public:
  DiskCheck(replication::Context& context, replication::ObjectLog& objects, Index& index)
      : context_(context), objects_(objects), index_(index) {}

  // Data objects [first, first + count), as many of them as there are and as one request may name.
  void submit(std::uint64_t io, std::uint64_t first, std::uint64_t count);
  // Goes on with what can go on. A request that is done, and what it has found; call again until there is none.
  struct Done {
    std::uint64_t io = 0;
    CheckAnswer answer;
  };
  std::optional<Done> run();
  void on_reply(std::uint64_t id, replication::Op& op, NodeId from, const peer::ObjectReply& reply);
  void repeat(std::uint64_t id, replication::Op& op);
  // A member's copy was made whole.
  void on_restored(Oid oid);
  void on_generation();
  bool idle() const { return checks_.empty(); }
  void clear() { checks_.clear(); }

 private:
  // An object whose copies are being read.
  struct Checked {
    Oid oid;
    std::uint64_t op = 0;   // of the question to its members, if one is under way
    Time since = 0;         // the last sign of progress
    unsigned rounds = 0;    // of peering for members that were found without a whole copy
    bool old_copy = false;  // such a member answered
    ActingSet read;         // members whose copy was read to the end
    CheckCounts counts;
  };
  // The check that a client asked for.
  struct Check {
    std::uint64_t io = 0;
    std::uint64_t first = 0, next = 0, end = 0;  // data objects
    std::uint64_t begun = 0;                     // objects
    Time since = never, load_at = 0;             // begun; when to ask for a page of the index again
    std::uint64_t index_begun = ~0ull;           // the last data object before which an object of the index was checked
    std::vector<Checked> open;
    CheckCounts counts;
  };

  void advance(Check& check);
  bool begins_more(const Check& check) const;
  void begin_some(Check& check);
  void begin(Check& check, Oid oid) const;
  bool page_loaded(Check& check, std::uint32_t page);
  bool go_on(Checked& checked);
  void give_up(Checked& checked);
  bool read_copies(const replication::Object& object, Checked& checked);
  peer::ObjectRequest request(const Checked& checked, NodeId member) const;
  Checked* checked_by(std::uint64_t op);
  void count(Checked& checked, NodeId from, const peer::ObjectReply& reply, bool lacks, bool whole) const;

  replication::Context& context_;
  replication::ObjectLog& objects_;
  Index& index_;
  std::deque<Check> checks_;  // in order of arrival; the first is under way
};

}  // namespace sd::volume_detail
