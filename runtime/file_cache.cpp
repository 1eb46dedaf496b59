#include "runtime/file_cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <utility>

namespace sd::runtime {

namespace {

bool parse_hex(std::string_view text, std::uint64_t& value) {
  for (const char c : text)
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  return std::from_chars(text.data(), text.data() + text.size(), value, 16).ec == std::errc();
}

// "00ab000000000001" or "00ab000000000001_02".
std::optional<FileId> parse_object_name(FileKind kind, std::string_view name) {
  FileId file{kind, 0, 0};
  std::uint64_t strip = 0;
  if (name.size() != 16 && name.size() != 19) return std::nullopt;
  if (!parse_hex(name.substr(0, 16), file.id)) return std::nullopt;
  if (name.size() == 19 && (name[16] != '_' || !parse_hex(name.substr(17), strip) || strip == 0)) return std::nullopt;
  file.strip = static_cast<std::uint8_t>(strip);
  return file;
}

}  // namespace

bool is_out_of_descriptors(int error) { return error == EMFILE || error == ENFILE; }

OpenFile::~OpenFile() {
  if (fd >= 0) ::close(fd);
  if (direct_fd >= 0) ::close(direct_fd);
}

FileCache::FileCache(std::string directory, std::string journal_directory, bool direct, std::size_t max_open)
    : directory_(std::move(directory)),
      journal_directory_(std::move(journal_directory)),
      direct_(direct),
      max_open_(std::max<std::size_t>(max_open, 8)) {}

FileCache::~FileCache() {
  for (const int fd : directory_fds_)
    if (fd >= 0) ::close(fd);
}

std::string FileCache::directory(FileKind kind) const {
  switch (kind) {
    case FileKind::identity: return directory_;
    case FileKind::raft: return directory_ + "/raft";
    case FileKind::journal: return journal_directory_;
    case FileKind::object: return directory_ + "/obj";
    case FileKind::object_meta: break;
  }
  return directory_ + "/meta";
}

std::string FileCache::path(const FileId& file) const {
  switch (file.kind) {
    case FileKind::identity: return directory_ + "/node";
    case FileKind::raft: return fmt::format("{}/raft/log.{}", directory_, file.id);
    case FileKind::journal: return journal_directory_ + "/journal";
    default: break;
  }
  return file.strip == 0 ? fmt::format("{}/{:016x}", directory(file.kind), file.id)
                         : fmt::format("{}/{:016x}_{:02x}", directory(file.kind), file.id, file.strip);
}

void FileCache::close_oldest() {
  if (order_.empty()) return;
  files_.erase(order_.back());
  order_.pop_back();
}

// As open(2). If no descriptor is left, some of this cache's own are given up.
int FileCache::open_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd >= 0 || !is_out_of_descriptors(errno)) return fd;
  for (int i = 0; i < 16; ++i) close_oldest();
  return ::open(path.c_str(), flags | O_CLOEXEC, 0600);
}

std::expected<std::shared_ptr<OpenFile>, int> FileCache::open(const FileId& file, bool create) {
  if (const auto found = files_.find(file); found != files_.end()) {
    if (found->second.place != order_.begin()) order_.splice(order_.begin(), order_, found->second.place);
    return found->second.file;
  }
  // The data of guests are nobody else's, and are where this says, not where a link leads.
  const int fd = open_path(path(file), O_RDWR | O_NOFOLLOW | (create ? O_CREAT : 0));
  if (fd < 0) return std::unexpected(errno);
  auto opened = std::make_shared<OpenFile>();
  opened->fd = fd;
  if (direct_ && (file.kind == FileKind::object || file.kind == FileKind::journal)) open_direct(file, *opened);
  while (files_.size() >= max_open_) close_oldest();
  order_.push_front(file);
  files_.emplace(file, Entry{opened, order_.begin()});
  return opened;
}

void FileCache::open_direct(const FileId& file, OpenFile& opened) const {
  if (std::exchange(opened.direct_tried, true)) return;
  opened.direct_fd = ::open(path(file).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_DIRECT);
  if (opened.direct_fd < 0 && is_out_of_descriptors(errno)) opened.direct_tried = false;
}

bool FileCache::is_not_a_file(const FileId& file) const {
  if (file.kind != FileKind::object && file.kind != FileKind::object_meta) return false;
  struct stat s;
  if (::lstat(path(file).c_str(), &s) != 0) return false;
  return S_ISDIR(s.st_mode) || S_ISLNK(s.st_mode) || S_ISSOCK(s.st_mode);
}

std::expected<std::string, int> FileCache::set_aside(const FileId& file) {
  const auto parent = directory_fd(file.kind);
  if (!parent) return std::unexpected(parent.error());
  const std::string from = path(file);
  std::string to = from + ".damaged";
  int fd = -1;
  for (int i = 1; (fd = open_path(to, O_RDWR | O_CREAT | O_EXCL)) < 0; ++i) {
    if (errno != EEXIST || i == 100) return std::unexpected(errno);
    to = fmt::format("{}.damaged.{}", from, i);
  }
  ::close(fd);
  // The two change places at once, so that a crash leaves one or the other.
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    const int error = errno;
    ::unlink(to.c_str());
    return std::unexpected(error);
  }
  if (::fsync(*parent) != 0) return std::unexpected(errno);
  return to;
}

void FileCache::forget(const FileId& file) {
  const auto found = files_.find(file);
  if (found == files_.end()) return;
  order_.erase(found->second.place);
  files_.erase(found);
}

std::expected<int, int> FileCache::directory_fd(FileKind kind) {
  int& fd = directory_fds_[static_cast<std::size_t>(kind)];
  if (fd < 0) fd = open_path(directory(kind), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return std::unexpected(errno);
  return fd;
}

std::expected<std::vector<FileId>, int> FileCache::list(FileKind kind) {
  std::vector<FileId> files;
  if (kind == FileKind::identity || kind == FileKind::raft || kind == FileKind::journal) {
    for (std::uint64_t id = 0; id < (kind == FileKind::raft ? 2u : 1u); ++id) {
      const FileId file{kind, 0, id};
      struct stat s;
      if (::stat(path(file).c_str(), &s) == 0)
        files.push_back(file);
      else if (errno != ENOENT)
        return std::unexpected(errno);
    }
    return files;
  }
  const int fd = open_path(directory(kind), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return std::unexpected(errno);
  DIR* dir = ::fdopendir(fd);
  if (!dir) {
    const int error = errno;
    ::close(fd);
    return std::unexpected(error);
  }
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir);
    if (!entry) break;
    if (const auto file = parse_object_name(kind, entry->d_name)) files.push_back(*file);
  }
  const int error = errno;
  ::closedir(dir);
  if (error != 0) return std::unexpected(error);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace sd::runtime
