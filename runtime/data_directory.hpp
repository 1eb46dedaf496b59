// The directory tree that holds one node's state: `node`, `lock`, `raft/`, `journal/`, `obj/`, `meta/`. One
// process at a time may use it.
#pragma once
#include <chrono>
#include <expected>
#include <string>

#include "runtime/log.hpp"

namespace sd::runtime {

class DataDirectory {
 public:
  // Creates what is missing (the last component of `path` too) and takes the lock. `journal_path` empty: `journal/`
  // inside `path`; else a directory of its own, locked likewise. The error is a sentence for the user; it names the
  // process that holds a lock.
  //
  // A directory without a node's identity in it is taken only if nothing of others is there. What file systems and
  // their keepers leave everywhere does not count (`lost+found`, names that begin with a dot), nor do the journal's
  // directory and what this process has open, such as its log.
  //
  // A process that was killed keeps its lock until the kernel has given its memory back, and its successor is often
  // there before: a lock that is taken is waited for, for `patience`, and a line in `log` says so.
  static std::expected<DataDirectory, std::string> open(const std::string& path, const std::string& journal_path,
                                                        const Log& log = Log::terminal(),
                                                        std::chrono::milliseconds patience = std::chrono::seconds(5));

  DataDirectory(DataDirectory&& other) noexcept;
  DataDirectory& operator=(DataDirectory&&) = delete;
  ~DataDirectory();  // gives the locks up

  const std::string& path() const { return path_; }
  const std::string& journal_path() const { return journal_path_; }

 private:
  DataDirectory() = default;
  std::string path_, journal_path_;
  int lock_ = -1, journal_lock_ = -1;
};

// The identity file is there and was written: a node has lived in this directory.
bool has_identity(const std::string& directory);

// The node that lives there has a cluster log, which names the other members.
bool knows_cluster(const std::string& directory);

// A node makes itself an identity if it finds none. It must not where a node has lived before: the data would be taken
// for a stranger's. The error is a sentence for the user. Only for who holds the lock.
std::expected<void, std::string> check_identity(const std::string& directory, const std::string& journal_directory);

// For a start that must not make a new node (the disk of the old one may not be mounted). The error is a sentence for
// the user. `journal_path` as above.
std::expected<void, std::string> check_existing(const std::string& path, const std::string& journal_path);

// With fewer open files no node can work: see raise_open_file_limit.
inline constexpr std::size_t least_open_files = 128;

// Raises the limit of open files as far as this process may; returns the limit.
std::size_t raise_open_file_limit();

}  // namespace sd::runtime
