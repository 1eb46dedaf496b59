// Commands about members that come and go: draining, the grace time, and going on after a loss for good.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/dog/commands.hpp"
#include "apps/dog/table.hpp"
#include "core/client/printable_text.hpp"

namespace sd::dog {

namespace {

using nlohmann::json;

// A node by its id, the beginning of it, or its address. Of those that had the address one after the other, the one
// that is up.
const client::NodeEntry& find_node(const client::ClusterReport& report, const std::string& wanted) {
  const client::NodeEntry* found = nullptr;
  for (const auto& node : report.nodes) {
    if (node.address == wanted && node.up) return node;
    if (wanted.empty() || (node.address != wanted && !id_text(node.id).starts_with(wanted))) continue;
    if (found)
      throw CommandError(exit_code::usage,
                         fmt::format("'{}' is the beginning of several ids; give more of it", wanted));
    found = &node;
  }
  if (!found)
    throw CommandError(exit_code::missing,
                       fmt::format("no node is called '{}'; `dog node list` shows ids and addresses", wanted));
  return *found;
}

void drain(const Options& options, Client& client, const std::string& name, bool on) {
  const auto report = cluster_report(client);
  const auto& node = find_node(report, name);
  client.call(client::NodeDrain{node.id, on});
  if (options.json) {
    fmt::print("{}\n", json({{"id", id_text(node.id)}, {"draining", on}}).dump(2));
  } else if (on) {
    fmt::print(
        "{} is being drained. It serves on; when `dog node list` shows it as drained, all its data is elsewhere, and "
        "it may be stopped.\n",
        client::printable(node.address));
  } else {
    fmt::print("{} gets its share of the data again.\n", client::printable(node.address));
  }
}

// "90", "90s", "10m", "2h": milliseconds.
std::uint32_t parse_grace(const std::string& text) {
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(parsed.ptr, static_cast<std::size_t>(text.data() + text.size() - parsed.ptr));
  const std::uint64_t factor = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  constexpr std::uint64_t longest = 30 * 24 * 3600;
  if (parsed.ec != std::errc() || factor == 0 || number > longest / factor)
    throw CommandError(exit_code::usage, fmt::format("'{}' is no time up to 30 days; like 90s, 10m or 2h", text));
  return static_cast<std::uint32_t>(number * factor * 1000);
}

void grace(const Options& options, Client& client, const std::string& time) {
  if (!time.empty()) client.call(client::GraceTime{parse_grace(time)});
  const auto report = cluster_report(client);
  if (options.json)
    fmt::print("{}\n", json({{"grace_s", report.grace_ms / 1000}}).dump(2));
  else
    fmt::print("A node that is down keeps its share of the data for {}.\n",
               counted(report.grace_ms / 1000, "second", "seconds"));
}

void recover_force(const Options& options, Client& client, bool yes) {
  const auto report = cluster_report(client);
  const bool no_majority = report.leader == 0;
  if (!no_majority && report.waits_for.empty())
    throw CommandError(exit_code::failed, "there is nothing to force: no data waits for a node that is down");
  std::string names;
  for (const auto& address : report.waits_for) names += "\n  " + client::printable(address);
  std::string warning = "Nodes that are given up for good:" + names + "\n\n";
  if (no_majority)
    warning +=
        "A majority of the voters cannot be reached. This node goes on alone, under a new cluster log.\n"
        "  - What the cluster decided last (new disks, owners, members) is lost where this node had not heard of it.\n"
        "  - Every node but this one is refused until its data directory is emptied and it joins as a new one. If the\n"
        "    missing nodes are alive and only cut off, they go on too, and there are two clusters.\n";
  warning +=
      "  - Writes whose only up-to-date copies are on the nodes given up are lost: those objects go back to what other "
      "nodes\n"
      "    hold, or fail if nobody holds them.";
  confirm_loss(warning, yes);
  client.call(client::RecoverForce{no_majority});
  if (options.json) {
    fmt::print("{}\n", json({{"given_up", report.waits_for}, {"new_configuration", no_majority}}).dump(2));
  } else if (no_majority) {
    fmt::print(
        "This node goes on alone. Data that waits for others still waits: see `dog cluster info`, and give them up "
        "with the same command.\n");
  } else {
    fmt::print("{} given up.\n", counted(report.waits_for.size(), "node is", "nodes are"));
  }
}

}  // namespace

void add_membership_commands(CLI::App& app, const Options& options, Client& client) {
  auto* node = app.get_subcommand("node");
  auto* cluster = app.get_subcommand("cluster");
  auto name = std::make_shared<std::string>();
  auto* sub =
      node->add_subcommand("drain", "Move a node's data away while it serves on, so that it can be stopped for good");
  sub->footer(examples({{"dog node drain 10.0.0.4:7000", "by address"},
                        {"dog node drain 5482", "by the beginning of its id; then see: dog node list"}}));
  sub->add_option("NODE", *name, "Its id, the beginning of it, or its address")->required();
  sub->callback([&options, &client, name] { drain(options, client, *name, true); });
  sub = node->add_subcommand("undrain", "Give a drained node its share of the data again");
  sub->footer(examples({{"dog node undrain 10.0.0.4:7000", "data moves back to it"}}));
  sub->add_option("NODE", *name, "Its id, the beginning of it, or its address")->required();
  sub->callback([&options, &client, name] { drain(options, client, *name, false); });

  auto time = std::make_shared<std::string>();
  sub = cluster->add_subcommand(
      "grace", "Show or set how long a node that is down keeps its share of the data before others copy it");
  sub->footer(examples({{"dog cluster grace", "show it"},
                        {"dog cluster grace 1h", "set it, for a long repair"},
                        {"dog cluster grace 0", "copy at once"}}));
  sub->add_option("TIME", *time, "Such as 90s, 10m, 2h; 0: data moves at once");
  sub->callback([&options, &client, time] { grace(options, client, *time); });

  auto yes = std::make_shared<bool>(false);
  auto* recover = cluster->add_subcommand("recover", "Getting copies back, and going on after nodes were lost for good")
                      ->require_subcommand(1);
  sub = recover->add_subcommand(
      "force", "Give up the nodes that the cluster, or some of its data, waits for; loses what only they hold");
  sub->footer(examples({{"dog cluster recover force", "says what would be lost, and asks"},
                        {"dog -a 10.0.0.1 cluster recover force", "without a majority, 10.0.0.1 goes on alone"}}));
  sub->add_flag("--yes", *yes, "Do not ask for confirmation");
  sub->callback([&options, &client, yes] { recover_force(options, client, *yes); });
}

}  // namespace sd::dog
