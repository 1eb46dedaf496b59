#include "runtime/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

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

std::expected<Log, std::string> Log::open(Level level, const std::string& file) {
  try {
    spdlog::sink_ptr sink;
    if (file.empty())
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    else
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
    auto logger = std::make_shared<spdlog::logger>("sheep", std::move(sink));
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %-7l %v");
    logger->set_level(spdlog_level(level));
    logger->flush_on(spdlog::level::info);
    return Log(std::move(logger));
  } catch (const std::exception& e) {
    return std::unexpected(fmt::format("cannot open the log file {}: {}", file, e.what()));
  }
}

Log Log::none() {
  return Log(std::make_shared<spdlog::logger>("none", std::make_shared<spdlog::sinks::null_sink_mt>()));
}

void Log::write(Level level, std::string_view text) const { logger_->log(spdlog_level(level), "{}", text); }

void Log::flush() const { logger_->flush(); }

}  // namespace sd::runtime
