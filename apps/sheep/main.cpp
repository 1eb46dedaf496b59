// sheep: the storage daemon. Reads the command line, opens the data directory, runs one loop.
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

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
  std::string directory, bind_address = "0.0.0.0", advertise, journal, log_level = "info", log_file, io_engine = "auto", cluster_driver = "sdcluster",
              nbd_socket;
  std::uint16_t port = 7000, nbd_port = 10809, vnodes = 128;
  std::uint32_t copies = 0, zone = 0, heartbeat_timeout_ms = 3000, heartbeat_interval_ms = 100;
  std::uint64_t journal_mb = 256, random_seed = 0;
  std::vector<std::string> seeds;
  bool gateway = false, direct = false, nbd = false, has_zone = false, has_seed = false;
};

int cannot_start(const std::string& why) {
  fmt::print(stderr, "sheep: {}\n", why);
  return exit_cannot_start;
}

void define(CLI::App& app, Arguments& a) {
  app.set_version_flag("--version", std::string("sheep 0.1.0"));
  app.footer(
      "Example, three nodes on one machine, and a disk for QEMU:\n"
      "  sheep -b 127.0.0.1 -p 7000 --nbd /var/lib/sheep/0\n"
      "  sheep -b 127.0.0.1 -p 7010 --seed 127.0.0.1:7000 /var/lib/sheep/1\n"
      "  sheep -b 127.0.0.1 -p 7020 --seed 127.0.0.1:7000 /var/lib/sheep/2\n"
      "  dog cluster format --copies 3 && dog vdi create disk 10G\n"
      "  qemu-system-x86_64 -drive file=nbd://127.0.0.1:10809/disk,format=raw,if=virtio\n"
      "Port PORT serves clients, PORT + 1 the other nodes.\n"
      "Exit code: 0 stopped, 1 stopped in a hurry, 2 cannot start, 3 gave up (its disk failed or its files are damaged), 64 wrong usage.");
  app.add_option("DIR", a.directory, "Directory for this node's data; created if missing")->required();
  app.add_option("-b,--bind-addr", a.bind_address, "Address to listen on")->capture_default_str();
  app.add_option("-p,--port", a.port, "Client port; other nodes connect to the next one")->capture_default_str()->check(CLI::Range(1, 65534));
  app.add_option("-y,--advertise", a.advertise, "ADDR[:PORT] at which others reach this node (default: the bind address, or this machine's first)");
  app.add_flag("-g,--gateway", a.gateway, "Serve clients but store no data");
  app.add_option("-c,--copies", a.copies, "Copies kept of each object unless a format or disk names another number")->check(CLI::Range(1, 31));
  app.add_option_function<std::uint32_t>("-z,--zone", [&a](const std::uint32_t& zone) { a.zone = zone, a.has_zone = true; },
                                         "Failure zone; copies go to different zones (default: from the address)");
  app.add_option("-v,--vnodes", a.vnodes, "Weight of this node: its share of the data")->capture_default_str()->check(CLI::Range(1, 65535));
  app.add_option("-j,--journal", a.journal, "Directory for the journal (default: inside DIR)");
  app.add_option("--journal-size", a.journal_mb, "Size of the journal, MB")->capture_default_str()->check(CLI::Range(32, 1 << 20));
  app.add_option("-l,--log-level", a.log_level, "debug, info, warning or error")->capture_default_str()->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_option("--log-file", a.log_file, "Write the log there instead of the terminal");
  app.add_flag("--directio", a.direct, "Bypass the page cache for objects and journal");
  app.add_option("--io-engine", a.io_engine, "auto, uring or threads")->capture_default_str()->check(CLI::IsMember({"auto", "uring", "threads"}));
  app.add_option("--cluster-driver", a.cluster_driver, "sdcluster: a cluster of many nodes; local: this node alone")
      ->capture_default_str()
      ->check(CLI::IsMember({"sdcluster", "local"}));
  app.add_option("--seed", a.seeds, "HOST:PORT of a node of the cluster to join; may be repeated")->allow_extra_args(false);
  app.add_flag("--nbd", a.nbd, "Serve disks over NBD");
  app.add_option("--nbd-port", a.nbd_port, "Port for NBD")->capture_default_str()->check(CLI::Range(1, 65535));
  app.add_option("--nbd-socket", a.nbd_socket, "Serve NBD on this Unix socket too");
  app.add_option("--heartbeat-timeout", a.heartbeat_timeout_ms, "A node silent for this long is taken out, ms")->capture_default_str()->check(CLI::Range(300, 600000));
  app.add_option("--heartbeat-interval", a.heartbeat_interval_ms, "Time between heartbeats, ms")->capture_default_str()->check(CLI::Range(10, 60000));
  app.add_option_function<std::uint64_t>("--random-seed", [&a](const std::uint64_t& seed) { a.random_seed = seed, a.has_seed = true; })->group("");
}

std::uint64_t fresh_seed() {
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed)
    seed = static_cast<std::uint64_t>(::time(nullptr)) << 20 ^ static_cast<std::uint64_t>(::getpid());
  return seed;
}

std::expected<sd::runtime::LoopOptions, std::string> loop_options(const Arguments& a) {
  sd::runtime::LoopOptions o;
  auto bind = sd::runtime::parse_address(a.bind_address, a.port);
  if (!bind) return std::unexpected(bind.error());
  o.client = *bind;
  o.client.port = a.port;
  if (!a.advertise.empty()) {
    auto advertised = sd::runtime::parse_address(a.advertise, a.port);
    if (!advertised) return std::unexpected(advertised.error());
    if (sd::runtime::is_unspecified(*advertised)) return std::unexpected(a.advertise + " is no address others can reach: give --advertise a specific one");
    o.node.address = *advertised;
  } else {
    o.node.address = o.client;
    if (sd::runtime::is_unspecified(o.client)) o.node.address = sd::runtime::first_own_address(a.port).value_or(sd::Endpoint::v4(127, 0, 0, 1, a.port));
  }
  for (const std::string& text : a.seeds) {
    auto seed = sd::runtime::parse_address(text, 7000);
    if (!seed) return std::unexpected(seed.error());
    o.node.seeds.push_back(*seed);
  }
  o.node.local_only = a.cluster_driver == "local";
  o.listen_peers = !o.node.local_only;
  o.node.zone = a.has_zone ? a.zone : sd::runtime::default_zone(o.node.address);
  o.node.vnodes = a.gateway ? 0 : a.vnodes;
  o.node.default_copies = static_cast<std::uint8_t>(a.copies);
  o.node.lease = sd::milliseconds(a.heartbeat_timeout_ms);
  o.node.lease_margin = o.node.lease / 20;  // clocks drift by much less than these 5%
  o.node.raft_heartbeat = sd::milliseconds(a.heartbeat_interval_ms);
  o.node.election_timeout_min = 5 * o.node.raft_heartbeat;
  o.node.election_timeout_max = 10 * o.node.raft_heartbeat;
  o.node.journal_bytes = a.journal_mb << 20;
  o.random_seed = a.has_seed ? a.random_seed : fresh_seed();
  o.disk.direct = a.direct;
  using sd::runtime::DiskEngineKind;
  o.disk.engine = a.io_engine == "uring" ? DiskEngineKind::uring : a.io_engine == "threads" ? DiskEngineKind::threads : DiskEngineKind::automatic;
  if (a.nbd) {
    o.nbd = o.client;
    o.nbd->port = a.nbd_port;
  }
  o.nbd_socket = a.nbd_socket;
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("sheep: one node of a distributed block store. Serves virtual disks to QEMU and other NBD clients.", "sheep");
  Arguments a;
  define(app, a);
  try {
    app.parse(argc, argv);
    if (a.heartbeat_timeout_ms < 10 * a.heartbeat_interval_ms)
      throw CLI::ValidationError("--heartbeat-timeout", fmt::format("must be at least ten heartbeat intervals ({} ms)", 10 * a.heartbeat_interval_ms));
    if (a.cluster_driver == "local" && !a.seeds.empty())
      throw CLI::ValidationError("--seed", "has no meaning with --cluster-driver local: leave one of them out");
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
  auto directory = sd::runtime::DataDirectory::open(a.directory, a.journal);
  if (!directory) return cannot_start(directory.error());
  options->disk.directory = directory->path();
  options->disk.journal_directory = directory->journal_path();

  // Open files are shared out between objects (two descriptors each with O_DIRECT) and connections.
  const std::size_t files = sd::runtime::raise_open_file_limit();
  options->disk.max_open_files = std::min<std::size_t>(512, files / 8);
  options->node.max_streams = std::min<std::size_t>(options->node.max_streams, files / 2);

  const sd::NodeOptions node = options->node;
  auto loop = sd::runtime::Loop::create(std::move(*options), *log);
  if (!loop) return cannot_start(loop.error());
  log->info(fmt::format("sheep {} serves {} (zone {}, {}); unapplied writes take at most {} MB of memory", sd::to_string(node.address), directory->path(),
                        node.zone, node.vnodes == 0 ? std::string("gateway") : fmt::format("{} vnodes", node.vnodes), node.max_dirty_bytes >> 20));
  const int code = (*loop)->run();
  log->flush();
  if (code != 0) std::_Exit(code);  // operations may hang: the kernel cleans up
  return 0;
}
