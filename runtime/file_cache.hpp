// Names and open files of one node's data directory. Keeps a bounded number of files open, least recently used closed
// first; a file that an operation still uses stays open until that operation lets go of it.
#pragma once
#include <expected>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/disk/disk.hpp"

namespace sd::runtime {

// Of this process, or of the machine.
bool is_out_of_descriptors(int error);

struct OpenFile {
  OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile();
  int fd = -1;         // through the page cache
  int direct_fd = -1;  // the same file opened with O_DIRECT; -1 if nobody asked for it or the file system does without
  bool direct_tried = false;
};

class FileCache {
 public:
  FileCache(std::string directory, std::string journal_directory, bool direct, std::size_t max_open);
  ~FileCache();
  FileCache(const FileCache&) = delete;
  FileCache& operator=(const FileCache&) = delete;

  std::string directory(FileKind kind) const;
  std::string path(const FileId& file) const;

  // Errors here and below are errno values. EMFILE and ENFILE say that no descriptor is left, although this cache has
  // given up some of its own: try again later.
  std::expected<std::shared_ptr<OpenFile>, int> open(const FileId& file, bool create);
  // Sees to it that `direct_fd` is there, if it can be.
  void open_direct(const FileId& file, OpenFile& opened) const;
  // Where an object's file should be is something else: a directory, a link, a socket. It is one object that is
  // damaged, not the disk.
  bool is_not_a_file(const FileId& file) const;
  // Puts an empty file in the place of what is there, and makes that durable: whoever knew of a file finds one, without
  // its data. What was there gets the name that is returned.
  std::expected<std::string, int> set_aside(const FileId& file);
  // Before a file is removed: the next open is of a new file.
  void forget(const FileId& file);
  // Descriptor of the directory itself, for fsync; stays open.
  std::expected<int, int> directory_fd(FileKind kind);
  // Every file of the kind, ordered; names that are not of the layout are passed over.
  std::expected<std::vector<FileId>, int> list(FileKind kind);

 private:
  struct Hash {
    std::size_t operator()(const FileId& f) const {
      return (f.id + (static_cast<std::uint64_t>(f.kind) << 8 | f.strip)) * 0x9e3779b97f4a7c15ull;
    }
  };
  struct Entry {
    std::shared_ptr<OpenFile> file;
    std::list<FileId>::iterator place;
  };
  void close_oldest();
  int open_path(const std::string& path, int flags);

  std::string directory_, journal_directory_;
  bool direct_;
  std::size_t max_open_;
  std::list<FileId> order_;  // most recently used first
  std::unordered_map<FileId, Entry, Hash> files_;
  int directory_fds_[5] = {-1, -1, -1, -1, -1};
};

}  // namespace sd::runtime
