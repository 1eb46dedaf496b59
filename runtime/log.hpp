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

// Copies share one sink. Thread-safe.
class Log {
 public:
  using Level = LogLine::Level;

  // An empty `file` means standard error. The error is a sentence for the user.
  static std::expected<Log, std::string> open(Level level, const std::string& file);
  // For tests: swallows everything.
  static Log none();

  void write(Level level, std::string_view text) const;
  void debug(std::string_view text) const { write(Level::debug, text); }
  void info(std::string_view text) const { write(Level::info, text); }
  void warning(std::string_view text) const { write(Level::warning, text); }
  void error(std::string_view text) const { write(Level::error, text); }
  void flush() const;

 private:
  explicit Log(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace sd::runtime
