// sheep: the storage daemon. Reads the command line, opens the data directory, runs one loop.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <optional>

#include "apps/daemon/daemon.hpp"
#include "runtime/address.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/seeds.hpp"

namespace {

struct Arguments : sd::daemon::Arguments {
  std::string bind_address = "0.0.0.0", io_engine = "auto", cluster_driver = "sdcluster", nbd_socket;
  std::string guessed_from;  // the interface whose address is advertised; empty: nothing was guessed
  std::uint16_t port = 7000, nbd_port = 10809, vnodes = 128;
  std::uint32_t disk_timeout_s = 20;
  std::uint32_t copies = 0;
  std::uint64_t journal_mb = 256, random_seed = 0;
  mode_t nbd_socket_mode = 0600;
  bool gateway = false, direct = false, nbd = false, has_seed = false, existing = false;
};

std::optional<mode_t> octal(std::string_view text) {
  mode_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || end != text.data() + text.size() || mode > 0777) return std::nullopt;
  return mode;
}

void define(CLI::App& app, Arguments& a) {
  app.set_version_flag("--version", std::string("sheep 0.1.0"));
  app.footer(
      "Example, three nodes on one machine, and a disk for QEMU:\n"
      "  sheep -b 127.0.0.1 -p 7000 --nbd /var/lib/sheep0\n"
      "  sheep -b 127.0.0.1 -p 7010 --seed 127.0.0.1:7000 /var/lib/sheep1\n"
      "  sheep -b 127.0.0.1 -p 7020 --seed 127.0.0.1:7000 /var/lib/sheep2\n"
      "  dog cluster format --copies 3 && dog vdi create disk 10G\n"
      "  qemu-system-x86_64 -drive file=nbd://127.0.0.1:10809/disk,format=raw,if=virtio\n"
      "Port PORT serves clients, PORT + 1 the other nodes.\n" +
      std::string(sd::daemon::exit_codes));
  app.add_option("DIR", a.directory, "Directory for this node's data; created if missing; its parent must exist")
      ->required();
  app.add_flag("--existing", a.existing,
               "Refuse to start unless DIR holds a node already: its disk may not be mounted");
  app.add_option("-b,--bind-addr", a.bind_address, "Address to listen on")->capture_default_str();
  app.add_option("-p,--port", a.port, "Client port; other nodes connect to the next one")
      ->capture_default_str()
      ->check(CLI::Range(1, 65534));
  app.add_flag("-g,--gateway", a.gateway, "Serve clients but store no data");
  app.add_option("-c,--copies", a.copies, "Copies kept of each object unless a format or disk names another number")
      ->check(CLI::Range(1, 31));
  app.add_option("-v,--vnodes", a.vnodes, "Weight of this node: its share of the data")
      ->capture_default_str()
      ->check(CLI::Range(1, 65535));
  app.add_option("-j,--journal", a.journal, "Directory for the journal (default: inside DIR)");
  app.add_option("--journal-size", a.journal_mb, "Size of the journal, MB")
      ->capture_default_str()
      ->check(CLI::Range(32, 1 << 20));
  app.add_option("--disk-timeout", a.disk_timeout_s,
                 "A disk that does not answer for so many seconds counts as failed, and the node stops")
      ->capture_default_str()
      ->check(CLI::Range(6, 86400));
  app.add_option("-l,--log-level", a.log_level, "debug, info, warning or error")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_flag("--directio", a.direct, "Bypass the page cache for objects and journal");
  app.add_option("--io-engine", a.io_engine, "auto, uring or threads")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "uring", "threads"}));
  app.add_option("--cluster-driver", a.cluster_driver, "sdcluster: a cluster of many nodes; local: this node alone")
      ->capture_default_str()
      ->check(CLI::IsMember({"sdcluster", "local"}));
  app.add_flag("--nbd", a.nbd, "Serve disks over NBD");
  app.add_option("--nbd-port", a.nbd_port, "Port for NBD")->capture_default_str()->check(CLI::Range(1, 65535));
  app.add_option("--nbd-socket", a.nbd_socket, "Serve NBD on this Unix socket too");
  app.add_option_function<std::string>(
         "--nbd-socket-mode", [&a](const std::string& mode) { a.nbd_socket_mode = octal(mode).value_or(0600); },
         "Mode of that socket, octal: who may write to it may use every disk")
      ->default_str("0600")
      ->check([](const std::string& mode) {
        return octal(mode) ? std::string() : mode + " is no mode: give one such as 0660";
      });
  app.add_option_function<std::uint64_t>("--random-seed",
                                         [&a](const std::uint64_t& seed) { a.random_seed = seed, a.has_seed = true; })
      ->group("");
  sd::daemon::define(app, a);
}

void check(const CLI::App& app, const Arguments& a) {
  if (app.count("--nbd-socket-mode") > 0 && a.nbd_socket.empty())
    throw CLI::ValidationError("--nbd-socket-mode", "has no meaning without --nbd-socket");
  if (a.cluster_driver == "local" && !a.seeds.empty())
    throw CLI::ValidationError("--seed", "has no meaning with --cluster-driver local: leave one of them out");
}

// Names of seeds may be served by what runs on this very cluster. A node that knows its members starts without; any
// other one needs at least one seed, or it would begin a cluster of its own.
std::expected<sd::runtime::Seeds, std::string> resolve_seeds(const Arguments& a) {
  const bool member = sd::runtime::knows_cluster(a.directory);
  auto seeds = sd::runtime::resolve_seeds(a.seeds, 7000, member ? std::chrono::seconds(5) : std::chrono::minutes(5));
  if (seeds && !member && seeds->found.empty() && !seeds->failed.empty()) return std::unexpected(seeds->failed.front());
  return seeds;
}

// Others must reach this node, so it needs an address of its own even if it listens on all of them.
std::expected<void, std::string> guess_address(Arguments& a, const sd::Endpoint& client) {
  if (!sd::runtime::is_unspecified(client) || !a.advertise.empty() || a.cluster_driver == "local") return {};
  const auto guess = sd::runtime::guess_address(sd::runtime::own_addresses(), a.port, !a.seeds.empty());
  if (!guess) return std::unexpected(guess.error());
  a.advertise = sd::to_string(guess->endpoint);
  a.guessed_from = guess->interface;
  return {};
}

std::expected<sd::runtime::LoopOptions, std::string> loop_options(Arguments& a) {
  if (a.existing)
    if (auto ok = sd::runtime::check_existing(a.directory, a.journal); !ok) return std::unexpected(ok.error());
  auto client = sd::runtime::parse_address(a.bind_address, a.port);
  if (!client) return std::unexpected(client.error());
  client->port = a.port;
  if (auto ok = guess_address(a, *client); !ok) return std::unexpected(ok.error());
  auto seeds = resolve_seeds(a);
  if (!seeds) return std::unexpected(seeds.error());
  sd::daemon::Arguments without_seeds = a;
  without_seeds.seeds.clear();
  auto o = sd::daemon::loop_options(without_seeds, *client);
  if (!o) return o;
  o->node.seeds = std::move(seeds->found);
  o->unresolved_seeds = std::move(seeds->failed);
  // A node without seeds begins a cluster if its log is empty. One that was given some never does.
  if (o->node.seeds.empty() && !o->unresolved_seeds.empty()) o->node.seeds.push_back(o->node.address);
  o->node.local_only = a.cluster_driver == "local";
  o->listen_peers = !o->node.local_only;
  o->node.vnodes = a.gateway ? 0 : a.vnodes;
  o->node.disk_patience = sd::seconds(a.disk_timeout_s);
  o->node.default_copies = static_cast<std::uint8_t>(a.copies);
  o->node.journal_bytes = a.journal_mb << 20;
  if (a.has_seed) o->random_seed = a.random_seed;
  o->disk.direct = a.direct;
  using sd::runtime::DiskEngineKind;
  o->disk.engine = a.io_engine == "uring"     ? DiskEngineKind::uring
                   : a.io_engine == "threads" ? DiskEngineKind::threads
                                              : DiskEngineKind::automatic;
  if (a.nbd) {
    o->nbd = *client;
    o->nbd->port = a.nbd_port;
  }
  o->nbd_socket = a.nbd_socket;
  o->nbd_socket_mode = a.nbd_socket_mode;
  return o;
}

std::string describe(const Arguments& a, const sd::NodeOptions& node, const std::string& directory) {
  const std::string guess =
      a.guessed_from.empty() ? "" : fmt::format(" (a guess: {} has it; --advertise names another)", a.guessed_from);
  return fmt::format("sheep {}{} serves {} (zone {}, {}); unapplied writes take at most {} MB of memory",
                     sd::to_string(node.address), guess, directory, node.zone,
                     node.vnodes == 0 ? std::string("gateway") : fmt::format("{} vnodes", node.vnodes),
                     node.max_dirty_bytes >> 20);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("sheep: one node of a distributed block store. Serves virtual disks to QEMU and other NBD clients.",
               "sheep");
  Arguments a;
  define(app, a);
  if (const auto code = sd::daemon::parse(app, argc, argv, a, [&] { check(app, a); })) return *code;
  sd::runtime::ignore_harmless_signals();
  auto options = loop_options(a);
  return sd::daemon::run("sheep", a, std::move(options),
                         [&a](const auto& node, const auto& directory) { return describe(a, node, directory); });
}
