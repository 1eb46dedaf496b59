#include "runtime/data_directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

namespace sd::runtime {

namespace {

// Makes the directory durable too: a node that lost its tree would come back as another node.
std::expected<void, std::string> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    const auto slash = path.find_last_of('/');
    const std::string parent = slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    if (const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0) {
      ::fsync(fd);
      ::close(fd);
    }
    return {};
  }
  if (errno == ENOENT)
    return std::unexpected(
        fmt::format("cannot create the directory {}: the one it would be in does not exist; create that first", path));
  if (errno != EEXIST)
    return std::unexpected(fmt::format("cannot create the directory {}: {}", path, std::strerror(errno)));
  struct stat s;
  if (::stat(path.c_str(), &s) != 0 || !S_ISDIR(s.st_mode))
    return std::unexpected(fmt::format("{} is not a directory", path));
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0)
    return std::unexpected(fmt::format("the directory {} may not be written: {}", path, std::strerror(errno)));
  return {};
}

constexpr auto lock_repeat = std::chrono::milliseconds(20);

// Of a lock file; "unknown" if it does not say.
std::string holder_of(int fd) {
  char pid[16] = {};
  const ssize_t n = ::pread(fd, pid, sizeof pid - 1, 0);
  std::string holder(pid, n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!holder.empty() && (holder.back() < '0' || holder.back() > '9')) holder.pop_back();
  return holder.empty() ? "unknown" : holder;
}

// 0, or an errno value.
int wait_for_lock(int fd, const std::string& path, const Log& log, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (bool told = false;; told = true) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() >= deadline) return errno;
    if (!told)
      log.info(fmt::format("the directory {} is still in use by process {}: waiting up to {} s for its end", path,
                           holder_of(fd), std::chrono::ceil<std::chrono::seconds>(patience).count()));
    std::this_thread::sleep_for(lock_repeat);
  }
}

std::expected<int, std::string> lock_directory(const std::string& path, const Log& log,
                                               std::chrono::milliseconds patience) {
  const std::string name = path + "/lock";
  const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return std::unexpected(fmt::format("cannot open {}: {}", name, std::strerror(errno)));
  if (const int error = wait_for_lock(fd, path, log, patience); error != 0) {
    const std::string holder = holder_of(fd);
    ::close(fd);
    if (error != EWOULDBLOCK) return std::unexpected(fmt::format("cannot lock {}: {}", name, std::strerror(error)));
    return std::unexpected(fmt::format(
        "the directory {} is in use by another sheep (process {}): stop that one or choose another directory", path,
        holder));
  }
  // Who holds the lock is told to people only, so a disk without room for it is no reason not to start: a full node
  // must be able to. Written over what is there, which needs no new space, before the rest is cut off.
  const std::string pid = fmt::format("{}\n", ::getpid());
  const ssize_t written = ::pwrite(fd, pid.data(), pid.size(), 0);
  if ((written < 0 && errno != ENOSPC) || ::ftruncate(fd, written < 0 ? 0 : written) != 0) {
    const int error = errno;
    ::close(fd);
    return std::unexpected(fmt::format("cannot write {}: {}", name, std::strerror(error)));
  }
  return fd;
}

// Calls `take` with each name until it returns true. Returns 0 or an errno value.
int each_name(const std::string& directory, const std::function<bool(const std::string& name)>& take) {
  DIR* dir = ::opendir(directory.c_str());
  if (!dir) return errno;
  errno = 0;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && take(name)) break;
    errno = 0;
  }
  const int error = errno;
  ::closedir(dir);
  return error;
}

// Such as the log of this very start.
bool opened_by_this_process(const std::string& path) {
  struct stat file;
  if (::stat(path.c_str(), &file) != 0) return false;
  bool found = false;
  each_name("/proc/self/fd", [&](const std::string& fd) {
    struct stat s;
    found = ::stat(("/proc/self/fd/" + fd).c_str(), &s) == 0 && s.st_dev == file.st_dev && s.st_ino == file.st_ino;
    return found;
  });
  return found;
}

// The first name, in order, of what no node has put there: see DataDirectory::open.
std::optional<std::string> first_foreign(const std::string& directory, const std::string& journal_directory) {
  std::optional<std::string> first;
  each_name(directory, [&](const std::string& name) {
    for (const char* own : {"node", "lock", "raft", "journal", "obj", "meta", "lost+found"})
      if (name == own) return false;
    if ((journal_directory + "/").starts_with(directory + "/" + name + "/")) return false;
    if (!name.starts_with('.') && (!first || name < *first) && !opened_by_this_process(directory + "/" + name))
      first = name;
    return false;
  });
  return first;
}

bool has_bytes(const std::string& path) {
  struct stat s;
  return ::stat(path.c_str(), &s) == 0 && s.st_size > 0;
}

bool has_cluster_log(const std::string& directory) {
  return has_bytes(directory + "/raft/log.0") || has_bytes(directory + "/raft/log.1");
}

// In words, what a node left there besides its identity; empty if nothing.
std::string_view left_behind(const std::string& directory, const std::string& journal_directory) {
  bool objects = false;
  for (const char* name : {"/obj", "/meta"})
    each_name(directory + name, [&](const std::string& file) { return objects = objects || !file.starts_with('.'); });
  if (objects) return "objects";
  if (has_cluster_log(directory)) return "a cluster log";
  if (has_bytes(journal_directory + "/journal")) return "a journal";
  return {};
}

}  // namespace

bool has_identity(const std::string& directory) {
  const int fd = ::open((directory + "/node").c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno != ENOENT;  // what is wrong with it will be said
  std::array<char, 8192> bytes{};
  const ssize_t n = ::read(fd, bytes.data(), bytes.size());
  ::close(fd);
  return n < 0 || std::ranges::any_of(bytes, [](char c) { return c != 0; });
}

bool knows_cluster(const std::string& directory) { return has_identity(directory) && has_cluster_log(directory); }

std::expected<void, std::string> check_identity(const std::string& directory, const std::string& journal_directory) {
  if (has_identity(directory)) return {};
  const std::string_view found = left_behind(directory, journal_directory);
  if (found.empty()) return {};
  const bool journal_elsewhere = !journal_directory.starts_with(directory + "/");
  return std::unexpected(
      fmt::format("the directory {}{} holds {} of a node whose identity (the file {}/node) is missing: bring that file "
                  "back, or empty {} to let the node join as a new one",
                  directory, journal_elsewhere ? " or its journal in " + journal_directory : "", found, directory,
                  journal_elsewhere ? "both" : "the directory"));
}

std::expected<void, std::string> check_existing(const std::string& path, const std::string& journal_path) {
  const std::string journal = journal_path.empty() ? path + "/journal" : journal_path;
  const bool identity = has_identity(path);
  if (identity && has_bytes(journal + "/journal")) return {};
  return std::unexpected(
      fmt::format("{} holds no {}, and --existing makes no new one: mount its disk, or start once without --existing "
                  "to make it there",
                  identity ? journal : path, identity ? "journal" : "node"));
}

std::expected<DataDirectory, std::string> DataDirectory::open(const std::string& path, const std::string& journal_path,
                                                              const Log& log, std::chrono::milliseconds patience) {
  DataDirectory directory;
  directory.path_ = path;
  while (directory.path_.size() > 1 && directory.path_.back() == '/') directory.path_.pop_back();
  directory.journal_path_ = journal_path.empty() ? directory.path_ + "/journal" : journal_path;
  if (auto made = make_directory(directory.path_); !made) return std::unexpected(std::move(made.error()));
  if (!has_identity(directory.path_))
    if (const auto foreign = first_foreign(directory.path_, directory.journal_path_))
      return std::unexpected(
          fmt::format("the directory {} is neither empty nor a node's: it holds {}; choose another directory, or move "
                      "away what is there",
                      directory.path_, *foreign));
  auto lock = lock_directory(directory.path_, log, patience);
  if (!lock) return std::unexpected(std::move(lock.error()));
  directory.lock_ = *lock;
  for (const std::string& name :
       {directory.path_ + "/raft", directory.path_ + "/obj", directory.path_ + "/meta", directory.journal_path_})
    if (auto made = make_directory(name); !made) return std::unexpected(std::move(made.error()));
  if (!journal_path.empty()) {
    auto journal_lock = lock_directory(directory.journal_path_, log, patience);
    if (!journal_lock) return std::unexpected(std::move(journal_lock.error()));
    directory.journal_lock_ = *journal_lock;
  }
  return directory;
}

DataDirectory::DataDirectory(DataDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      journal_path_(std::move(other.journal_path_)),
      lock_(std::exchange(other.lock_, -1)),
      journal_lock_(std::exchange(other.journal_lock_, -1)) {}

DataDirectory::~DataDirectory() {
  if (lock_ >= 0) ::close(lock_);
  if (journal_lock_ >= 0) ::close(journal_lock_);
}

std::size_t raise_open_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur;
}

}  // namespace sd::runtime
