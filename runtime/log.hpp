// Where a process says what happens: lines with time and level, to the terminal (standard error) or to a file.
#pragma once
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "core/node/node.hpp"

namespace spdlog {
class logger;
}

namespace sd::runtime {

// Copies share one sink. Thread-safe. Lines of one cause that come too often are left out and counted (log_limit.hpp),
// save those of level debug.
class Log {
 public:
  using Level = LogLine::Level;

  // An empty `file` means standard error; else lines are appended to it. The error is a sentence for the user.
  static std::expected<Log, std::string> open(Level level, const std::string& file);
  // Standard error, for what happens before the log that was asked for is at hand.
  static Log terminal();
  // For tests: swallows everything.
  static Log none();

  void write(Level level, std::string_view text) const;
  void debug(std::string_view text) const { write(Level::debug, text); }
  void info(std::string_view text) const { write(Level::info, text); }
  void warning(std::string_view text) const { write(Level::warning, text); }
  void error(std::string_view text) const { write(Level::error, text); }
  // Writes how many lines were left out; to be called every second or so, and with `all` at the end.
  void tell_left_out(bool all = false) const;
  void flush() const;

  bool to_file() const { return file_ != nullptr; }
  // After the file was renamed: what follows goes to a new one of the old name. The error is a sentence for the user;
  // the log then goes on where it was. Nothing happens without a file.
  std::expected<void, std::string> reopen() const;

 private:
  class FileSink;
  struct Limited;
  explicit Log(std::shared_ptr<spdlog::logger> logger, std::shared_ptr<FileSink> file = nullptr);
  std::shared_ptr<spdlog::logger> logger_;
  std::shared_ptr<FileSink> file_;  // null: no file
  std::shared_ptr<Limited> limited_;
};

}  // namespace sd::runtime
