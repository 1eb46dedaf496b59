// The commands of `dog`. Each adds its subcommands, whose callbacks do the work and throw CommandError if they cannot.
#pragma once
#include <CLI/CLI.hpp>
#include <initializer_list>
#include <string>
#include <string_view>

#include <string>
#include <vector>

#include "apps/dog/client.hpp"

namespace sd::dog {

// `options` and `client` must outlive `app`.
void add_cluster_commands(CLI::App& app, const Options& options, Client& client);
void add_node_commands(CLI::App& app, const Options& options, Client& client);
// After the two before.
void add_membership_commands(CLI::App& app, const Options& options, Client& client);
// After the three before.
void add_recovery_commands(CLI::App& app, const Options& options, Client& client);
void add_vdi_commands(CLI::App& app, const Options& options, Client& client);
// After all others.
void add_check_commands(CLI::App& app, const Options& options, Client& client);

// Throws if there is none.
client::VdiEntry find_vdi(Client& client, const std::string& name);
// By name.
std::vector<client::VdiEntry> all_vdis(Client& client);

// The end of a command's --help: command lines as one would type them, each with what it does. For CLI::App::footer.
struct Example {
  std::string_view command, effect;
};
std::string examples(std::initializer_list<Example> list);

// Asks, on the terminal, whether what `warning` says may be done, unless `yes`; throws if it may not, or nobody can be
// asked.
void confirm_loss(const std::string& warning, bool yes);

// "1 copy", "3 copies".
std::string counted(std::uint64_t n, const std::string& one, const std::string& many);

}  // namespace sd::dog
