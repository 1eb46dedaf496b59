// Reads of blocks: from the overlays and the file, every block from the file checked against its checksum.
//
// One record for each read under way, kept and reused. A read takes what it needs to know of the object when it begins:
// checksums, version, and the generation of the overlays that it looked through.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/store/context.hpp"
#include "core/store/object.hpp"

namespace sd::store_detail {

class Reads {
 public:
  explicit Reads(Context& context) : context_(context) {}

  // Each answers by itself. The object exists.
  void read(Object& o, std::uint64_t ticket, std::uint32_t offset, std::uint32_t length);
  void read_chunk(Object& o, std::uint64_t ticket, std::uint32_t chunk);
  // The old contents of these blocks into o.edges; false if they must be read first (then the object is busy). If they
  // are known to be lost, o.edges.status says so.
  bool fetch_edges(Object& o, std::span<const std::uint32_t> blocks);

  struct Ended {
    Object* object = nullptr;  // null: more is to be read
    bool edges = false;        // the object is not busy any more
  };
  Ended on_read(std::uint32_t id, std::uint32_t piece, DiskDone&& done);
  // Answers every read under way. Only when no more results will be handed in.
  void drop(Status status);

 private:
  enum class Purpose : std::uint8_t { read, read_chunk, edges };
  struct Piece {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    Slice data;  // empty: zeros, or not yet read
    bool from_disk = false;
    std::uint32_t crc_at = 0;  // the expected checksums in `crcs`
  };
  struct Chunk {
    std::uint32_t number = 0;
    std::uint16_t mask = 0;     // its blocks that are allocated
    std::uint16_t damaged = 0;  // ... and damaged
    Version version;
  };
  struct Read {
    std::uint32_t id = 0;
    Purpose purpose{};
    Object* object = nullptr;
    std::uint64_t ticket = 0;
    std::uint32_t offset = 0;  // purpose read: the bytes
    std::uint32_t length = 0;
    Chunk chunk;  // purpose read_chunk
    ObjectInfo info;
    std::uint8_t generation = 0;
    std::uint32_t outstanding = 0;
    Status status = Status::ok;
    bool split = false;  // pieces are out of order
    std::vector<Piece> pieces;
    std::vector<std::uint32_t> crcs;
  };

  Read& begin(Object& o, Purpose purpose);
  void add_pieces(Read& r, std::uint32_t first, std::uint32_t count);
  Piece next_piece(Read& r, std::uint32_t first, std::uint32_t end);
  static bool is_in_hole(const Object& o, std::uint32_t block);
  bool should_hold_zeros(const Object& o, std::uint32_t block) const;
  void take_lost_block(Read& r, Piece& piece);
  void start(Read& r);
  void start_piece(Read& r, std::size_t index);
  void read_one_by_one(Read& r, std::uint32_t index);
  void unreadable(Read& r, const Piece& piece);
  void check(Read& r, Piece& piece, Slice&& data);
  void complete(Read& r);
  void answer(Read& r);
  void answer_range(const Read& r, StoreDone& d) const;
  static void take_good_blocks(const Read& r, StoreDone& d);

  Context& context_;
  std::vector<std::unique_ptr<Read>> reads_;  // by id
  std::vector<Read*> spare_;
};

}  // namespace sd::store_detail
