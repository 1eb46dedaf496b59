// A changed chunk rarely changed everywhere. The puller says what it holds, as a fingerprint of each block, and gets
// only the other blocks.
//
// The checksums that the store keeps would not do: among the millions of changed blocks of a long absence two with
// equal 32 bits are to be expected now and then, and such a block would stay as it was, unnoticed. Fingerprints of 128
// bits never meet by chance. (A guest might make them meet; it would harm its own disk.)
#pragma once
#include <array>
#include <vector>

#include "core/member/blocks.hpp"
#include "core/peer/message.hpp"
#include "core/store/store.hpp"

namespace sd::member_detail {

// At the source: leaves out of the answer what the puller has.
void leave_out(const peer::ObjectRequest& request, const StoreDone& done, peer::ObjectReply& reply);

// At the puller: what it holds of the chunks that it has asked for.
class DeltaChunks {
 public:
  // The store's answer to a read of the chunk.
  void add(std::uint32_t chunk, const StoreDone& done);
  // The fingerprints to be sent along, two words for each block; null if the chunk was not looked at.
  const std::vector<std::uint64_t>* have(std::uint32_t chunk) const;
  // Puts what was left out back into the answer, and forgets the chunk. False if that cannot be.
  bool fill_in(std::uint32_t chunk, peer::ObjectReply& reply, BufferPool& pool);
  std::size_t size() const { return chunks_.size(); }

 private:
  struct Chunk {
    std::uint32_t number = 0;
    std::vector<std::uint64_t> have;
    std::array<Slice, blocks_per_chunk> blocks{};
  };
  std::vector<Chunk> chunks_;
};

}  // namespace sd::member_detail
