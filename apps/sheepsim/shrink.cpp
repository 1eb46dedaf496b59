#include "shrink.hpp"

#include <sstream>

#include "sim/checker_name.hpp"

namespace sd::sim {

namespace {

constexpr std::uint64_t neighbours = 8;  // seeds tried for each reduction

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string value_of(const std::vector<std::string>& overrides, const std::string& key) {
  for (const std::string& word : overrides)
    if (word.starts_with(key + "=")) return word.substr(key.size() + 1);
  return "";
}

std::vector<std::string> with(std::vector<std::string> overrides, const std::string& key, const std::string& value) {
  for (std::string& word : overrides)
    if (word.starts_with(key + "=")) word = key + "=" + value;
  return overrides;
}

bool same_failure(const Report& a, const Report& b) {
  return a.outcome == b.outcome && checker_of(a.what) == checker_of(b.what);
}

}  // namespace

Shrunk shrink(std::uint64_t seed, const BatchOptions& options, const Report& report, void (*say)(const std::string&)) {
  Decisions decisions(seed);
  Config config = draw_config(decisions);
  for (const std::string& word : options.overrides) apply_override(config, word);
  Shrunk best{seed, words(full_text(config)), report, 0};

  const auto attempt = [&](const std::vector<std::string>& overrides) {
    BatchOptions smaller = options;
    smaller.overrides = overrides;
    bool found = false;
    run_seeds(best.seed, best.seed + neighbours - 1, smaller, [&](const SeedResult& result) {
      ++best.tries;
      if (!same_failure(result.report, report)) return true;
      found = true;
      best.seed = result.seed;
      best.overrides = overrides;
      best.report = result.report;
      return false;
    });
    if (found) {
      std::string text;
      for (const std::string& word : overrides) text += word + " ";
      say("seed " + std::to_string(best.seed) + " " + text);
    }
    return found;
  };

  for (bool progress = true; progress;) {
    progress = false;
    std::string list = value_of(best.overrides, "faults");
    for (std::size_t at = 0; list != "none" && at <= list.size();) {
      const std::size_t comma = std::min(list.find(',', at), list.size());
      std::string rest = list.substr(0, at) + (comma < list.size() ? list.substr(comma + 1) : "");
      if (rest.ends_with(',')) rest.pop_back();
      if (rest.empty()) rest = "none";
      if (attempt(with(best.overrides, "faults", rest))) {
        list = rest;
        progress = true;
      } else {
        at = comma + 1;
      }
    }
    const std::vector<std::string> weights = {"w_read",        "w_write",       "w_flush",    "w_fua",
                                              "w_trim",        "w_zeroes",      "w_fua_trim", "w_fua_zeroes",
                                              "w_full_zeroes", "w_fast_zeroes", "w_status",   "w_cache"};
    if (value_of(best.overrides, "all_commands") == "1" && attempt(with(best.overrides, "all_commands", "0")))
      progress = true;
    for (const std::string& key : weights) {
      std::size_t others = 0;
      for (const std::string& other : weights) others += other != key && value_of(best.overrides, other) != "0";
      if (others > 0 && value_of(best.overrides, key) != "0" && attempt(with(best.overrides, key, "0")))
        progress = true;
    }
    for (std::size_t comma = 0; (comma = value_of(best.overrides, "regions").rfind(',')) != std::string::npos;) {
      if (!attempt(with(best.overrides, "regions", value_of(best.overrides, "regions").substr(0, comma)))) break;
      progress = true;
    }
    for (const std::string key :
         {"nodes", "guests", "vdis", "gateways", "copies", "final_power", "depth", "ops", "chaos"}) {
      const std::uint64_t least = key == "gateways" || key == "final_power" ? 0
                                  : key == "chaos"                          ? milliseconds(200)
                                                                            : 1;
      std::uint64_t value = std::stoull(value_of(best.overrides, key));
      while (value > least) {
        const std::uint64_t smaller = std::max(least, value > 4 ? value / 2 : value - 1);
        if (!attempt(with(best.overrides, key, std::to_string(smaller)))) break;
        value = smaller;
        progress = true;
      }
    }
  }
  return best;
}

std::string regression_text(const Shrunk& shrunk) {
  std::string text = "# " + std::string(to_string(shrunk.report.outcome)) + ": " + shrunk.report.what.substr(0, 400) +
                     "\nseed " + std::to_string(shrunk.seed) + "\n";
  for (const std::string& word : shrunk.overrides) text += word + "\n";
  return text;
}

std::string regression_text(std::uint64_t seed, const Config& config) {
  std::string text = "seed " + std::to_string(seed) + "\n";
  for (const std::string& word : words(full_text(config))) text += word + "\n";
  return text;
}

}  // namespace sd::sim
