// The files of a node's cluster log, damaged while it was down: it says that it cannot run, or what it remembers was
// recorded once, in one piece and in order.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/raft/raft_log.hpp"
#include "core/raft/test_disk.hpp"

namespace {

using namespace sd;
using namespace sd::raft;

struct Machine {
  BufferPool pool;
  TestDisk disk{pool, 1};
  RaftLog log{pool};
  std::vector<DiskOp> ops;

  void run() {
    while (!ops.empty()) {
      std::vector<DiskOp> batch;
      batch.swap(ops);
      for (const DiskOp& op : batch) log.on_disk(0, disk.perform(op), ops);
    }
  }
  void write() {
    log.submit(ops);
    run();
  }
};

std::string data_of(Term term, Index index) {
  return std::string(20 + index * 700 % 9000, static_cast<char>('a' + (term * 7 + index) % 26));
}
Entry entry(Term term, Index index) {
  return {.term = term, .index = index, .kind = Entry::Kind::command, .data = data_of(term, index)};
}

void live(Machine& m, std::uint8_t how) {
  m.log.open(m.ops);
  m.run();
  m.log.set_group(77);
  m.log.set_hard_state(1, 5);
  m.write();
  for (Index i = 1; i <= 6; ++i) {
    m.log.append(entry(1, i));
    if (how & 1 || i % 2 == 0) m.write();
  }
  if (how & 2) {
    m.log.rewrite(77, 2, 5, {.index = 3, .term = 1, .config = {}, .data = "state"},
                  {entry(1, 4), entry(1, 5), entry(1, 6)});
    m.write();
  }
  m.log.truncate(6);
  m.log.set_hard_state(3, 6);
  m.log.append(entry(3, 6));
  m.write();
  for (Index i = 7; i <= 9; ++i) m.log.append(entry(3, i));
  m.write();
}

void damage(Machine& m, const std::uint8_t* edit) {
  std::string* bytes = m.disk.bytes(edit[0] % 2);
  if (!bytes || bytes->empty()) return;
  const std::size_t at = (edit[2] | std::size_t{edit[3]} << 8 | std::size_t{edit[4]} << 16) % bytes->size();
  const std::size_t sector = at / 512 * 512, size = std::min<std::size_t>(512, bytes->size() - sector);
  switch (edit[1] % 5) {
    case 0: (*bytes)[at] = static_cast<char>((*bytes)[at] ^ 1 << edit[5] % 8); break;
    case 1: std::fill_n(bytes->begin() + static_cast<std::ptrdiff_t>(sector), size, '\0'); break;
    case 2: bytes->resize(edit[5] % 2 ? sector : at); break;
    case 3: {
      const std::string other = bytes->substr((at + (edit[5] + 1u) * 512) % bytes->size() / 512 * 512, size);
      bytes->replace(sector, other.size(), other);
      break;
    }
    case 4: bytes->append(std::string(edit[5] * 16u, static_cast<char>(edit[2]))); break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 1 + 6 * 16) return 0;
  Machine m;
  live(m, data[0]);
  for (std::size_t at = 1; at + 6 <= size; at += 6) damage(m, data + at);
  for (int start = 0; start < 2; ++start) {
    RaftLog log(m.pool);
    std::vector<DiskOp> ops;
    log.open(ops);
    while (!ops.empty()) {
      std::vector<DiskOp> batch;
      batch.swap(ops);
      for (const DiskOp& op : batch) log.on_disk(0, m.disk.perform(op), ops);
    }
    if (log.failed() == log.ready()) std::abort();
    if (log.failed()) {
      if (log.reason().empty()) std::abort();  // it must say why
      return 0;
    }
    const StoredState s = log.take();
    if (s.group != 0 && s.group != 77) std::abort();
    if (s.term > 3 || (s.snapshot.index != 0 && (s.snapshot.index != 3 || s.snapshot.data != "state"))) std::abort();
    Index next = s.snapshot.index;
    for (const Entry& e : s.entries)
      if (e.index != ++next || e.term > s.term || (e.term != 1 && e.term != 3) || e.data != data_of(e.term, e.index))
        std::abort();
  }
  return 0;
}
