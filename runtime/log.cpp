#include "runtime/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "runtime/log_limit.hpp"

namespace sd::runtime {

namespace {
spdlog::level::level_enum spdlog_level(Log::Level level) {
  switch (level) {
    case Log::Level::debug: return spdlog::level::debug;
    case Log::Level::info: return spdlog::level::info;
    case Log::Level::warning: return spdlog::level::warn;
    case Log::Level::error: break;
  }
  return spdlog::level::err;
}
}  // namespace

// A file that can be changed for a new one of the same name. A line that does not fit onto the disk is lost.
class Log::FileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(std::string path) : path_(std::move(path)) {}
  ~FileSink() override {
    if (file_) std::fclose(file_);
  }

  std::expected<void, std::string> open() {
    std::error_code ignored;
    if (const auto parent = std::filesystem::path(path_).parent_path(); !parent.empty())
      std::filesystem::create_directories(parent, ignored);
    std::FILE* opened = std::fopen(path_.c_str(), "ae");
    if (!opened) return std::unexpected(fmt::format("cannot open the log file {}: {}", path_, std::strerror(errno)));
    const std::lock_guard lock(mutex_);
    if (file_) std::fclose(file_);
    file_ = opened;
    return {};
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::fwrite(line.data(), 1, line.size(), file_);
  }
  void flush_() override { std::fflush(file_); }

  const std::string path_;
  std::FILE* file_ = nullptr;
};

struct Log::Limited {
  std::mutex mutex;
  LogLimit limit;
};

Log::Log(std::shared_ptr<spdlog::logger> logger, std::shared_ptr<FileSink> file)
    : logger_(std::move(logger)), file_(std::move(file)), limited_(std::make_shared<Limited>()) {}

std::expected<Log, std::string> Log::open(Level level, const std::string& file) {
  spdlog::sink_ptr sink;
  std::shared_ptr<FileSink> file_sink;
  if (file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = file_sink = std::make_shared<FileSink>(file);
    if (auto opened = file_sink->open(); !opened) return std::unexpected(std::move(opened.error()));
  }
  auto logger = std::make_shared<spdlog::logger>("sheep", std::move(sink));
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %-7l %v");
  logger->set_level(spdlog_level(level));
  logger->flush_on(spdlog::level::info);
  return Log(std::move(logger), std::move(file_sink));
}

std::expected<void, std::string> Log::reopen() const {
  if (!file_) return {};
  return file_->open();
}

Log Log::terminal() { return std::move(*open(Level::info, "")); }

Log Log::none() {
  return Log(std::make_shared<spdlog::logger>("none", std::make_shared<spdlog::sinks::null_sink_mt>()));
}

void Log::write(Level level, std::string_view text) const {
  if (!logger_->should_log(spdlog_level(level))) return;
  if (level > Level::debug) {
    bool admitted = false;
    {
      const std::lock_guard lock(limited_->mutex);
      admitted = limited_->limit.admit(LogLimit::Clock::now(), level, text);
    }
    tell_left_out();  // what came before this line
    if (!admitted) return;
  }
  logger_->log(spdlog_level(level), "{}", text);
}

void Log::tell_left_out(bool all) const {
  std::vector<LogLine> lines;
  {
    const std::lock_guard lock(limited_->mutex);
    lines = limited_->limit.left_out(LogLimit::Clock::now(), all);
  }
  for (const LogLine& line : lines) logger_->log(spdlog_level(line.level), "{}", line.text);
}

void Log::flush() const { logger_->flush(); }

}  // namespace sd::runtime
