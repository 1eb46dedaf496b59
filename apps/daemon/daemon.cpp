#include "apps/daemon/daemon.hpp"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>

#include "runtime/address.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/log.hpp"

namespace sd::daemon {

CLI::Option* define(CLI::App& app, Arguments& a) {
  app.add_option(
      "-y,--advertise", a.advertise,
      "ADDR[:PORT] at which others reach this node (default: the listening address, or this machine's first)");
  app.add_option_function<std::uint32_t>(
      "-z,--zone", [&a](const std::uint32_t& zone) { a.zone = zone, a.has_zone = true; },
      "Failure zone; copies and votes go to different zones (default: from the address)");
  app.add_option("--heartbeat-timeout", a.heartbeat_timeout_ms, "A node silent for this long is taken out, ms")
      ->capture_default_str()
      ->check(CLI::Range(300, 600000));
  app.add_option("--heartbeat-interval", a.heartbeat_interval_ms, "Time between heartbeats, ms")
      ->capture_default_str()
      ->check(CLI::Range(10, 60000));
  app.add_option("--log-file", a.log_file, "Write the log there instead of the terminal");
  return app.add_option("--seed", a.seeds, "HOST:PORT of a node of the cluster to join; may be repeated")
      ->allow_extra_args(false);
}

std::optional<int> parse(CLI::App& app, int argc, char** argv, const Arguments& a, const std::function<void()>& check) {
  try {
    app.parse(argc, argv);
    if (a.heartbeat_timeout_ms < 10 * a.heartbeat_interval_ms)
      throw CLI::ValidationError("--heartbeat-timeout", fmt::format("must be at least ten heartbeat intervals ({} ms)",
                                                                    10 * a.heartbeat_interval_ms));
    if (check) check();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    fmt::print(stderr, "{0}: {1}; see {0} --help\n", app.get_name(), error.what());
    return exit_usage;
  }
  return std::nullopt;
}

std::expected<runtime::LoopOptions, std::string> loop_options(const Arguments& a, const Endpoint& client) {
  using namespace sd::runtime;
  LoopOptions o;
  o.client = client;
  o.node.address = client;
  if (!a.advertise.empty()) {
    auto advertised = parse_address(a.advertise, client.port);
    if (!advertised) return std::unexpected(advertised.error());
    if (is_unspecified(*advertised))
      return std::unexpected(a.advertise + " is no address others can reach: give --advertise a specific one");
    o.node.address = *advertised;
  } else if (is_unspecified(client)) {
    o.node.address = first_own_address(client.port).value_or(Endpoint::v4(127, 0, 0, 1, client.port));
  }
  for (const std::string& text : a.seeds) {
    auto seed = parse_address(text, 7000);
    if (!seed) return std::unexpected(seed.error());
    o.node.seeds.push_back(*seed);
  }
  o.node.zone = a.has_zone ? a.zone : default_zone(o.node.address);
  o.node.lease = milliseconds(a.heartbeat_timeout_ms);
  o.node.lease_margin = o.node.lease / 20;  // clocks drift by much less than these 5%
  o.node.raft_heartbeat = milliseconds(a.heartbeat_interval_ms);
  o.node.election_timeout_min = 5 * o.node.raft_heartbeat;
  o.node.election_timeout_max = 10 * o.node.raft_heartbeat;
  o.random_seed = fresh_seed();
  return o;
}

std::uint64_t fresh_seed() {
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed)
    seed = static_cast<std::uint64_t>(::time(nullptr)) << 20 ^ static_cast<std::uint64_t>(::getpid());
  return seed;
}

int run(const std::string& program, const Arguments& a, std::expected<runtime::LoopOptions, std::string> options,
        const std::function<std::string(const NodeOptions& node, const std::string& directory)>& describe) {
  const auto cannot_start = [&](const std::string& why) {
    fmt::print(stderr, "{}: {}\n", program, why);
    return exit_cannot_start;
  };
  if (!options) return cannot_start(options.error());
  std::signal(SIGPIPE, SIG_IGN);
  using runtime::Log;
  const Log::Level level = a.log_level == "debug"     ? Log::Level::debug
                           : a.log_level == "warning" ? Log::Level::warning
                           : a.log_level == "error"   ? Log::Level::error
                                                      : Log::Level::info;
  auto log = Log::open(level, a.log_file);
  if (!log) return cannot_start(log.error());
  auto directory = runtime::DataDirectory::open(a.directory, a.journal);
  if (!directory) return cannot_start(directory.error());
  options->disk.directory = directory->path();
  options->disk.journal_directory = directory->journal_path();

  // Open files are shared out between objects (two descriptors each with O_DIRECT) and connections.
  const std::size_t files = runtime::raise_open_file_limit();
  options->disk.max_open_files = std::min<std::size_t>(512, files / 8);
  options->node.max_streams = std::min<std::size_t>(options->node.max_streams, files / 2);

  const std::string first_line = describe(options->node, directory->path());
  auto loop = runtime::Loop::create(std::move(*options), *log);
  if (!loop) return cannot_start(loop.error());
  log->info(first_line);
  const int code = (*loop)->run();
  log->flush();
  if (code != 0) std::_Exit(code);  // operations may hang: the kernel cleans up
  return 0;
}

}  // namespace sd::daemon
