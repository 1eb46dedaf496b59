// shepherd: a witness. Holds a vote in the cluster log and nothing else, so that two storing nodes survive the loss of
// one. Joins a cluster like any sheep; `dog` may be pointed at it.
#include <fmt/format.h>

#include "apps/daemon/daemon.hpp"
#include "runtime/address.hpp"

namespace {

struct Arguments : sd::daemon::Arguments {
  std::string listen = "0.0.0.0:7100";
};

void define(CLI::App& app, Arguments& a) {
  a.directory = "/var/lib/shepherd";
  app.set_version_flag("--version", std::string("shepherd 0.1.0"));
  app.footer(
      "Example, two sheep on 10.0.0.1 and 10.0.0.2, and a witness on a third machine:\n"
      "  shepherd -l 10.0.0.3:7100 --seed 10.0.0.1:7000 --seed 10.0.0.2:7000 /var/lib/shepherd\n"
      "It needs some megabytes of disk for its copy of the cluster log, and little else. It never holds data of "
      "disks.\n" +
      std::string(sd::daemon::exit_codes));
  app.add_option("DIR", a.directory, "Directory for its copy of the cluster log; created if missing")
      ->capture_default_str();
  app.add_option("-l,--listen", a.listen, "ADDR:PORT for clients (dog); other nodes connect to the next port")
      ->capture_default_str();
  app.add_option("--log-level", a.log_level, "debug, info, warning or error")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  sd::daemon::define(app, a)->required();
}

std::expected<sd::runtime::LoopOptions, std::string> loop_options(const Arguments& a) {
  auto listen = sd::runtime::parse_address(a.listen, 7100);
  if (!listen) return std::unexpected(listen.error());
  auto o = sd::daemon::loop_options(a, *listen);
  if (!o) return o;
  o->node.vnodes = 0;
  o->node.witness = true;
  o->node.journal_bytes = 4u << 20;
  o->node.apply_bytes = 1u << 20;
  o->node.max_dirty_bytes = 2u << 20;
  return o;
}

std::string describe(const sd::NodeOptions& node, const std::string& directory) {
  return fmt::format("shepherd {} keeps the cluster log in {} (zone {})", sd::to_string(node.address), directory,
                     node.zone);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("shepherd: a witness of a Sheepdog cluster. Votes, and holds no data.", "shepherd");
  Arguments a;
  define(app, a);
  if (const auto code = sd::daemon::parse(app, argc, argv, a)) return *code;
  return sd::daemon::run("shepherd", a, loop_options(a), describe);
}
