// shepherd: a witness. Holds a vote in the cluster log and nothing else, so that two storing nodes survive the loss of one. Joins a cluster
// like any sheep; `dog` may be pointed at it.
#include <fmt/format.h>
#include <sys/random.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <ctime>

#include "runtime/address.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/log.hpp"
#include "runtime/loop.hpp"

namespace {

constexpr int exit_cannot_start = 2, exit_usage = 64;

struct Arguments {
  std::string directory = "/var/lib/shepherd", listen = "0.0.0.0:7100", advertise, log_level = "info", log_file;
  std::vector<std::string> seeds;
  std::uint32_t zone = 0, heartbeat_timeout_ms = 3000, heartbeat_interval_ms = 100;
  bool has_zone = false;
};

int cannot_start(const std::string& why) {
  fmt::print(stderr, "shepherd: {}\n", why);
  return exit_cannot_start;
}

void define(CLI::App& app, Arguments& a) {
  app.set_version_flag("--version", std::string("shepherd 0.1.0"));
  app.footer(
      "Example, two sheep on 10.0.0.1 and 10.0.0.2, and a witness on a third machine:\n"
      "  shepherd -l 10.0.0.3:7100 --seed 10.0.0.1:7000 --seed 10.0.0.2:7000 /var/lib/shepherd\n"
      "It needs some megabytes of disk for its copy of the cluster log, and little else. It never holds data of disks.");
  app.add_option("DIR", a.directory, "Directory for its copy of the cluster log; created if missing")->capture_default_str();
  app.add_option("-l,--listen", a.listen, "ADDR:PORT for clients (dog); other nodes connect to the next port")->capture_default_str();
  app.add_option("-y,--advertise", a.advertise, "ADDR[:PORT] at which others reach it (default: the listening address, or this machine's first)");
  app.add_option("--seed", a.seeds, "HOST:PORT of a node of the cluster to join; may be repeated")->required()->allow_extra_args(false);
  app.add_option_function<std::uint32_t>("-z,--zone", [&a](const std::uint32_t& zone) { a.zone = zone, a.has_zone = true; },
                                         "Failure zone; votes go to different zones (default: from the address)");
  app.add_option("--heartbeat-timeout", a.heartbeat_timeout_ms, "As of the sheep, ms")->capture_default_str()->check(CLI::Range(300, 600000));
  app.add_option("--heartbeat-interval", a.heartbeat_interval_ms, "As of the sheep, ms")->capture_default_str()->check(CLI::Range(10, 60000));
  app.add_option("--log-level", a.log_level, "debug, info, warning or error")->capture_default_str()->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_option("--log-file", a.log_file, "Write the log there instead of the terminal");
}

std::expected<sd::runtime::LoopOptions, std::string> loop_options(const Arguments& a) {
  using namespace sd::runtime;
  LoopOptions o;
  auto listen = parse_address(a.listen, 7100);
  if (!listen) return std::unexpected(listen.error());
  o.client = *listen;
  o.node.address = o.client;
  if (!a.advertise.empty()) {
    auto advertised = parse_address(a.advertise, o.client.port);
    if (!advertised) return std::unexpected(advertised.error());
    o.node.address = *advertised;
  } else if (is_unspecified(o.client)) {
    o.node.address = first_own_address(o.client.port).value_or(sd::Endpoint::v4(127, 0, 0, 1, o.client.port));
  }
  for (const std::string& text : a.seeds) {
    auto seed = parse_address(text, 7000);
    if (!seed) return std::unexpected(seed.error());
    o.node.seeds.push_back(*seed);
  }
  o.node.vnodes = 0;
  o.node.witness = true;
  o.node.zone = a.has_zone ? a.zone : default_zone(o.node.address);
  o.node.lease = sd::milliseconds(a.heartbeat_timeout_ms);
  o.node.lease_margin = o.node.lease / 20;
  o.node.raft_heartbeat = sd::milliseconds(a.heartbeat_interval_ms);
  o.node.election_timeout_min = 5 * o.node.raft_heartbeat;
  o.node.election_timeout_max = 10 * o.node.raft_heartbeat;
  o.node.journal_bytes = 4u << 20;
  o.node.apply_bytes = 1u << 20;
  o.node.max_dirty_bytes = 2u << 20;
  if (::getrandom(&o.random_seed, sizeof o.random_seed, 0) != sizeof o.random_seed)
    o.random_seed = static_cast<std::uint64_t>(::time(nullptr)) << 20 ^ static_cast<std::uint64_t>(::getpid());
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("shepherd: a witness of a Sheepdog cluster. Votes, and holds no data.", "shepherd");
  Arguments a;
  define(app, a);
  try {
    app.parse(argc, argv);
    if (a.heartbeat_timeout_ms < 10 * a.heartbeat_interval_ms)
      throw CLI::ValidationError("--heartbeat-timeout", fmt::format("must be at least ten heartbeat intervals ({} ms)", 10 * a.heartbeat_interval_ms));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  std::signal(SIGPIPE, SIG_IGN);
  auto options = loop_options(a);
  if (!options) return cannot_start(options.error());
  using Level = sd::runtime::Log::Level;
  const Level level = a.log_level == "debug" ? Level::debug : a.log_level == "warning" ? Level::warning : a.log_level == "error" ? Level::error : Level::info;
  auto log = sd::runtime::Log::open(level, a.log_file);
  if (!log) return cannot_start(log.error());
  auto directory = sd::runtime::DataDirectory::open(a.directory, {});
  if (!directory) return cannot_start(directory.error());
  options->disk.directory = directory->path();
  options->disk.journal_directory = directory->journal_path();
  options->node.max_streams = std::min<std::size_t>(options->node.max_streams, sd::runtime::raise_open_file_limit() / 2);
  const sd::NodeOptions node = options->node;
  auto loop = sd::runtime::Loop::create(std::move(*options), *log);
  if (!loop) return cannot_start(loop.error());
  log->info(fmt::format("shepherd {} keeps the cluster log in {} (zone {})", sd::to_string(node.address), directory->path(), node.zone));
  const int code = (*loop)->run();
  log->flush();
  if (code != 0) std::_Exit(code);  // operations may hang: the kernel cleans up
  return 0;
}
