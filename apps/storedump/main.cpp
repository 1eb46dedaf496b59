// storedump: says what the object store in a data directory holds, so that the copies of several nodes can be compared
// at rest. Opens the store as the node itself would at its start (the journal is replayed), so the node must not run.
//
// One line an object, in ascending order: its number, its version (log index, round, sequence), `whole` or
// `incomplete`, and a checksum of its contents and of which blocks are allocated; or `damaged` instead of that.
#include <fmt/format.h>
#include <poll.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/base/crc32c.hpp"
#include "core/store/store.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/disk_driver.hpp"
#include "runtime/stream_driver.hpp"

namespace {

using namespace sd;

// A store whose every call runs until its answer is there.
class Reader {
 public:
  Reader(runtime::DiskDriver& disk, BufferPool& pool) : disk_(disk), store_({}, pool, 1) {
    store_.open(runtime::steady_now(), effects_);
    run();
  }

  bool ready() const { return store_.ready() && !store_.failed(); }
  std::vector<Oid> objects() const { return store_.objects(); }
  StoreDone query(Oid oid) {
    store_.query(runtime::steady_now(), 1, oid, effects_);
    return answer();
  }
  StoreDone read_chunk(Oid oid, std::uint32_t chunk) {
    store_.read_chunk(runtime::steady_now(), 1, oid, chunk, effects_);
    return answer();
  }

 private:
  void run() {
    store_.flush_batch(runtime::steady_now(), effects_);
    while (true) {
      for (std::string& notice : std::exchange(effects_.notices, {})) fmt::print(stderr, "{}\n", notice);
      for (DiskOp& op : std::exchange(effects_.disk, {})) disk_.start(std::move(op));
      std::vector<DiskDone> done;
      disk_.poll(done, SIZE_MAX);
      for (DiskDone& each : done) store_.on_disk(runtime::steady_now(), std::move(each), effects_);
      if (!done.empty() || !effects_.disk.empty() || disk_.pending()) continue;
      if (disk_.in_flight() == 0) return;
      pollfd wait{disk_.wait_fd(), POLLIN, 0};
      ::poll(&wait, 1, -1);
    }
  }
  StoreDone answer() {
    run();
    StoreDone found;
    for (StoreDone& each : std::exchange(effects_.done, {}))
      if (each.ticket == 1) found = std::move(each);
    return found;
  }

  runtime::DiskDriver& disk_;
  StoreEffects effects_;
  Store store_;
};

std::string contents(Reader& reader, Oid oid) {
  std::uint32_t sum = 0;
  for (std::uint32_t chunk = 0; chunk < limits::chunks_per_object; ++chunk) {
    const StoreDone read = reader.read_chunk(oid, chunk);
    if (read.status != Status::ok) return fmt::format("damaged: chunk {}, {}", chunk, to_string(read.status));
    std::string bytes(reinterpret_cast<const char*>(&sum), sizeof sum);
    bytes.append(reinterpret_cast<const char*>(&read.chunks), sizeof read.chunks);
    for (const Slice& slice : read.data) bytes.append(reinterpret_cast<const char*>(slice.data()), slice.size());
    sum = crc32c({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
  }
  return fmt::format("{:08x}", sum);
}

int fail(const std::string& why) {
  fmt::print(stderr, "storedump: {}\n", why);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "storedump: lists the objects in a sheep's data directory, with versions and checksums, for comparing copies at "
      "rest",
      "storedump");
  std::string path, journal;
  app.add_option("DIR", path, "The data directory; its sheep must not run")->required();
  app.add_option("-j,--journal", journal, "Directory of its journal, if that is elsewhere");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 64;
  }
  // Opening would make what is missing, and list it as empty.
  if (!std::filesystem::is_directory(path + "/obj"))
    return fail(path + " is no data directory of a sheep: it has no obj/ in it");
  auto directory = runtime::DataDirectory::open(path, journal);
  if (!directory) return fail(directory.error());
  BufferPool pool;
  auto disk = runtime::DiskDriver::create({directory->path(), directory->journal_path()}, pool, runtime::Log::none());
  if (!disk) return fail(disk.error());
  Reader reader(**disk, pool);
  if (!reader.ready()) return fail("the store in " + path + " cannot be opened");
  for (const Oid oid : reader.objects()) {
    const ObjectInfo info = reader.query(oid).info;
    fmt::print("{} {}.{}.{} {} {}\n", to_string(oid), info.version.log_index(), info.version.round(),
               info.version.sequence, info.incomplete ? "incomplete" : "whole", contents(reader, oid));
  }
  return 0;
}
