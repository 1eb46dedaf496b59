// One suite for every engine: both must keep the contract of core/disk/disk.hpp on a real file system.
#include "runtime/disk_driver.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "runtime/data_directory.hpp"

namespace sd::runtime {
namespace {

using Kind = DiskOp::Kind;

struct Setup {
  const char* name;
  DiskEngineKind engine;
  bool direct, in_place;
};

class Disk : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    // a real disk where there is one: O_DIRECT on tmpfs hides alignment errors
    char name[] = "/var/tmp/sd-disk-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
    auto directory = DataDirectory::open(path_, "");
    ASSERT_TRUE(directory) << directory.error();
    reopen();
  }
  void TearDown() override {
    disk_.reset();
    done_.clear();
    EXPECT_EQ(pool_.outstanding(), 0u) << "an operation kept its buffers";
    std::filesystem::remove_all(path_);
  }
  void reopen(std::size_t max_open_files = 512) {
    disk_.reset();
    auto made = DiskDriver::create(
        {path_, "", GetParam().direct, GetParam().engine, max_open_files, GetParam().in_place}, pool_, Log::none());
    ASSERT_TRUE(made) << made.error();
    disk_ = std::move(*made);
  }

  void wait(std::size_t results) {
    while (done_.size() < results) {
      disk_->poll(done_, SIZE_MAX);
      if (done_.size() >= results) break;
      pollfd p{disk_->wait_fd(), POLLIN, 0};
      ASSERT_EQ(::poll(&p, 1, 10'000), 1) << "no completion within 10 s";
    }
  }
  DiskDone run(DiskOp op) {
    done_.clear();
    op.tag = ++tag_;
    disk_->start(std::move(op));
    wait(1);
    EXPECT_EQ(done_.size(), 1u);
    EXPECT_EQ(done_[0].tag, tag_);
    return std::move(done_[0]);
  }
  DiskDone write(FileId file, std::uint64_t offset, std::vector<Slice> slices) {
    return run({Kind::write, file, 0, offset, 0, std::move(slices)});
  }
  DiskDone read(FileId file, std::uint64_t offset, std::uint32_t length) {
    return run({Kind::read, file, 0, offset, length, {}});
  }
  DiskDone simple(Kind kind, FileId file, std::uint64_t offset = 0, std::uint32_t length = 0) {
    return run({kind, file, 0, offset, length, {}});
  }
  Slice pattern(std::size_t size, unsigned seed) {
    Slice slice = pool_.allocate(size);
    for (std::size_t i = 0; i < size; ++i)
      slice.mutable_data()[i] = static_cast<std::byte>((i * 7 + i / 4096 + seed) & 0xff);
    return slice;
  }
  static bool same(const Slice& a, const Slice& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
  }

  BufferPool pool_;
  std::string path_;
  std::unique_ptr<DiskDriver> disk_;
  std::vector<DiskDone> done_;
  std::uint64_t tag_ = 0;
};

const FileId object{FileKind::object, 0, 0x00ab000000000001};

TEST_P(Disk, ReadsBackWhatWasWrittenFromSeveralSlices) {
  const Slice whole = pattern(64 << 10, 1);
  ASSERT_EQ(write(object, 8192, {whole.part(0, 4096), whole.part(4096, 8192), whole.from(12288)}).status, Status::ok);
  const auto back = read(object, 8192, 64 << 10);
  ASSERT_EQ(back.status, Status::ok);
  EXPECT_TRUE(same(back.data, whole));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(back.data.data()) % 4096, 0u);
  const auto hole = read(object, 0, 8192);
  EXPECT_TRUE(same(hole.data, pool_.zeros(8192)));
}

TEST_P(Disk, WritesMoreSlicesThanOneSystemCallTakes) {
  const Slice whole = pattern(1100 * 4096, 2);
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < 1100; ++i) slices.push_back(whole.part(i * 4096, 4096));
  ASSERT_EQ(write(object, 0, std::move(slices)).status, Status::ok);
  EXPECT_TRUE(same(read(object, 0, 1100 * 4096).data, whole));
}

TEST_P(Disk, UnalignedOperationsWorkToo) {
  const FileId journal{FileKind::journal, 0, 0};
  const Slice whole = pattern(10'000, 3);
  ASSERT_EQ(write(journal, 100, {whole}).status, Status::ok);
  EXPECT_TRUE(same(read(journal, 101, 5000).data, whole.part(1, 5000)));
  // Beside an aligned write to the same file.
  const Slice block = pattern(4096, 4);
  ASSERT_EQ(write(journal, 4096, {block}).status, Status::ok);
  EXPECT_TRUE(same(read(journal, 4000, 96).data, whole.part(3900, 96)));
  EXPECT_TRUE(same(read(journal, 4096, 4096).data, block));
  EXPECT_TRUE(same(read(journal, 8192, 1908).data, whole.from(8092)));
}

TEST_P(Disk, WritesPastTheCacheAndThroughItGoToTheSameFile) {
  const FileId file{FileKind::object, 0, 7};
  const Slice before = pattern(3 * 4096, 1), past = pattern(4096, 2), unaligned = pattern(100, 3);
  ASSERT_EQ(write(file, 0, {before}).status, Status::ok);
  ASSERT_TRUE(same(read(file, 0, 3 * 4096).data, before));  // in the cache now
  DiskOp op{Kind::write, file, 0, 4096, 0, {past}};
  op.uncached = true;
  ASSERT_EQ(run(op).status, Status::ok);
  op.offset = 8192;
  op.slices = {unaligned};
  ASSERT_EQ(run(op).status, Status::ok);
  EXPECT_TRUE(same(read(file, 0, 4096).data, before.part(0, 4096)));
  EXPECT_TRUE(same(read(file, 4096, 4096).data, past));
  EXPECT_TRUE(same(read(file, 8192, 100).data, unaligned));
}

TEST_P(Disk, AReadAtTheEndIsShort) {
  const Slice whole = pattern(4096 + 700, 5);
  ASSERT_EQ(write(object, 0, {whole}).status, Status::ok);
  const auto back = read(object, 4096, 8192);
  EXPECT_EQ(back.status, Status::ok);
  EXPECT_TRUE(same(back.data, whole.from(4096)));
  EXPECT_TRUE(same(read(object, 0, 65536).data, whole));
  const auto beyond = read(object, 1 << 20, 4096);
  EXPECT_EQ(beyond.status, Status::ok);
  EXPECT_TRUE(beyond.data.empty());
}

TEST_P(Disk, AMissingFileIsNotFoundExceptWhereItIsMade) {
  EXPECT_EQ(read(object, 0, 4096).status, Status::not_found);
  EXPECT_EQ(simple(Kind::sync, object).status, Status::not_found);
  EXPECT_EQ(simple(Kind::punch, object, 0, 4096).status, Status::not_found);
  EXPECT_EQ(simple(Kind::remove, object).status, Status::ok);
  EXPECT_EQ(simple(Kind::truncate, object, 12288).status, Status::ok);
  EXPECT_TRUE(same(read(object, 0, 65536).data, pool_.zeros(12288)));
}

TEST_P(Disk, ARemovedFileIsGoneAndANewOneIsEmpty) {
  ASSERT_EQ(write(object, 0, {pattern(8192, 6)}).status, Status::ok);
  ASSERT_EQ(simple(Kind::remove, object).status, Status::ok);
  EXPECT_EQ(read(object, 0, 4096).status, Status::not_found);
  ASSERT_EQ(write(object, 4096, {pattern(4096, 7)}).status, Status::ok);
  EXPECT_TRUE(same(read(object, 0, 4096).data, pool_.zeros(4096)));
}

TEST_P(Disk, APunchedRangeReadsAsZerosAndTheSizeStays) {
  const Slice whole = pattern(4 * 4096, 8);
  ASSERT_EQ(write(object, 0, {whole}).status, Status::ok);
  ASSERT_EQ(simple(Kind::punch, object, 4096, 3 * 4096).status, Status::ok);
  EXPECT_TRUE(same(read(object, 0, 4096).data, whole.part(0, 4096)));
  EXPECT_TRUE(same(read(object, 4096, 65536).data, pool_.zeros(3 * 4096)));
}

TEST_P(Disk, TruncateCutsAndExtends) {
  const Slice whole = pattern(8192, 9);
  ASSERT_EQ(write(object, 0, {whole}).status, Status::ok);
  ASSERT_EQ(simple(Kind::truncate, object, 4096).status, Status::ok);
  EXPECT_TRUE(same(read(object, 0, 8192).data, whole.part(0, 4096)));
  ASSERT_EQ(simple(Kind::truncate, object, 8192).status, Status::ok);
  EXPECT_TRUE(same(read(object, 4096, 4096).data, pool_.zeros(4096)));
}

TEST_P(Disk, SyncsFilesAndDirectories) {
  ASSERT_EQ(write(object, 0, {pattern(4096, 10)}).status, Status::ok);
  EXPECT_EQ(simple(Kind::sync, object).status, Status::ok);
  for (const auto kind :
       {FileKind::identity, FileKind::raft, FileKind::journal, FileKind::object, FileKind::object_meta})
    EXPECT_EQ(simple(Kind::sync_directory, {kind, 0, 0}).status, Status::ok);
}

TEST_P(Disk, FilesHaveTheNamesOfTheLayoutAndAreListedInOrder) {
  const std::vector<FileId> objects = {
      {FileKind::object, 0, 1}, {FileKind::object, 0, 0x80ab000000000000}, {FileKind::object, 2, 1}};
  for (const FileId& file : objects) ASSERT_EQ(write(file, 0, {pattern(512, 1)}).status, Status::ok);
  ASSERT_EQ(write({FileKind::object_meta, 2, 1}, 0, {pattern(100, 1)}).status, Status::ok);
  ASSERT_EQ(write({FileKind::raft, 0, 1}, 0, {pattern(100, 1)}).status, Status::ok);
  ASSERT_EQ(write({FileKind::identity, 0, 0}, 0, {pattern(100, 1)}).status, Status::ok);
  ASSERT_EQ(write({FileKind::journal, 0, 0}, 0, {pattern(100, 1)}).status, Status::ok);
  for (const char* name : {"obj/0000000000000001", "obj/80ab000000000000", "obj/0000000000000001_02",
                           "meta/0000000000000001_02", "raft/log.1", "node", "journal/journal"})
    EXPECT_EQ(::access((path_ + "/" + name).c_str(), F_OK), 0) << name;
  for (const char* stray : {"obj/tmp", "obj/000000000000000g", "obj/0000000000000001_00", "obj/0000000000000001x02"})
    ::close(::open((path_ + "/" + stray).c_str(), O_CREAT | O_WRONLY, 0644));
  auto sorted = objects;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(simple(Kind::list, {FileKind::object, 0, 0}).files, sorted);
  EXPECT_EQ(simple(Kind::list, {FileKind::raft, 0, 0}).files, (std::vector<FileId>{{FileKind::raft, 0, 1}}));
  EXPECT_EQ(simple(Kind::list, {FileKind::object_meta, 0, 0}).files.size(), 1u);
  EXPECT_EQ(simple(Kind::list, {FileKind::identity, 0, 0}).files.size(), 1u);
}

// The data of guests, whatever the mask of whoever starts a node.
TEST_P(Disk, NobodyElseMayReadWhatIsStored) {
  const mode_t mask = ::umask(0);
  const std::string path = path_ + "/fresh";
  ASSERT_TRUE(DataDirectory::open(path, ""));
  ASSERT_EQ(write(object, 0, {pattern(4096, 1)}).status, Status::ok);
  ASSERT_EQ(write({FileKind::journal, 0, 0}, 0, {pattern(4096, 1)}).status, Status::ok);
  ::umask(mask);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
    struct stat s;
    ASSERT_EQ(::stat(entry.path().c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 077, 0u) << entry.path();
  }
}

TEST_P(Disk, ALinkInPlaceOfAnObjectIsNotFollowed) {
  ASSERT_EQ(write({FileKind::object, 0, 2}, 0, {pattern(4096, 1)}).status, Status::ok);
  ASSERT_EQ(::symlink("0000000000000002", (path_ + "/obj/0000000000000003").c_str()), 0);
  EXPECT_TRUE(read({FileKind::object, 0, 3}, 0, 4096).data.empty());
  EXPECT_EQ(write({FileKind::object, 0, 3}, 0, {pattern(4096, 2)}).status, Status::ok);
  EXPECT_TRUE(same(read({FileKind::object, 0, 2}, 0, 4096).data, pattern(4096, 1)));
}

// Somebody made it, or the file system was repaired. One object is damaged then; the disk has not failed.
TEST_P(Disk, ADirectoryInPlaceOfAnObjectIsPutAsideForAnEmptyFile) {
  for (const FileKind kind : {FileKind::object, FileKind::object_meta}) {
    const FileId readable{kind, 0, 1}, written{kind, 0, 2}, removed{kind, 0, 3}, synced{kind, 0, 4};
    const std::string folder = path_ + (kind == FileKind::object ? "/obj/" : "/meta/");
    for (const char* name : {"0000000000000001", "0000000000000002", "0000000000000003", "0000000000000004"})
      std::filesystem::create_directories(folder + name + "/kept");
    std::filesystem::create_directories(folder + "0000000000000001.damaged/taken");
    const auto found = read(readable, 0, 4096);
    EXPECT_EQ(found.status, Status::ok);
    EXPECT_TRUE(found.data.empty());
    EXPECT_EQ(write(written, 4096, {pattern(4096, 1)}).status, Status::ok);
    EXPECT_TRUE(same(read(written, 4096, 4096).data, pattern(4096, 1)));
    EXPECT_EQ(simple(Kind::sync, synced).status, Status::ok);
    EXPECT_EQ(simple(Kind::remove, removed).status, Status::ok);
    EXPECT_EQ(simple(Kind::list, {kind, 0, 0}).files, (std::vector<FileId>{readable, written, synced}));
    EXPECT_TRUE(std::filesystem::exists(folder + "0000000000000001.damaged.1/kept")) << "nothing is deleted";
    EXPECT_TRUE(std::filesystem::exists(folder + "0000000000000002.damaged/kept"));
    EXPECT_TRUE(std::filesystem::exists(folder + "0000000000000003.damaged/kept"));
  }
}

TEST_P(Disk, ManyOperationsOnMoreFilesThanMayBeOpen) {
  reopen(8);
  constexpr std::size_t files = 200, rounds = 5;
  for (std::size_t round = 0; round < rounds; ++round) {
    done_.clear();
    for (std::size_t i = 0; i < files; ++i)
      disk_->start({Kind::write,
                    {FileKind::object, 0, i},
                    i,
                    round * 4096,
                    0,
                    {pattern(4096, static_cast<unsigned>(i + round))}});
    wait(files);
    for (const DiskDone& d : done_) ASSERT_EQ(d.status, Status::ok);
  }
  done_.clear();
  for (std::size_t i = 0; i < files; ++i)
    for (std::size_t round = 0; round < rounds; ++round)
      disk_->start({Kind::read, {FileKind::object, 0, i}, i * rounds + round, round * 4096, 4096, {}});
  wait(files * rounds);
  for (const DiskDone& d : done_)
    ASSERT_TRUE(same(d.data, pattern(4096, static_cast<unsigned>(d.tag / rounds + d.tag % rounds)))) << d.tag;
  EXPECT_EQ(disk_->in_flight(), 0u);
  std::size_t open_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++open_files;
  EXPECT_LT(open_files, 60u) << "the cache of open files is bounded";
}

// No descriptor is left while it lives, save those that others of this process close.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest_free = ::open("/dev/null", O_RDONLY);
    ::close(lowest_free);
    ::rlimit none{static_cast<rlim_t>(lowest_free), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  ::rlimit before_{};
};

TEST_P(Disk, OpenFilesGiveWayToOthersWhenNoDescriptorIsLeft) {
  for (std::uint64_t i = 0; i < 20; ++i)
    ASSERT_EQ(write({FileKind::object, 0, i}, 0, {pattern(4096, 1)}).status, Status::ok);
  const NoDescriptors none;
  EXPECT_EQ(write({FileKind::object, 0, 100}, 0, {pattern(4096, 2)}).status, Status::ok);
  EXPECT_EQ(simple(Kind::list, {FileKind::object, 0, 0}).files.size(), 21u);
  EXPECT_EQ(simple(Kind::sync_directory, {FileKind::object, 0, 0}).status, Status::ok);
}

TEST_P(Disk, WithoutAnyDescriptorOperationsWaitAndDoNotFail) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's check of virtual calls needs a descriptor itself, and takes its lack for an error";
#endif
  {
    const NoDescriptors none;
    disk_->start({Kind::write, object, 1, 0, 0, {pattern(4096, 1)}});
    disk_->start({Kind::write, {FileKind::object, 0, 2}, 2, 0, 0, {pattern(4096, 2)}});
    disk_->start({Kind::sync_directory, {FileKind::object, 0, 0}, 3, 0, 0, {}});
    disk_->start({Kind::list, {FileKind::object_meta, 0, 0}, 4, 0, 0, {}});
    const auto enough = std::chrono::steady_clock::now() + 3 * DiskDriver::starved_retry;
    while (std::chrono::steady_clock::now() < enough) disk_->poll(done_, SIZE_MAX);
    EXPECT_TRUE(disk_->starved());
    EXPECT_TRUE(done_.empty());
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (done_.size() < 4 && std::chrono::steady_clock::now() < deadline) disk_->poll(done_, SIZE_MAX);
  ASSERT_EQ(done_.size(), 4u);
  for (const DiskDone& done : done_) EXPECT_EQ(done.status, Status::ok) << done.tag;
  EXPECT_FALSE(disk_->starved());
  EXPECT_TRUE(same(read(object, 0, 4096).data, pattern(4096, 1)));
}

TEST_P(Disk, ABudgetLeavesOperationsForTheNextTurn) {
  for (int i = 0; i < 8; ++i)
    disk_->start({Kind::write, object, 0, static_cast<std::uint64_t>(i) * 65536, 0, {pattern(65536, 1)}});
  disk_->poll(done_, 65536);
  EXPECT_TRUE(disk_->pending());
  wait(8);
  EXPECT_FALSE(disk_->pending());
}

TEST_P(Disk, EndsWithOperationsInFlight) {
  for (std::uint64_t i = 0; i < 50; ++i) disk_->start({Kind::write, object, i, i << 20, 0, {pattern(1 << 20, 1)}});
  disk_->poll(done_, SIZE_MAX);
  done_.clear();
  disk_.reset();  // TearDown checks that every buffer came back
}

TEST_P(Disk, AFullDeviceIsNoSpace) {
  // A device of its own, as a link to /dev/full would not be followed.
  if (::mknod((path_ + "/obj/0000000000000009").c_str(), S_IFCHR | 0600, makedev(1, 7)) != 0)
    GTEST_SKIP() << "only root makes devices";
  EXPECT_EQ(write({FileKind::object, 0, 9}, 0, {pattern(100, 1)}).status, Status::no_space);
}

TEST_P(Disk, AnythingElseIsAnIoError) {
  ASSERT_TRUE(std::filesystem::create_directory(path_ + "/journal/journal"));
  EXPECT_EQ(write({FileKind::journal, 0, 0}, 0, {pattern(100, 1)}).status, Status::io_error);
  std::filesystem::remove_all(path_ + "/obj");
  EXPECT_EQ(write(object, 0, {pattern(100, 1)}).status, Status::io_error);
  EXPECT_EQ(simple(Kind::list, {FileKind::object, 0, 0}).status, Status::io_error);
}

INSTANTIATE_TEST_SUITE_P(Engines, Disk,
                         testing::Values(Setup{"uring", DiskEngineKind::uring, false, true},
                                         Setup{"uring_only", DiskEngineKind::uring, false, false},
                                         Setup{"uring_direct", DiskEngineKind::uring, true, true},
                                         Setup{"threads", DiskEngineKind::threads, false, true},
                                         Setup{"threads_only", DiskEngineKind::threads, false, false},
                                         Setup{"threads_direct", DiskEngineKind::threads, true, true}),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace sd::runtime
