// A store whose files were damaged while it was down (flipped, zeroed, moved, cut, removed, put back from an earlier
// day) opens or says that it cannot, answers everything, and never returns bytes that nobody wrote there.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "core/store/store_bench.hpp"

namespace {

using namespace sd;
constexpr std::uint32_t block = limits::block_size;
constexpr std::uint32_t blocks = 6;
const std::array<Oid, 2> oids{Oid::data(1, 1), Oid::data(1, 2)};
const std::array<FileId, 5> files{FileId{FileKind::journal, 0, 0}, FileId{FileKind::object, 0, oids[0].value},
                                  FileId{FileKind::object_meta, 0, oids[0].value},
                                  FileId{FileKind::object, 0, oids[1].value},
                                  FileId{FileKind::object_meta, 0, oids[1].value}};
using Image = std::vector<std::byte>;

StoreOptions small() {
  StoreOptions o;
  o.journal_bytes = min_journal_bytes;
  return o;
}

class History {
 public:
  explicit History(std::uint64_t seed) : store_(small(), seed) {}

  // Writes, flushes and checkpoints; keeps what each block ever held, and the files as they were half-way.
  void live(std::uint8_t how) {
    for (std::uint32_t i = 0; i < 12; ++i) {
      const std::size_t object = i % 2;
      const std::uint32_t first = (i * 5 + how) % blocks;
      const std::uint32_t count = 1 + i % 2;
      const std::uint32_t end = std::min(blocks, first + count);
      const Slice data = store_.pattern((end - first) * block, ++stamp_);
      for (std::uint32_t b = first; b < end; ++b)
        held_[object][b].emplace(data.text().substr((b - first) * block, block));
      const Version next{1, ++sequence_[object]};
      if (store_
              .write(oids[object], next, Version{next.sequence == 1 ? 0u : 1u, next.sequence - 1}, first * block, data)
              .status != Status::ok)
        std::abort();
      if (i == 5 && (how & 1)) store_.checkpoint();
      if (i == 8 && (how & 2)) store_.checkpoint();
      if (i == 6)
        for (std::size_t f = 0; f < files.size(); ++f)
          if (const auto* bytes = store_.disk.contents(files[f])) earlier_[f] = *bytes;
    }
    if (how & 4)
      store_.checkpoint();
    else
      store_.flush();
    store_.crash(false);
  }

  void damage(const std::uint8_t* edit) {
    const std::size_t f = edit[0] % files.size();
    auto* bytes = store_.disk.contents(files[f]);
    if (!bytes || bytes->empty()) return;
    const std::size_t at = (edit[2] | std::size_t{edit[3]} << 8 | std::size_t{edit[4]} << 16) % bytes->size();
    const std::size_t sector = at / 512 * 512, size = std::min<std::size_t>(512, bytes->size() - sector);
    switch (edit[1] % 7) {
      case 0: (*bytes)[at] ^= static_cast<std::byte>(1u << edit[5] % 8); break;
      case 1: std::fill_n(bytes->begin() + static_cast<std::ptrdiff_t>(sector), size, std::byte{0}); break;
      case 2: bytes->resize(sector); break;
      case 3: {  // a misdirected write
        const std::size_t from = (at + (edit[5] + 1u) * 512) % bytes->size() / 512 * 512;
        if (from + size <= bytes->size()) std::memmove(bytes->data() + sector, bytes->data() + from, size);
        break;
      }
      case 4:  // the sector, or the file, as it was on an earlier day
        if (edit[5] % 2 == 0 && !earlier_[f].empty())
          *bytes = earlier_[f];
        else if (earlier_[f].size() >= sector + size)
          std::memcpy(bytes->data() + sector, earlier_[f].data() + sector, size);
        break;
      case 5: store_.disk.erase(files[f]); break;
      case 6: (*bytes)[at] = static_cast<std::byte>(edit[5]); break;
    }
  }

  void judge() {
    store_.start();
    if (!store_.store->ready()) {
      if (store_.notices.empty()) std::abort();  // it must say why
      return;
    }
    for (int round = 0; round < 2; ++round) {
      for (std::size_t object = 0; object < oids.size(); ++object) {
        for (std::uint32_t b = 0; b < blocks; ++b) {
          const auto read = store_.read(oids[object], b * block, block);
          if (read.status != Status::ok) continue;
          const std::string text = testing::StoreBench::text(read);
          if (text != std::string(block, '\0') && !held_[object][b].contains(text)) std::abort();
        }
        // It can be used: what is written now is there afterwards.
        const auto info = store_.query(oids[object]).info;
        if (round > 0 || info.incomplete) continue;
        const Slice data = store_.pattern(block, ++stamp_);
        const Version next{info.version.generation + 1, 1};
        if (store_.write(oids[object], next, info.version, 0, data).status != Status::ok) continue;
        held_[object][0].emplace(data.text());
        if (testing::StoreBench::text(store_.read(oids[object], 0, block)) != data.text()) std::abort();
      }
      store_.flush();
      store_.checkpoint();
    }
    store_.drain();
  }

 private:
  testing::StoreBench store_;
  std::array<std::array<std::set<std::string>, blocks>, 2> held_;
  std::array<Image, 5> earlier_;
  std::array<std::uint64_t, 2> sequence_{};
  std::uint64_t stamp_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 + 6 || size > 1 + 6 * 16) return 0;
  History history(data[0]);
  history.live(data[0]);
  for (std::size_t at = 1; at + 6 <= size; at += 6) history.damage(data + at);
  history.judge();
  return 0;
}
