// Reads: from the overlays and the file, every block from the file checked against its checksum.
#include <algorithm>
#include <bit>

#include "core/base/assert.hpp"
#include "core/base/crc32c.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/store/store_impl.hpp"

namespace sd {

using limits::block_size;
using store_detail::blocks_per_chunk;

Store::Impl::PendingRead& Store::Impl::new_read(Object& o, PendingRead::Purpose purpose) {
  if (spare_reads.empty()) {
    reads.push_back(std::make_unique<PendingRead>());
    reads.back()->id = static_cast<std::uint32_t>(reads.size() - 1);
    spare_reads.push_back(reads.back().get());
  }
  PendingRead& r = *spare_reads.back();
  spare_reads.pop_back();
  r.purpose = purpose;
  r.object = &o;
  r.status = Status::ok;
  r.info = info_of(o);
  r.generation = o.read_generation;
  r.split = false;
  return r;
}

void Store::Impl::add_pieces(PendingRead& r, std::uint32_t first, std::uint32_t count) {
  const Object& o = *r.object;
  const std::uint32_t end = first + count;
  const auto extent_in = [](const Overlay& overlay, std::uint32_t b) {
    return overlay.empty() ? nullptr : overlay.find(b);
  };
  const auto data_in = [&](const Overlay& overlay, std::uint32_t b) -> const Overlay::Extent* {
    const auto* e = extent_in(overlay, b);
    return e && !e->is_hole() ? e : nullptr;
  };
  // An allocated block in a hole of the newest overlay that has it is lost; the disk, and the checksum, decide.
  const auto on_disk = [&](std::uint32_t b) {
    const auto* e = extent_in(o.current, b);
    if (!e) e = extent_in(o.frozen, b);
    return !e || e->is_hole();
  };
  for (std::uint32_t b = first; b < end;) {
    PendingRead::Piece piece;
    piece.first = b;
    std::uint32_t n = 1;
    if (!o.meta.is_allocated(b)) {
      while (b + n < end && !o.meta.is_allocated(b + n)) ++n;
    } else if (const auto* e = data_in(o.current, b)) {
      n = std::min(end, e->end()) - b;
      piece.data = e->data.part(std::size_t{b - e->first} * block_size, std::size_t{n} * block_size);
    } else if (const auto* f = data_in(o.frozen, b); f && !on_disk(b)) {
      while (b + n < std::min(end, f->end()) && o.meta.is_allocated(b + n) && !extent_in(o.current, b + n)) ++n;
      piece.data = f->data.part(std::size_t{b - f->first} * block_size, std::size_t{n} * block_size);
    } else {
      while (b + n < end && o.meta.is_allocated(b + n) && on_disk(b + n)) ++n;
      piece.from_disk = true;
      piece.crc_at = static_cast<std::uint32_t>(r.crcs.size());
      r.crcs.insert(r.crcs.end(), o.meta.block_crc.begin() + b, o.meta.block_crc.begin() + b + n);
    }
    piece.count = n;
    r.pieces.push_back(std::move(piece));
    b += n;
  }
}

void Store::Impl::start_read(PendingRead& r) {
  Object& o = *r.object;
  for (std::size_t i = 0; i < r.pieces.size(); ++i) {
    const auto& piece = r.pieces[i];
    if (!piece.from_disk) continue;
    ++r.outstanding;
    ++o.reads[r.generation];
    disk(DiskOp::Kind::read, object_file(o.oid), make_tag(Tag::read, r.id, i), std::uint64_t{piece.first} * block_size,
         piece.count * block_size);
  }
}

Store::Impl::Executed Store::Impl::execute_read(Object& o, Op& op) {
  if (!o.exists || o.meta.incomplete) {
    finish(op.ticket, o.exists ? Status::behind : Status::not_found, o);
    return Executed::done;
  }
  PendingRead& r = new_read(o, PendingRead::Purpose::read);
  r.ticket = op.ticket;
  r.offset = op.offset;
  r.length = op.length;
  const std::uint32_t first = op.offset / block_size;
  const std::uint32_t end = (op.offset + op.length + block_size - 1) / block_size;
  if (op.length > 0) add_pieces(r, first, end - first);
  start_read(r);
  if (r.outstanding == 0) complete_read(r);
  return Executed::done;
}

Store::Impl::Executed Store::Impl::execute_read_chunk(Object& o, Op& op) {
  if (!o.exists) {
    finish(op.ticket, Status::not_found, o);
    return Executed::done;
  }
  PendingRead& r = new_read(o, PendingRead::Purpose::read_chunk);
  r.ticket = op.ticket;
  r.chunk = op.offset;
  r.mask = 0;
  r.damaged = 0;
  r.chunk_version = o.meta.chunk_version[r.chunk];
  const std::uint32_t first = r.chunk * blocks_per_chunk;
  for (std::uint32_t i = 0; i < blocks_per_chunk;) {
    std::uint32_t n = 0;
    while (i + n < blocks_per_chunk && o.meta.is_allocated(first + i + n))
      r.mask |= static_cast<std::uint16_t>(1u << (i + n++));
    if (n > 0) add_pieces(r, first + i, n);
    i += n + 1;
  }
  start_read(r);
  if (r.outstanding == 0) complete_read(r);
  return Executed::done;
}

bool Store::Impl::fetch_edges(Object& o, std::span<const std::uint32_t> blocks) {
  PendingRead* r = nullptr;
  for (const auto b : blocks) {
    bool known = false;
    for (const auto& edge : o.edges) known = known || edge.block == b;
    if (known) continue;
    if (!o.meta.is_allocated(b)) {
      o.edges.push_back({b, zeros.part(0, block_size)});
      continue;
    }
    Slice data = o.current.block(b);
    if (data.empty() && !o.current.find(b)) data = o.frozen.block(b);
    if (!data.empty()) {
      o.edges.push_back({b, std::move(data)});
      continue;
    }
    if (!r) r = &new_read(o, PendingRead::Purpose::edges);
    add_pieces(*r, b, 1);
  }
  if (!r) return true;
  o.busy = true;
  start_read(*r);
  return false;
}

// What cannot be read together may be readable in part.
void Store::Impl::read_one_by_one(PendingRead& r, std::uint32_t index) {
  const PendingRead::Piece whole = r.pieces[index];
  Object& o = *r.object;
  r.pieces[index].count = 1;
  r.split = true;
  for (std::uint32_t i = 0; i < whole.count; ++i) {
    const std::size_t at = i == 0 ? index : r.pieces.size();
    if (i > 0) {
      PendingRead::Piece& piece = r.pieces.emplace_back();
      piece.first = whole.first + i;
      piece.count = 1;
      piece.from_disk = true;
      piece.crc_at = whole.crc_at + i;
    }
    ++r.outstanding;
    ++o.reads[r.generation];
    disk(DiskOp::Kind::read, object_file(o.oid), make_tag(Tag::read, r.id, at),
         std::uint64_t{whole.first + i} * block_size, block_size);
  }
}

void Store::Impl::on_read(std::uint32_t id, std::uint32_t index, DiskDone&& done) {
  PendingRead& r = *reads[id];
  Object& o = *r.object;
  auto& piece = r.pieces[index];
  const std::uint8_t generation = r.generation;
  SD_ASSERT(r.outstanding > 0 && o.reads[generation] > 0, "a read completes once");
  --r.outstanding;
  --o.reads[generation];
  if (done.status != Status::ok && done.status != Status::not_found) {
    if (piece.count > 1) {
      read_one_by_one(r, index);
      return;
    }
    // Like damage: another member has what this disk cannot read any more, and writing it again repairs most disks.
    r.status = Status::damaged;
    if (r.purpose == PendingRead::Purpose::read_chunk)
      r.damaged |= static_cast<std::uint16_t>(1u << (piece.first % blocks_per_chunk));
    ++counts.unreadable;
    notice("object " + to_string(o.oid) + ": the disk cannot read block " + std::to_string(piece.first));
  } else {
    std::uint32_t bad = 0;
    std::uint32_t first_bad = 0;
    const auto bytes = done.data.bytes();
    for (std::uint32_t i = 0; i < piece.count; ++i) {
      const std::size_t at = std::size_t{i} * block_size;
      const bool whole = at + block_size <= bytes.size();
      if (whole && (SD_BUG(skip_checksum) || crc32c(bytes.subspan(at, block_size)) == r.crcs[piece.crc_at + i]))
        continue;
      if (bad++ == 0) first_bad = piece.first + i;
      if (r.purpose == PendingRead::Purpose::read_chunk)
        r.damaged |= static_cast<std::uint16_t>(1u << ((piece.first + i) % blocks_per_chunk));
    }
    if (bad > 0) {
      if (r.status == Status::ok) r.status = Status::damaged;
      SD_SOMETIMES(true, block_damaged);
      counts.damaged_blocks += bad;
      notice("object " + to_string(o.oid) + ": " + std::to_string(bad) + " damaged blocks, the first is " +
             std::to_string(first_bad));
    }
    piece.data = std::move(done.data);
    if (piece.data.size() > std::size_t{piece.count} * block_size)
      piece.data.shrink(std::size_t{piece.count} * block_size);
  }
  if (r.outstanding == 0) complete_read(r);
  if (o.apply_waits && o.reads[o.read_generation ^ 1] == 0) {
    o.apply_waits = false;
    start_apply(o);
  }
  if (o.entry) settle(o);
}

// Of a chunk with damaged blocks: what is good, and what the others should be.
void Store::Impl::take_good_blocks(const PendingRead& r, StoreDone& d) {
  d.damaged_blocks = r.damaged;
  for (const auto& piece : r.pieces)
    for (std::uint32_t i = 0; i < piece.count; ++i) {
      if ((r.damaged >> ((piece.first + i) % blocks_per_chunk) & 1) != 0)
        d.damaged_crcs.push_back(r.crcs[piece.crc_at + i]);
      else
        d.data.push_back(piece.data.part(std::size_t{i} * block_size, block_size));
    }
}

// Answers, and gives the read back. Does not settle the object.
void Store::Impl::complete_read(PendingRead& r) {
  Object& o = *r.object;
  const auto purpose = r.purpose;
  if (r.split) std::ranges::sort(r.pieces, {}, &PendingRead::Piece::first);
  if (purpose == PendingRead::Purpose::edges) {
    o.edge_status = r.status;
    if (r.status == Status::ok)
      for (auto& piece : r.pieces) o.edges.push_back({piece.first, std::move(piece.data)});
  } else {
    StoreDone& d = fx->done.emplace_back();
    d.ticket = r.ticket;
    d.status = r.status;
    d.info = r.info;
    if (purpose == PendingRead::Purpose::read_chunk) {
      d.chunks = r.mask;
      d.chunk_version = r.chunk_version;
      if (r.status == Status::damaged)
        take_good_blocks(r, d);
      else if (r.status == Status::ok)
        for (auto& piece : r.pieces) d.data.push_back(std::move(piece.data));
    } else if (r.status == Status::ok) {
      const std::uint64_t end = std::uint64_t{r.offset} + r.length;
      for (auto& piece : r.pieces) {
        const std::uint64_t from = std::max<std::uint64_t>(r.offset, std::uint64_t{piece.first} * block_size);
        const std::uint64_t to = std::min<std::uint64_t>(end, std::uint64_t{piece.first + piece.count} * block_size);
        if (!piece.data.empty()) {
          d.data.push_back(piece.data.part(from - std::uint64_t{piece.first} * block_size, to - from));
          continue;
        }
        for (std::uint64_t at = from; at < to;) {
          const std::uint64_t n = std::min<std::uint64_t>(to - at, zeros.size());
          d.data.push_back(zeros.part(0, n));
          at += n;
        }
      }
    }
  }
  r.pieces.clear();
  r.crcs.clear();
  r.object = nullptr;
  spare_reads.push_back(&r);
  if (purpose == PendingRead::Purpose::edges) {
    o.busy = false;
    run_queue(o);
  }
}

}  // namespace sd
