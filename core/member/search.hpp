// The search for good contents of damaged blocks: here, then at each helper in turn, chunk by chunk.
//
// A block's checksum, kept apart from it, says what the block should hold. So bytes that match it are as good as what a
// read of an undamaged block returns, whoever has them and whatever the version of their object: a search needs no
// agreement, disturbs no request, and may stop anywhere.
#pragma once
#include <array>
#include <deque>
#include <optional>
#include <span>

#include "core/member/blocks.hpp"
#include "core/member/context.hpp"

namespace sd::member_detail {

// A chunk with damaged blocks.
struct Damage {
  std::uint32_t chunk = 0;
  std::uint16_t wanted = 0;                           // blocks not found yet ...
  std::array<std::uint32_t, blocks_per_chunk> crc{};  // ... and what they must match
  std::array<Slice, blocks_per_chunk> found{};
  std::uint64_t allocated = 0;  // of a pull: the source's blocks ...
  Version version;              // ... and its chunk's version
  bool here = false;            // this member's own copy was looked at

  // `crcs`: of `damaged`, in order.
  void want(std::uint16_t damaged, std::span<const std::uint32_t> crcs);
};

class Search {
 public:
  // `job` is the one that searches, `request` what it does: its helpers are asked.
  Search(Context& context, std::uint64_t job, const Request& request)
      : context_(context), job_(job), request_(request) {}

  bool idle() const { return damages_.empty(); }
  // After this: advance(), if nothing was searched for before.
  void add(Damage&& damage) { damages_.push_back(std::move(damage)); }
  // Looks and asks where it has not yet. A chunk of which all is found that can be found; call again for the next.
  std::optional<Damage> advance();
  // This member's own copy of the chunk. True if advance() gets on now.
  bool on_look(StoreDone&& done);
  // Whether this is an answer to the search.
  bool asked_for(NodeId from, const Reply& reply) const;
  // True if advance() gets on now.
  bool on_reply(NodeId from, const Reply& reply);
  // Asks again if the answer is late; false if it was asked for often enough.
  bool repeat();
  void clear() { damages_.clear(); }

 private:
  NodeId helper() const;
  void ask();
  static void take_wanted(Damage& damage, std::uint64_t allocated, std::uint16_t left_out,
                          std::span<const Slice> slices);

  Context& context_;
  const std::uint64_t job_;
  const Request& request_;
  std::deque<Damage> damages_;  // the first is searched for
  std::size_t at_ = 0;          // the helper that is asked now ...
  unsigned asked_ = 0;          // ... so many times
  Time asked_at_ = 0;
};

}  // namespace sd::member_detail
