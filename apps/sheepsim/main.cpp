// sheepsim: runs the cluster in the simulator. See docs for how to read what it prints.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>

#include "child.hpp"
#include "core/base/sim_probe.hpp"
#include "epochs.hpp"
#include "seed_hashes.hpp"
#include "shrink.hpp"
#include "sim/figure8.hpp"
#include "sim/reconfiguration.hpp"
#include "sim/recorded_history.hpp"
#include "trace_page.hpp"

namespace {

using namespace sd;
using namespace sd::sim;
using Clock = std::chrono::steady_clock;

constexpr std::size_t most_printed = 20;  // failures of one class

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class TextLog final : public TraceSink {
 public:
  void line(Time at, std::string_view lane, std::string_view text) override {
    fmt::print("{:>14.6f} ms {:<8} {}\n", static_cast<double>(at) / 1e6, lane, text);
    std::fflush(stdout);
  }
};

class Both final : public TraceSink {
 public:
  Both(TraceSink* first, TraceSink* second) : first_(first), second_(second) {}
  void line(Time at, std::string_view lane, std::string_view text) override {
    if (first_) first_->line(at, lane, text);
    if (second_) second_->line(at, lane, text);
  }
  void message(MachineId from, MachineId to, Time sent, Time arrived, std::size_t bytes) override {
    if (second_) second_->message(from, to, sent, arrived, bytes);
  }

 private:
  TraceSink* first_;
  TraceSink* second_;
};

std::string configuration(std::uint64_t seed, const std::vector<std::string>& overrides) {
  Decisions decisions(seed);
  Config config = draw_config(decisions);
  for (const std::string& word : overrides) apply_override(config, word);
  return to_text(config);
}

void print_report(std::uint64_t seed, const Report& r, double real) {
  fmt::print("seed {}: {}{}{}\n", seed, to_string(r.outcome), r.what.empty() ? "" : ": ", r.what);
  fmt::print(
      "trace hash {:016x}, {} steps, {:.1f} s simulated, {} operations ({} errors), {} sectors checked, {} faults, {} "
      "restarts",
      r.hash, r.steps, static_cast<double>(r.simulated) / 1e9, r.operations, r.errors, r.checked_sectors, r.faults,
      r.restarts);
  if (r.inconclusive > 0) fmt::print(", {} sectors undecided", r.inconclusive);
  if (real > 0)
    fmt::print("; {:.0f} steps/s, {:.0f} times real time", static_cast<double>(r.steps) / real,
               static_cast<double>(r.simulated) / 1e9 / real);
  fmt::print("\n");
}

const SimBugInfo* find_bug(const std::string& name) {
  for (const SimBugInfo& bug : sim_bugs)
    if (bug.name == name) return &bug;
  return nullptr;
}

int one_seed(std::uint64_t seed, const BatchOptions& options, bool log, const std::string& page_file) {
  if (options.bug != SimBug::count) plant(options.bug);
  fmt::print("{}\n", configuration(seed, options.overrides));
  TextLog text;
  TracePage page;
  Both sink(log ? &text : nullptr, page_file.empty() ? nullptr : &page);
  const auto start = Clock::now();
  const Report report = run_seed(seed, options.overrides, log || !page_file.empty() ? &sink : nullptr);
  print_report(seed, report, since(start));
  if (!page_file.empty())
    std::ofstream(page_file) << page.html("seed " + std::to_string(seed) + " " + configuration(seed, options.overrides),
                                          report);
  return static_cast<int>(report.outcome);
}

// How often the seeds reach rare paths. A path that none of them takes must be one that a scenario does.
class ProbeTable {
 public:
  void add(const SeedResult& result) {
    for (std::size_t i = 0; i < std::size(probes); ++i) {
      if ((result.report.probes >> i & 1) == 0) continue;
      if (seeds_[i]++ == 0 || result.seed < first_[i]) first_[i] = result.seed;
    }
  }
  // False if one is missing.
  bool print() const {
    std::size_t never = 0;
    std::size_t missing = 0;
    for (std::size_t i = 0; i < std::size(probes); ++i) {
      const bool of_scenario =
          std::ranges::find(probes_of_scenarios, static_cast<Probe>(i)) != std::end(probes_of_scenarios);
      never += seeds_[i] == 0;
      missing += seeds_[i] == 0 && !of_scenario;
      fmt::print("{:<26} {:<19} {}\n", probes[i].name,
                 seeds_[i] != 0 ? fmt::format("{:>6}, first {:>5}", seeds_[i], first_[i])
                 : of_scenario  ? "a scenario only"
                                : "NEVER",
                 probes[i].what);
    }
    fmt::print("{} of {} probes reached, {} only by scenarios, {} never\n", std::size(probes) - never,
               std::size(probes), never - missing, missing);
    return missing == 0;
  }

 private:
  std::array<std::uint64_t, std::size(probes)> seeds_{};
  std::array<std::uint64_t, std::size(probes)> first_{};
};

int many_seeds(std::uint64_t first, std::uint64_t last, const BatchOptions& options, bool keep_going,
               bool show_probes) {
  const auto start = Clock::now();
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  std::uint64_t simulated = 0;
  std::uint64_t operations = 0;
  std::uint64_t faults = 0;
  std::map<Outcome, std::vector<std::uint64_t>> failures;
  ProbeTable probe_table;
  run_seeds(first, last, options, [&](const SeedResult& result) {
    probe_table.add(result);
    ++runs;
    steps += result.report.steps;
    simulated += result.report.simulated;
    operations += result.report.operations;
    faults += result.report.faults;
    if (result.report.outcome == Outcome::ok) return true;
    failures[result.report.outcome].push_back(result.seed);
    if (failures[result.report.outcome].size() <= most_printed)
      fmt::print("seed {}: {}: {}\n", result.seed, to_string(result.report.outcome), result.report.what);
    std::fflush(stdout);
    return keep_going;
  });
  const double real = since(start);
  fmt::print(
      "{} seeds in {:.1f} s: {:.0f} seeds/min, {:.0f} steps/s, {:.0f} times real time, {} operations, {} faults\n",
      runs, real, 60.0 * static_cast<double>(runs) / real, static_cast<double>(steps) / real,
      static_cast<double>(simulated) / 1e9 / real, operations, faults);
  for (const auto& [outcome, seeds] : failures) {
    fmt::print("{} failures of {}:", seeds.size(), to_string(outcome));
    for (std::size_t i = 0; i < seeds.size() && i < 20; ++i) fmt::print(" {}", seeds[i]);
    fmt::print("\n");
  }
  const bool all_reached = !show_probes || probe_table.print();
  if (!failures.empty()) return static_cast<int>(failures.begin()->first);
  return all_reached ? 0 : static_cast<int>(Outcome::liveness);
}

// How many seeds it takes to catch a planted bug; 0 if none of them does. A seed that fails without the bug proves
// nothing.
std::uint64_t seeds_to_catch(std::uint64_t first, std::uint64_t last, BatchOptions options, const SimBugInfo& bug,
                             Report& report, std::uint64_t& seed) {
  options.bug = bug.id;
  std::uint64_t runs = 0;
  bool caught = false;
  run_seeds(first, last, options, [&](const SeedResult& result) {
    ++runs;
    if (result.report.outcome == Outcome::ok) return true;
    BatchOptions without = options;
    without.bug = SimBug::count;
    if (run_one(result.seed, without).outcome != Outcome::ok) return true;
    caught = true;
    report = result.report;
    seed = result.seed;
    return false;
  });
  return caught ? runs : 0;
}

// A bug that runs of whole clusters cannot reach is looked for by a script, which must notice it and nothing else.
bool try_script(const SimBugInfo& bug) {
  std::string (*script)() = bug.id == SimBug::raft_commit_old_term ? figure8
                            : bug.id == SimBug::raft_config_early  ? early_reconfiguration
                                                                   : nullptr;
  if (!script || !script().empty()) return false;
  plant(bug.id);
  const std::string said = script();
  plant(SimBug::count);
  if (!said.empty()) fmt::print("{:<24} by a script: {}\n", bug.name, said);
  std::fflush(stdout);
  return !said.empty();
}

// Hardly a seed reaches these, and scenarios of their own do (sim/scenario_bugs_test.cpp), or the runs by which they
// were found (sim/world_test.cpp): the unit tests of the debug build run them.
constexpr SimBug of_scenarios[] = {
    SimBug::grant_while_removing,    SimBug::believe_old_reads,  SimBug::lost_copy_untold,
    SimBug::promote_unheard,         SimBug::call_nobody,        SimBug::collect_unread,
    SimBug::tell_unwritten,          SimBug::skip_establish,     SimBug::newer_means_done,
    SimBug::one_incarnation_for_all, SimBug::repeat_incarnation, SimBug::full_counts_as_copy,
    SimBug::keep_unacknowledged,     SimBug::beats_behind_bulk,  SimBug::forget_early,
    SimBug::number_is_disk,          SimBug::keep_orphans};

// These take hundreds of seeds or more: --common leaves them out.
constexpr SimBug rare_bugs[] = {SimBug::apply_before_sync,  SimBug::repair_unchecked,  SimBug::raft_learner_counts,
                                SimBug::repeat_writes,      SimBug::remove_one_by_one, SimBug::old_disk_joins,
                                SimBug::place_under_replay, SimBug::adopt_unwritten,   SimBug::forget_origins,
                                SimBug::purge_once};

int try_bug(std::uint64_t first, std::uint64_t last, const BatchOptions& options, const SimBugInfo& bug) {
  if (try_script(bug)) return 0;
  Report report;
  std::uint64_t seed = 0;
  const auto start = Clock::now();
  const std::uint64_t runs = seeds_to_catch(first, last, options, bug, report, seed);
  if (runs == 0)
    fmt::print("{:<24} NOT CAUGHT in {} seeds ({:.0f} s)\n", bug.name, last - first + 1, since(start));
  else
    fmt::print("{:<24} {:>6} seeds ({:.0f} s), seed {}: {}: {:.120}\n", bug.name, runs, since(start), seed,
               to_string(report.outcome), report.what);
  std::fflush(stdout);
  return runs == 0 ? 1 : 0;
}

int check_determinism(std::uint64_t first, std::uint64_t last, const BatchOptions& options) {
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    const Report a = run_seed(seed, options.overrides, nullptr, true);
    const Report b = run_seed(seed, options.overrides, nullptr, true);
    const auto step = TraceHash::first_difference(a.hashes, b.hashes);
    if (step >= 0 || a.hash != b.hash) {
      fmt::print("seed {}: the two runs differ first at {}\n", seed, TraceHash::difference(a.hashes, b.hashes));
      return static_cast<int>(Outcome::nondeterminism);
    }
    fmt::print("seed {}: {:016x} twice, {} steps\n", seed, a.hash, a.steps);
  }
  return 0;
}

// Runs a seed and writes every choice that it made.
int write_decisions(const std::string& file, std::uint64_t seed, const BatchOptions& options) {
  if (options.bug != SimBug::count) plant(options.bug);
  Decisions decisions(seed);
  decisions.record();
  const Report report = run_decisions(decisions, options.overrides);
  print_report(seed, report, 0);
  std::ofstream out(file);
  out << decisions.text();
  if (!out.flush()) {
    fmt::print(stderr, "cannot write {}\n", file);
    return 1;
  }
  return static_cast<int>(report.outcome);
}

// Runs by the choices of such a file, with the same overrides and planted bug; says so if this program would choose
// otherwise.
int replay_decisions(const std::string& file, const BatchOptions& options) {
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  auto decisions = Decisions::parse(text);
  if (!decisions) {
    fmt::print(stderr, "{} is no log of decisions; --write-decisions writes one\n", file);
    return 1;
  }
  if (options.bug != SimBug::count) plant(options.bug);
  const Report report = run_decisions(*decisions, options.overrides);
  print_report(decisions->seed(), report, 0);
  if (!decisions->diverged()) return static_cast<int>(report.outcome);
  fmt::print("the log does not fit this program or these overrides from {}\n", decisions->divergence());
  return static_cast<int>(Outcome::nondeterminism);
}

// The verdict on what real clients recorded.
int check_history(const std::string& file) {
  std::ifstream opened;
  if (file != "-") {
    opened.open(file);
    if (!opened) {
      fmt::print(stderr, "cannot read {}\n", file);
      return 1;
    }
  }
  const auto start = Clock::now();
  RecordedHistory history;
  history.read(file == "-" ? std::cin : opened);
  if (history.malformed()) {
    fmt::print(stderr, "{}: no history: {}\n", file, *history.malformed());
    return 1;
  }
  Report report;
  if (history.violation()) {
    report.outcome = history.violation()->kind == Violation::Class::durability ? Outcome::durability : Outcome::safety;
    report.what = ": " + history.violation()->what;
  }
  fmt::print("history {}{}\n{}; checked in {:.1f} s\n", to_string(report.outcome), report.what, history.summary(),
             since(start));
  return static_cast<int>(report.outcome);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Runs Sheepdog clusters in a simulated world.\n\nExit: 0 all is well, 1 usage, 10 assertion, 11 safety, 12 "
      "durability, 13 liveness, 14 leak, "
      "15 nondeterminism.");
  std::uint64_t seed = 0;
  std::string range;
  std::string bug_name;
  std::string page_file;
  std::string regression_file;
  std::string replay_file;
  std::string history_file;
  std::string decisions_to_write;
  std::string decisions_to_replay;
  std::string hashes_to_write;
  std::string hashes_to_compare;
  BatchOptions options;
  bool log = false;
  bool determinism = false;
  bool bugs = false;
  bool common_bugs = false;
  bool show_probes = false;
  bool do_shrink = false;
  bool stop_at_first = false;
  bool keep = false;
  bool epochs = false;
  auto* seed_option = app.add_option("--seed", seed, "run one seed");
  auto* range_option = app.add_option("--seeds", range, "run many: A..B");
  app.add_option("--jobs", options.jobs, "processes for --seeds")->check(CLI::Range(1, 64));
  app.add_option("--timeout", options.seconds_per_seed, "seconds of real time for a seed");
  app.add_flag("--first", stop_at_first, "with --seeds: stop at the first failure");
  app.add_flag("--check-determinism", determinism, "run each seed twice and compare every step");
  app.add_option("--write-hashes", hashes_to_write, "with --seeds: write the trace hash of each to this file");
  app.add_option("--compare-hashes", hashes_to_compare,
                 "with --seeds: compare their traces with those that --write-hashes wrote");
  app.add_option("--write-decisions", decisions_to_write, "with --seed: write every random choice of the run");
  app.add_option("--replay-decisions", decisions_to_replay, "run by the choices that --write-decisions wrote");
  app.add_option("--bug", bug_name, "plant this bug; with --seeds, say how many seeds catch it");
  app.add_flag("--bugs", bugs, "with --seeds: try every planted bug");
  app.add_flag("--common", common_bugs, "with --bugs: leave out those that take hundreds of seeds");
  app.add_flag("--probes", show_probes,
               "with --seeds: also how many of them reach each rare path of the machines; fails if one is never "
               "reached that no scenario takes");
  app.add_flag("--shrink", do_shrink, "with --seed: make the failing run smaller and write a regression file");
  app.add_flag("--keep", keep, "with --seed: write its configuration, every field, as a regression file");
  app.add_option("--out", regression_file,
                 "where --shrink and --keep write (default: sim/regressions/OUTCOME-SEED.txt)");
  app.add_option("--replay", replay_file, "run a regression file");
  app.add_option("--check-history", history_file,
                 "judge what real clients recorded (sim/recorded_history.hpp has the format); - is standard input");
  app.add_option("--trace", page_file, "with --seed: write the run as a web page");
  app.add_flag("--epoch-costs", epochs, "measure what a change of the cluster costs a node, at 10, 50 and 200 members");
  app.add_flag("--log", log, "with --seed: print every event");
  app.add_option(
      "overrides", options.overrides,
      "key=value: nodes, gateways, copies, zones, vdis, guests, ops, depth, regions, chaos_ms, gap_ms, length_ms, "
      "final_power, check_every; faults=a,b or none; mix=a,b");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  if (epochs) return measure_epochs();
  if (!history_file.empty()) return check_history(history_file);
  if (!replay_file.empty()) {
    std::ifstream in(replay_file);
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("seed "))
        seed = std::stoull(line.substr(5));
      else if (!line.empty() && line[0] != '#')
        options.overrides.push_back(line);
    }
  }
  Config scratch;
  for (const std::string& word : options.overrides)
    if (!apply_override(scratch, word) && word.find('=') == std::string::npos) {
      fmt::print(stderr, "not understood: {}\n", word);
      return 1;
    }
  const SimBugInfo* bug = nullptr;
  if (!bug_name.empty()) {
    bug = find_bug(bug_name);
    if (!bug) {
      fmt::print(stderr, "no such bug; there are:\n");
      for (const SimBugInfo& known : sim_bugs) fmt::print(stderr, "  {:<24} {}\n", known.name, known.what);
      return 1;
    }
  }
  if ((bug || bugs) && !plant(SimBug::count)) {
    fmt::print(stderr, "this build has no planted bugs; configure with SD_SIM_BUGS=ON\n");
    return 1;
  }
  if (*range_option) {
    const std::size_t dots = range.find("..");
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    try {
      first = std::stoull(range.substr(0, dots));
      last = dots == std::string::npos ? first : std::stoull(range.substr(dots + 2));
    } catch (const std::exception&) {
      fmt::print(stderr, "--seeds wants A..B\n");
      return 1;
    }
    if (show_probes && !plant(SimBug::count)) {
      fmt::print(stderr, "this build has no probes; configure with SD_SIM_BUGS=ON\n");
      return 1;
    }
    if (determinism) return check_determinism(first, last, options);
    if (!hashes_to_write.empty()) return write_hashes(hashes_to_write, first, last, options);
    if (!hashes_to_compare.empty()) return compare_hashes(hashes_to_compare, first, last, options);
    if (bug) return try_bug(first, last, options, *bug);
    if (bugs) {
      int missed = 0;
      std::size_t tried = 0;
      for (const SimBugInfo& each : sim_bugs) {
        const bool scenario = std::ranges::find(of_scenarios, each.id) != std::end(of_scenarios);
        const bool rare = std::ranges::find(rare_bugs, each.id) != std::end(rare_bugs);
        if (each.id == SimBug::count || scenario || (rare && common_bugs)) continue;
        ++tried;
        missed += try_bug(first, last, options, each);
      }
      fmt::print("{} of {} planted bugs caught\n", tried - static_cast<std::size_t>(missed), tried);
      return missed == 0 ? 0 : 1;
    }
    return many_seeds(first, last, options, !stop_at_first, show_probes);
  }
  if (bug) options.bug = bug->id;
  if (!decisions_to_replay.empty()) return replay_decisions(decisions_to_replay, options);
  if (!*seed_option && replay_file.empty()) {
    fmt::print("{}", app.help());
    return 1;
  }
  if (determinism) return check_determinism(seed, seed, options);
  if (!decisions_to_write.empty()) return write_decisions(decisions_to_write, seed, options);
  if (keep) {
    if (regression_file.empty()) regression_file = fmt::format("sim/regressions/seed-{}.txt", seed);
    Decisions decisions(seed);
    Config config = draw_config(decisions);
    for (const std::string& word : options.overrides) apply_override(config, word);
    std::ofstream(regression_file) << regression_text(seed, config);
    fmt::print("written to {}\n", regression_file);
    return 0;
  }
  if (do_shrink) {
    const Report report = run_one(seed, options);
    print_report(seed, report, 0);
    if (report.outcome == Outcome::ok) return 0;
    const Shrunk shrunk = shrink(seed, options, report, [](const std::string& text) {
      fmt::print("  {}\n", text);
      std::fflush(stdout);
    });
    if (regression_file.empty())
      regression_file = fmt::format("sim/regressions/{}-{}.txt", to_string(shrunk.report.outcome), shrunk.seed);
    std::ofstream(regression_file) << regression_text(shrunk);
    print_report(shrunk.seed, shrunk.report, 0);
    fmt::print("{} runs; written to {}\n", shrunk.tries, regression_file);
    return static_cast<int>(shrunk.report.outcome);
  }
  return one_seed(seed, options, log, page_file);
}
