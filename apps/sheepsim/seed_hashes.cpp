#include "seed_hashes.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

namespace sd::sim {

namespace {

constexpr std::size_t most_printed = 10;

using Lines = std::map<std::uint64_t, std::string>;  // by seed, without it

Lines run(std::uint64_t first, std::uint64_t last, const BatchOptions& options) {
  Lines lines;
  run_seeds(first, last, options, [&](const SeedResult& result) {
    const Report& r = result.report;
    lines[result.seed] = fmt::format("{:016x} {} {}", r.hash, r.steps, to_string(r.outcome));
    return true;
  });
  return lines;
}

}  // namespace

int write_hashes(const std::string& file, std::uint64_t first, std::uint64_t last, const BatchOptions& options) {
  std::ofstream out(file);
  for (const auto& [seed, line] : run(first, last, options)) out << seed << ' ' << line << '\n';
  if (!out.flush()) {
    fmt::print(stderr, "cannot write {}\n", file);
    return 1;
  }
  fmt::print("{} seeds, their hashes written to {}\n", last - first + 1, file);
  return 0;
}

int compare_hashes(const std::string& file, std::uint64_t first, std::uint64_t last, const BatchOptions& options) {
  std::ifstream in(file);
  if (!in) {
    fmt::print(stderr, "cannot read {}\n", file);
    return 1;
  }
  Lines expected;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::uint64_t seed = 0;
    std::string rest;
    if (words >> seed && std::getline(words >> std::ws, rest)) expected[seed] = rest;
  }
  std::size_t different = 0;
  for (const auto& [seed, line] : run(first, last, options)) {
    const auto was = expected.find(seed);
    if (was != expected.end() && was->second == line) continue;
    if (++different > most_printed) continue;
    fmt::print("seed {}: was {}, is {}\n", seed, was == expected.end() ? "not recorded" : was->second, line);
  }
  fmt::print("{} of {} seeds ran as before\n", last - first + 1 - different, last - first + 1);
  return different == 0 ? 0 : static_cast<int>(Outcome::nondeterminism);
}

}  // namespace sd::sim
