// dog: the cluster's command line. Parses arguments; the commands are in commands_*.cpp.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>

#include "apps/dog/commands.hpp"
#include "core/client/printable_text.hpp"

namespace sd::dog {

std::string counted(std::uint64_t n, const std::string& one, const std::string& many) {
  return fmt::format("{} {}", n, n == 1 ? one : many);
}

void confirm_loss(const std::string& warning, bool yes) {
  if (yes) return;
  if (isatty(STDIN_FILENO) != 1)
    throw CommandError(exit_code::usage, "this loses data, and has to be confirmed with --yes:\n" + warning);
  fmt::print(stderr, "{}\nType \"yes\" to go on: ", warning);
  std::string answer;
  std::getline(std::cin, answer);
  if (answer != "yes") throw CommandError(exit_code::failed, "not confirmed; nothing was done");
}

std::string examples(std::initializer_list<Example> list) {
  std::size_t width = 0;
  for (const Example& example : list) width = std::max(width, example.command.size());
  std::string text = list.size() == 1 ? "\nExample:\n" : "\nExamples:\n";
  for (const Example& example : list) text += fmt::format("  {:<{}}  {}\n", example.command, width, example.effect);
  return text + "\nOptions for every command (-a, -p, -t, --json, -v), environment and exit codes: dog --help\n";
}

namespace {

constexpr const char* footer = R"(
Begin with:
  dog cluster format -c 3            three copies of everything
  dog vdi create disk 20G            then: qemu ... nbd://HOST:10809/disk
  dog -a 10.0.0.1 cluster check      what is wrong, if anything
Each command has examples of its own: dog vdi read --help

Options may stand before or behind the command. With --json the answer is JSON on standard output, and an error is
one line of JSON on standard error: {"error": "what went wrong", "exit": CODE}. (Only `vdi read` writes a disk's
bytes in any case.)

Environment: SHEEPDOG_DOG_ADDR and SHEEPDOG_DOG_PORT are the defaults of -a and -p.

Exit codes: 0 done; 1 failed; 2 the sheep cannot be reached, or this machine failed; 3 it exists already; 4 full;
5 no such VDI or node; 6 something is wrong (cluster check, vdi check); 64 wrong usage.
)";

// Our own line breaks stay; what a command was called with, or a system said, may hold anything.
std::string printable_lines(std::string_view text) {
  std::string out;
  while (true) {
    const std::size_t end = text.find('\n');
    out += client::printable(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

int report(bool as_json, int code, std::string_view message) {
  using nlohmann::json;
  std::fflush(stdout);
  if (message.empty()) return code;
  if (as_json)
    fmt::print(stderr, "{}\n",
               json({{"error", message}, {"exit", code}}).dump(-1, ' ', false, json::error_handler_t::replace));
  else
    fmt::print(stderr, "dog: {}\n", printable_lines(message));
  return code;
}

// What is wrong with the command line, and whose --help says more: that of the innermost command that was recognised.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* innermost = &app;
  std::string command = app.get_name();
  while (!innermost->get_subcommands().empty()) {
    innermost = innermost->get_subcommands().front();
    command += " " + innermost->get_name();
  }
  std::string problem = error.what();
  const bool wants_command = innermost->get_require_subcommand_min() > 0;
  if (const auto rest = app.remaining(true); wants_command && !rest.empty())
    problem = fmt::format("'{}' has no command '{}'", command, rest.front());
  return fmt::format("{}; see {} --help", problem, command);
}

int run(int argc, char** argv) {
  CLI::App app("dog: manages a Sheepdog cluster through one of its sheep", "dog");
  app.require_subcommand(1);
  app.set_version_flag("--version", "dog 0.1.0");
  // Options may also stand behind the command.
  app.fallthrough();

  Options options;
  app.add_option("-a,--address", options.address, "A sheep's address")
      ->envname("SHEEPDOG_DOG_ADDR")
      ->capture_default_str()
      ->type_name("ADDR");
  app.add_option("-p,--port", options.port, "Its client port")
      ->envname("SHEEPDOG_DOG_PORT")
      ->capture_default_str()
      ->type_name("PORT")
      ->check(CLI::Range(1, 65535));
  app.add_option("-t,--timeout", options.timeout_s, "How long to wait for one answer")
      ->capture_default_str()
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86400));
  app.add_flag("--json", options.json, "Answers for programs");
  app.add_flag("-v,--verbose", options.verbose, "Show each request on standard error");

  Client client(options);
  add_cluster_commands(app, options, client);
  add_node_commands(app, options, client);
  add_membership_commands(app, options, client);
  add_recovery_commands(app, options, client);
  add_vdi_commands(app, options, client);
  add_check_commands(app, options, client);
  app.footer(footer);  // last: commands inherit it

  const std::span arguments(argv, static_cast<std::size_t>(argc));
  // Where parsing fails, options are not set yet.
  const bool as_json =
      std::ranges::any_of(arguments, [](const std::string_view argument) { return argument == "--json"; });
  try {
    // Texts travel as UTF-8; a sheep refuses others without knowing what they were.
    for (const std::string_view argument : arguments)
      if (!client::bincode::valid_utf8(argument))
        throw CommandError(exit_code::usage, fmt::format("'{}' is not valid UTF-8", argument));
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) throw CommandError(exit_code::system, "cannot write to standard output");
    return exit_code::ok;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return report(as_json, exit_code::usage, usage_problem(app, error));
  } catch (const CommandError& error) {
    return report(as_json, error.code, error.what());
  } catch (const std::exception& error) {
    return report(as_json, exit_code::system, error.what());
  }
}

}  // namespace
}  // namespace sd::dog

int main(int argc, char** argv) { return sd::dog::run(argc, argv); }
