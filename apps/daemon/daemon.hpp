// What the programs that run a node share (sheep, shepherd): options that mean the same in each, and the way from a
// command line to a running loop.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/loop.hpp"

namespace sd::daemon {

inline constexpr int exit_cannot_start = 2, exit_usage = 64;
// For --help.
inline constexpr std::string_view exit_codes =
    "Exit code: 0 stopped; 1 stopped in a hurry; 2 cannot start; 3 gave up (the log says why: its disk failed, its "
    "files are damaged or older\n"
    "than what the cluster knows, or the cluster went on without it); 64 wrong usage.";

struct Arguments {
  std::string directory, journal, advertise, log_level = "info", log_file;
  std::vector<std::string> seeds;
  std::uint32_t zone = 0, heartbeat_timeout_ms = 3000, heartbeat_interval_ms = 100;
  bool has_zone = false;
};

// Adds the options that fill `arguments`, except for the directory and the journal. Returns the one named --seed.
CLI::Option* define(CLI::App& app, Arguments& arguments);

// Parses. Returns nothing if the program is to go on, else its exit code: 0 after --help, exit_usage after a complaint.
// `check` throws a CLI::ValidationError about options that do not go together.
std::optional<int> parse(CLI::App& app, int argc, char** argv, const Arguments& arguments,
                         const std::function<void()>& check = {});

// The loop's options as far as they follow from `arguments`, for a node whose clients come to `client`. The error is a
// sentence for the user.
std::expected<runtime::LoopOptions, std::string> loop_options(const Arguments& arguments, const Endpoint& client);

// A random number from the operating system.
std::uint64_t fresh_seed();

// Takes the data directory, shares out this process's open files, runs the loop until it ends; returns the exit code.
// `describe` gives the log's first line. Prints under the name `program` why it cannot start. Does not return when
// operations hang.
int run(const std::string& program, const Arguments& arguments,
        std::expected<runtime::LoopOptions, std::string> options,
        const std::function<std::string(const NodeOptions& node, const std::string& directory)>& describe);

}  // namespace sd::daemon
