#include "runtime/log_limit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace sd::runtime {

namespace {

constexpr std::size_t max_key = 256;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The text with one '#' for each word that has a digit in it, and for each list or address made of such words.
std::string cause_of(LogLine::Level level, std::string_view text) {
  std::string key(1, static_cast<char>('0' + static_cast<int>(level)));
  std::size_t at = 0;
  while (at < text.size() && key.size() < max_key) {
    if (!is_word(text[at])) {
      const bool joins = key.back() == '#' && std::string_view(".:, []").find(text[at]) != std::string_view::npos;
      if (!joins) key += text[at];
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && is_word(text[end])) ++end;
    const std::string_view word = text.substr(at, end - at);
    if (std::ranges::none_of(word, is_digit))
      key += word;
    else if (key.back() != '#')
      key += '#';
    at = end;
  }
  return key;
}

}  // namespace

bool LogLimit::admit(Clock::time_point now, Level level, std::string_view text) {
  std::string key = cause_of(level, text);
  auto found = causes_.find(key);
  if (found != causes_.end() && now >= found->second.end) {
    forget(found);
    found = causes_.end();
  }
  if (found == causes_.end()) {
    if (causes_.size() >= max_causes && !make_room(now, level)) {
      ++without_place_;
      return false;
    }
    found = causes_.emplace(std::move(key), Cause{level, now + period, {}, 0, {}}).first;
    next_end_ = std::min(next_end_, found->second.end);
  }
  Cause& cause = found->second;
  const std::size_t hash = std::hash<std::string_view>()(text);
  const bool repeated = level >= Level::warning && std::ranges::find(cause.written, hash) != cause.written.end();
  if (!repeated && cause.written.size() < lines_per_period) {
    cause.written.push_back(hash);
    return true;
  }
  ++cause.left_out;
  cause.last = text;
  return false;
}

bool LogLimit::make_room(Clock::time_point now, Level level) {
  for (auto i = causes_.begin(); i != causes_.end();) {
    const auto cause = i++;
    if (now >= cause->second.end) forget(cause);
  }
  if (causes_.size() < max_causes) return true;
  if (level != Level::error) return false;
  const auto less = std::ranges::find_if(causes_, [](const auto& c) { return c.second.level != Level::error; });
  if (less == causes_.end()) return false;
  forget(less);
  return true;
}

void LogLimit::forget(Causes::iterator cause) {
  const Cause& c = cause->second;
  if (c.left_out > 0)
    told_.push_back(
        {c.level, fmt::format("{} more like this were left out in {} s: {}", c.left_out, period.count(), c.last)});
  causes_.erase(cause);
}

std::vector<LogLine> LogLimit::left_out(Clock::time_point now, bool all) {
  if (now >= next_end_ || all) {
    next_end_ = Clock::time_point::max();
    for (auto i = causes_.begin(); i != causes_.end();) {
      const auto cause = i++;
      if (all || now >= cause->second.end)
        forget(cause);
      else
        next_end_ = std::min(next_end_, cause->second.end);
    }
    if (without_place_ > 0)
      told_.push_back({Level::warning, fmt::format("{} lines of more than {} causes were left out",
                                                   std::exchange(without_place_, 0), max_causes)});
  }
  return std::exchange(told_, {});
}

}  // namespace sd::runtime
