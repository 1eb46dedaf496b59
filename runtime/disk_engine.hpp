// How system calls on files are made without blocking the loop. An engine knows nothing of nodes: it takes tasks, runs
// one system call for each, and gives them back with its result.
#pragma once
#include <sys/uio.h>

#include <boost/container/small_vector.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/disk/disk.hpp"
#include "runtime/file_cache.hpp"

namespace sd::runtime {

// One DiskOp on its way. The iovecs point into op.slices or data.
struct DiskTask {
  enum class Call : std::uint8_t { readv, writev, fdatasync, fsync, punch, unlink } call{};
  DiskOp op;
  std::shared_ptr<OpenFile> file;
  std::string path;  // unlink only
  int fd = -1;
  std::uint64_t offset = 0;  // of the next byte
  std::size_t remaining = 0, transferred = 0;
  boost::container::small_vector<iovec, 16> iov;
  std::size_t first_iov = 0;  // those before it are done with
  Slice data;                 // of a read
  int result = 0;             // of the system call: what it returned, or -errno
  std::uint64_t began = 0;    // nanoseconds, of the monotonic clock
  std::size_t place = 0;      // among those in the engine

  const iovec* iov_begin() const { return iov.data() + first_iov; }
  unsigned iov_count() const { return static_cast<unsigned>(std::min<std::size_t>(iov.size() - first_iov, 1024)); }
};

class DiskEngine {
 public:
  virtual ~DiskEngine() = default;  // only when nothing is in flight
  virtual const char* name() const = 0;
  // The task stays valid until `reap` returns it. Not started before `submit`.
  virtual void queue(DiskTask* task) = 0;
  virtual void submit() = 0;
  // Appends what has ended; never blocks.
  virtual void reap(std::vector<DiskTask*>& ended) = 0;
  // Readable (poll, level-triggered) while `reap` has something to return.
  virtual int wait_fd() const = 0;
};

// The error names the missing kernel feature.
std::expected<std::unique_ptr<DiskEngine>, std::string> make_uring_engine();
std::unique_ptr<DiskEngine> make_thread_engine(unsigned threads);

}  // namespace sd::runtime
