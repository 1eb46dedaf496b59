// dog: the cluster's command line. Parses arguments; the commands are in commands_*.cpp.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/dog/commands.hpp"

namespace sd::dog {

std::string counted(std::uint64_t n, const std::string& one, const std::string& many) { return fmt::format("{} {}", n, n == 1 ? one : many); }

std::string id_text(std::uint64_t id) { return id == 0 ? "-" : fmt::format("{:016x}", id); }

namespace {

constexpr const char* footer = R"(
Examples:
  dog cluster format -c 3                 three copies of everything
  dog vdi create disk 20G                 then: qemu ... nbd://HOST:10809/disk
  dog vdi write disk < disk.raw
  dog vdi read disk 1G 64M > part.raw
  dog -a 10.0.0.1 cluster check           what is wrong, if anything
  dog node recovery --watch               how far recovery is
  dog --json vdi list

Environment: SHEEPDOG_DOG_ADDR and SHEEPDOG_DOG_PORT are the defaults of -a and -p.

Exit codes: 0 done; 1 failed; 2 the sheep cannot be reached, or this machine failed; 3 it exists already; 4 full; 5 no such VDI;
6 the cluster is not healthy (cluster check); 64 wrong usage.
)";

int run(int argc, char** argv) {
  CLI::App app("dog: manages a Sheepdog cluster through one of its sheep", "dog");
  app.footer(footer);
  app.require_subcommand(1);
  app.set_version_flag("--version", "dog 0.1.0");
  // Options may also stand behind the command.
  app.fallthrough();

  Options options;
  app.add_option("-a,--address", options.address, "A sheep's address")->envname("SHEEPDOG_DOG_ADDR")->capture_default_str()->type_name("ADDR");
  app.add_option("-p,--port", options.port, "Its client port")->envname("SHEEPDOG_DOG_PORT")->capture_default_str()->type_name("PORT")->check(CLI::Range(1, 65535));
  app.add_option("-t,--timeout", options.timeout_s, "How long to wait for one answer")->capture_default_str()->type_name("SECONDS")->check(CLI::Range(1, 86400));
  app.add_flag("--json", options.json, "Answers for programs");
  app.add_flag("-v,--verbose", options.verbose, "Show each request on standard error");

  Client client(options);
  add_cluster_commands(app, options, client);
  add_node_commands(app, options, client);
  add_membership_commands(app, options, client);
  add_recovery_commands(app, options, client);
  add_vdi_commands(app, options, client);

  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) throw CommandError(exit_code::system, "cannot write to standard output");
    return exit_code::ok;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_code::ok : exit_code::usage;
  } catch (const CommandError& error) {
    const std::string_view message = error.what();
    std::fflush(stdout);
    if (!message.empty()) {
      if (options.json) fmt::print(stderr, "{}\n", nlohmann::json({{"error", message}, {"exit", error.code}}).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      else fmt::print(stderr, "dog: {}\n", message);
    }
    return error.code;
  } catch (const std::exception& error) {
    fmt::print(stderr, "dog: {}\n", error.what());
    return exit_code::system;
  }
}

}  // namespace
}  // namespace sd::dog

int main(int argc, char** argv) { return sd::dog::run(argc, argv); }
