#include "core/store/reads.hpp"

#include <algorithm>
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd::store_detail {

using limits::block_size;

Reads::Read& Reads::begin(Object& o, Purpose purpose) {
  if (spare_.empty()) {
    reads_.push_back(std::make_unique<Read>());
    reads_.back()->id = static_cast<std::uint32_t>(reads_.size() - 1);
    spare_.push_back(reads_.back().get());
  }
  Read& r = *spare_.back();
  spare_.pop_back();
  r.purpose = purpose;
  r.object = &o;
  r.status = Status::ok;
  r.info = info_of(o);
  r.generation = o.reads.newest;
  r.split = false;
  return r;
}

void Reads::add_pieces(Read& r, std::uint32_t first, std::uint32_t count) {
  const std::uint32_t end = first + count;
  for (std::uint32_t b = first; b < end;) {
    r.pieces.push_back(next_piece(r, b, end));
    b += r.pieces.back().count;
  }
}

// The longest run of blocks from `first` on that come from one place.
Reads::Piece Reads::next_piece(Read& r, std::uint32_t first, std::uint32_t end) {
  const Object& o = *r.object;
  const auto extent_in = [](const Overlay& overlay, std::uint32_t b) {
    return overlay.empty() ? nullptr : overlay.find(b);
  };
  const auto data_in = [&](const Overlay& overlay, std::uint32_t b) -> const Overlay::Extent* {
    const auto* e = extent_in(overlay, b);
    return e && !e->is_hole() ? e : nullptr;
  };
  const auto on_disk = [&](std::uint32_t b) { return !extent_in(o.current, b) && !extent_in(o.frozen.overlay, b); };
  Piece piece;
  piece.first = first;
  std::uint32_t n = 1;
  if (!o.meta.is_allocated(first)) {
    while (first + n < end && !o.meta.is_allocated(first + n)) ++n;
  } else if (const auto* e = data_in(o.current, first)) {
    n = std::min(end, e->end()) - first;
    piece.data = e->data.part(std::size_t{first - e->first} * block_size, std::size_t{n} * block_size);
  } else if (const auto* f = data_in(o.frozen.overlay, first); f && !extent_in(o.current, first)) {
    while (first + n < std::min(end, f->end()) && o.meta.is_allocated(first + n) && !extent_in(o.current, first + n))
      ++n;
    piece.data = f->data.part(std::size_t{first - f->first} * block_size, std::size_t{n} * block_size);
  } else if (!on_disk(first)) {
    take_lost_block(r, piece);
  } else {
    while (first + n < end && o.meta.is_allocated(first + n) && on_disk(first + n)) ++n;
    piece.from_disk = true;
    piece.crc_at = static_cast<std::uint32_t>(r.crcs.size());
    r.crcs.insert(r.crcs.end(), o.meta.block_crc.begin() + first, o.meta.block_crc.begin() + first + n);
  }
  piece.count = n;
  return piece;
}

// An allocated block in a hole of the newest overlay that has it is lost: see LostBlocks. The file is not asked, since
// it may be punched there just now.
bool Reads::is_in_hole(const Object& o, std::uint32_t block) {
  const auto* e = o.current.find(block);
  if (!e) e = o.frozen.overlay.find(block);
  return e && e->is_hole();
}

// If zeros are what it should hold, then nothing is missing.
bool Reads::should_hold_zeros(const Object& o, std::uint32_t block) const {
  return crc32c(context_.zeros.bytes().first(block_size)) == o.meta.block_crc[block];
}

void Reads::take_lost_block(Read& r, Piece& piece) {
  const Object& o = *r.object;
  piece.crc_at = static_cast<std::uint32_t>(r.crcs.size());
  r.crcs.push_back(o.meta.block_crc[piece.first]);
  if (should_hold_zeros(o, piece.first)) {
    piece.data = context_.zeros.part(0, block_size);
    return;
  }
  r.status = Status::damaged;
  if (r.purpose == Purpose::read_chunk)
    r.chunk.damaged |= static_cast<std::uint16_t>(1u << (piece.first % blocks_per_chunk));
  ++context_.counts.damaged_blocks;
  context_.notice("object " + to_string(o.key) + ": block " + std::to_string(piece.first) + " is lost");
}

void Reads::start(Read& r) {
  for (std::size_t i = 0; i < r.pieces.size(); ++i)
    if (r.pieces[i].from_disk) start_piece(r, i);
}

void Reads::start_piece(Read& r, std::size_t index) {
  const Piece& piece = r.pieces[index];
  ++r.outstanding;
  ++r.object->reads.in_flight[r.generation];
  context_.disk(DiskOp::Kind::read, object_file(r.object->key), make_tag(Tag::read, r.id, index),
                std::uint64_t{piece.first} * block_size, piece.count * block_size);
}

void Reads::read(Object& o, std::uint64_t ticket, std::uint32_t offset, std::uint32_t length) {
  Read& r = begin(o, Purpose::read);
  r.ticket = ticket;
  r.offset = offset;
  r.length = length;
  const std::uint32_t first = offset / block_size;
  const std::uint32_t end = (offset + length + block_size - 1) / block_size;
  if (length > 0) add_pieces(r, first, end - first);
  start(r);
  if (r.outstanding == 0) complete(r);
}

void Reads::read_chunk(Object& o, std::uint64_t ticket, std::uint32_t chunk) {
  Read& r = begin(o, Purpose::read_chunk);
  r.ticket = ticket;
  r.chunk = {chunk, 0, 0, o.meta.chunk_version[chunk]};
  const std::uint32_t first = chunk * blocks_per_chunk;
  for (std::uint32_t i = 0; i < blocks_per_chunk;) {
    std::uint32_t n = 0;
    while (i + n < blocks_per_chunk && o.meta.is_allocated(first + i + n))
      r.chunk.mask |= static_cast<std::uint16_t>(1u << (i + n++));
    if (n > 0) add_pieces(r, first + i, n);
    i += n + 1;
  }
  start(r);
  if (r.outstanding == 0) complete(r);
}

bool Reads::fetch_edges(Object& o, std::span<const std::uint32_t> blocks) {
  for (const auto b : blocks)
    if (o.meta.is_allocated(b) && is_in_hole(o, b) && !should_hold_zeros(o, b)) {
      o.edges.status = Status::damaged;
      return true;
    }
  Read* r = nullptr;
  for (const auto b : blocks) {
    bool known = false;
    for (const auto& edge : o.edges.blocks) known = known || edge.block == b;
    if (known) continue;
    if (!o.meta.is_allocated(b) || is_in_hole(o, b)) {
      o.edges.blocks.push_back({b, context_.zeros.part(0, block_size)});
      continue;
    }
    Slice data = o.current.block(b);
    if (data.empty() && !o.current.find(b)) data = o.frozen.overlay.block(b);
    if (!data.empty()) {
      o.edges.blocks.push_back({b, std::move(data)});
      continue;
    }
    if (!r) r = &begin(o, Purpose::edges);
    add_pieces(*r, b, 1);
  }
  if (!r) return true;
  o.queue.busy = true;
  start(*r);
  return false;
}

// What cannot be read together may be readable in part.
void Reads::read_one_by_one(Read& r, std::uint32_t index) {
  const Piece whole = r.pieces[index];
  r.pieces[index].count = 1;
  r.split = true;
  for (std::uint32_t i = 0; i < whole.count; ++i) {
    const std::size_t at = i == 0 ? index : r.pieces.size();
    if (i > 0) {
      Piece& piece = r.pieces.emplace_back();
      piece.first = whole.first + i;
      piece.count = 1;
      piece.from_disk = true;
      piece.crc_at = whole.crc_at + i;
    }
    start_piece(r, at);
  }
}

Reads::Ended Reads::on_read(std::uint32_t id, std::uint32_t index, DiskDone&& done) {
  Read& r = *reads_[id];
  Object& o = *r.object;
  Piece& piece = r.pieces[index];
  SD_ASSERT(r.outstanding > 0 && o.reads.in_flight[r.generation] > 0, "a read completes once");
  --r.outstanding;
  --o.reads.in_flight[r.generation];
  if (done.status == Status::ok || done.status == Status::not_found) {
    check(r, piece, std::move(done.data));
  } else if (piece.count > 1) {
    read_one_by_one(r, index);
    return {};
  } else {
    unreadable(r, piece);
  }
  const bool edges = r.purpose == Purpose::edges && r.outstanding == 0;
  if (r.outstanding == 0) complete(r);
  return {&o, edges};
}

// Like damage: another member has what this disk cannot read any more, and writing it again repairs most disks.
void Reads::unreadable(Read& r, const Piece& piece) {
  r.status = Status::damaged;
  if (r.purpose == Purpose::read_chunk)
    r.chunk.damaged |= static_cast<std::uint16_t>(1u << (piece.first % blocks_per_chunk));
  ++context_.counts.unreadable;
  context_.notice("object " + to_string(r.object->key) + ": the disk cannot read block " + std::to_string(piece.first));
}

void Reads::check(Read& r, Piece& piece, Slice&& data) {
  std::uint32_t bad = 0;
  std::uint32_t first_bad = 0;
  const auto bytes = data.bytes();
  for (std::uint32_t i = 0; i < piece.count; ++i) {
    const std::size_t at = std::size_t{i} * block_size;
    const bool whole = at + block_size <= bytes.size();
    if (whole && (SD_BUG(skip_checksum) || crc32c(bytes.subspan(at, block_size)) == r.crcs[piece.crc_at + i])) continue;
    if (bad++ == 0) first_bad = piece.first + i;
    if (r.purpose == Purpose::read_chunk)
      r.chunk.damaged |= static_cast<std::uint16_t>(1u << ((piece.first + i) % blocks_per_chunk));
  }
  if (bad > 0) {
    if (r.status == Status::ok) r.status = Status::damaged;
    SD_SOMETIMES(true, block_damaged);
    context_.counts.damaged_blocks += bad;
    context_.notice("object " + to_string(r.object->key) + ": " + std::to_string(bad) +
                    " damaged blocks, the first is " + std::to_string(first_bad));
  }
  piece.data = std::move(data);
  if (piece.data.size() > std::size_t{piece.count} * block_size)
    piece.data.shrink(std::size_t{piece.count} * block_size);
}

// Of a chunk with damaged blocks: what is good, and what the others should be.
void Reads::take_good_blocks(const Read& r, StoreDone& d) {
  d.damaged_blocks = r.chunk.damaged;
  for (const auto& piece : r.pieces)
    for (std::uint32_t i = 0; i < piece.count; ++i) {
      if ((r.chunk.damaged >> ((piece.first + i) % blocks_per_chunk) & 1) != 0)
        d.damaged_crcs.push_back(r.crcs[piece.crc_at + i]);
      else
        d.data.push_back(piece.data.part(std::size_t{i} * block_size, block_size));
    }
}

// Answers, and gives the read back. Does not settle the object.
void Reads::complete(Read& r) {
  Object& o = *r.object;
  if (r.split) std::ranges::sort(r.pieces, {}, &Piece::first);
  if (r.purpose == Purpose::edges) {
    o.queue.busy = false;
    o.edges.status = r.status;
    if (r.status == Status::ok)
      for (auto& piece : r.pieces) o.edges.blocks.push_back({piece.first, std::move(piece.data)});
  } else {
    answer(r);
  }
  r.pieces.clear();
  r.crcs.clear();
  r.object = nullptr;
  spare_.push_back(&r);
}

void Reads::answer(Read& r) {
  StoreDone& d = context_.fx->done.emplace_back();
  d.ticket = r.ticket;
  d.status = r.status;
  d.info = r.info;
  if (r.purpose == Purpose::read) {
    if (r.status == Status::ok) answer_range(r, d);
    return;
  }
  d.chunks = r.chunk.mask;
  d.chunk_version = r.chunk.version;
  if (r.status == Status::damaged)
    take_good_blocks(r, d);
  else if (r.status == Status::ok)
    for (auto& piece : r.pieces) d.data.push_back(std::move(piece.data));
}

void Reads::answer_range(const Read& r, StoreDone& d) const {
  const std::uint64_t end = std::uint64_t{r.offset} + r.length;
  for (const auto& piece : r.pieces) {
    const std::uint64_t from = std::max<std::uint64_t>(r.offset, std::uint64_t{piece.first} * block_size);
    const std::uint64_t to = std::min<std::uint64_t>(end, std::uint64_t{piece.first + piece.count} * block_size);
    if (!piece.data.empty()) {
      d.data.push_back(piece.data.part(from - std::uint64_t{piece.first} * block_size, to - from));
      continue;
    }
    for (std::uint64_t at = from; at < to;) {
      const std::uint64_t n = std::min<std::uint64_t>(to - at, context_.zeros.size());
      d.data.push_back(context_.zeros.part(0, n));
      at += n;
    }
  }
}

void Reads::drop(Status status) {
  for (auto& r : reads_)
    if (r->object && r->purpose != Purpose::edges) context_.finish(r->ticket, status);
  for (auto& r : reads_) r->object = nullptr;
}

}  // namespace sd::store_detail
