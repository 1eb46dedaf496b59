#include "runtime/seeds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace sd::runtime {

namespace {
// Shared with threads that may outlive the call: nothing interrupts the system's resolver.
struct Answers {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::optional<std::expected<Endpoint, std::string>>> of;  // each seed
};
}  // namespace

std::expected<Seeds, std::string> resolve_seeds(const std::vector<std::string>& texts, std::uint16_t default_port,
                                                std::chrono::milliseconds patience, Resolver resolver) {
  std::vector<HostPort> names;
  for (const std::string& text : texts) {
    auto name = split_address(text, default_port);
    if (!name) return std::unexpected(std::move(name.error()));
    names.push_back(std::move(*name));
  }
  const auto answers = std::make_shared<Answers>();
  answers->of.resize(names.size());
  for (std::size_t i = 0; i < names.size(); ++i)
    std::thread([answers, resolver, i, name = names[i]] {
      auto answer = resolver(name);
      const std::lock_guard lock(answers->mutex);
      answers->of[i] = std::move(answer);
      answers->changed.notify_all();
    }).detach();

  std::unique_lock lock(answers->mutex);
  answers->changed.wait_for(lock, patience, [&] {
    return std::ranges::all_of(answers->of, [](const auto& answer) { return answer.has_value(); });
  });
  Seeds seeds;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& answer = answers->of[i];
    if (answer && *answer)
      seeds.found.push_back(**answer);
    else
      seeds.failed.push_back(answer ? answer->error()
                                    : fmt::format("cannot resolve the address {}: no answer yet", names[i].host));
  }
  return seeds;
}

}  // namespace sd::runtime
