#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/dog/commands.hpp"
#include "apps/dog/table.hpp"
#include "core/client/size_text.hpp"

namespace sd::dog {

namespace {

using nlohmann::json;

std::string state_text(const client::ClusterReport& report) {
  if (!report.formatted) return report.leader == 0 ? "no majority" : "waiting for format";
  if (report.shut_down) return "shut down";
  if (report.leader == 0) return "no majority";
  if (!report.waits_for.empty()) return "waiting for nodes to join";
  return "running";
}

void info(const Options& options, Client& client) {
  const auto report = cluster_report(client);
  const auto up =
      static_cast<std::uint64_t>(std::ranges::count_if(report.nodes, [](const auto& node) { return node.up; }));
  const bool recovering = report.formatted && report.clean_epoch != report.epoch;
  if (options.json) {
    json out = {{"status", state_text(report)},
                {"formatted", report.formatted},
                {"shut_down", report.shut_down},
                {"uuid", id_text(report.uuid)},
                {"copies", report.copies},
                {"epoch", report.epoch},
                {"clean_epoch", report.clean_epoch},
                {"recovering", recovering},
                {"nodes", report.nodes.size()},
                {"nodes_up", up},
                {"vdis", report.vdis},
                {"vdi_bytes", report.vdi_bytes},
                {"node", id_text(report.node)},
                {"leader", id_text(report.leader)},
                {"term", report.term},
                {"serving", report.serving},
                {"trouble", report.trouble},
                {"waits_for", report.waits_for},
                {"grace_s", report.grace_ms / 1000}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  const bool running = report.formatted && !report.shut_down && report.leader != 0 && report.waits_for.empty();
  fmt::print("Cluster status: {}\n", toned(running ? Tone::good : Tone::warning, state_text(report)));
  if (report.formatted) {
    fmt::print("Cluster id:     {}\n", id_text(report.uuid));
    fmt::print("Copies:         {}\n", report.copies);
  }
  fmt::print("Epoch:          {}{}\n", report.epoch,
             recovering ? toned(Tone::warning, fmt::format(" (recovering since epoch {})", report.clean_epoch)) : "");
  fmt::print("Nodes:          {}\n", toned(up == report.nodes.size() ? Tone::plain : Tone::bad,
                                           fmt::format("{} of {} up", up, report.nodes.size())));
  fmt::print("Leader:         {}\n", report.leader ? id_text(report.leader) : toned(Tone::bad, "none"));
  for (const auto& address : report.waits_for)
    fmt::print("Waits for:      {}\n",
               toned(Tone::warning,
                     address + (report.leader == 0 ? ", a voter" : ", which may hold data that no other node has")));
  if (!report.waits_for.empty()) fmt::print("                (lost for good? dog cluster recover force)\n");
  fmt::print("Grace time:     {}\n", counted(report.grace_ms / 1000, "second", "seconds"));
  fmt::print("VDIs:           {} ({} provisioned)\n", report.vdis, client::format_size(report.vdi_bytes));
  if (!report.serving && !report.trouble.empty())
    fmt::print("This node:      {}\n", toned(Tone::bad, "does not serve: " + report.trouble));
  if (!report.formatted && report.leader != 0) fmt::print("\nFormat it with: dog cluster format -c COPIES\n");
}

struct FormatArguments {
  unsigned copies = 0;
  bool force = false;
  bool yes = false;
};

void format(const Options& options, Client& client, const FormatArguments& arguments) {
  const auto before = cluster_report(client);
  if (before.formatted) {
    if (!arguments.force)
      throw CommandError(
          exit_code::exists,
          "the cluster is formatted already. To lose every VDI and start over: dog cluster format --force");
    confirm_loss(fmt::format("Formatting again loses {} ({}).", counted(before.vdis, "VDI", "VDIs"),
                             client::format_size(before.vdi_bytes)),
                 arguments.yes);
  }
  const std::uint16_t flags = arguments.force ? client::format_force : std::uint16_t{0};
  client.call(client::MakeFs{static_cast<std::uint8_t>(arguments.copies), 0, flags, "plain"});
  const auto after = cluster_report(client);
  if (options.json)
    fmt::print("{}\n", json({{"copies", after.copies}, {"uuid", id_text(after.uuid)}}).dump(2));
  else
    fmt::print("Formatted with {}.\n", counted(after.copies, "copy", "copies"));
}

void shutdown(const Options& options, Client& client) {
  client.call(client::ShutdownCluster{});
  if (options.json)
    fmt::print("{}\n", json({{"shut_down", true}}).dump(2));
  else
    fmt::print("The cluster is shut down. To use it again, start its sheep again.\n");
}

}  // namespace

void add_cluster_commands(CLI::App& app, const Options& options, Client& client) {
  auto* cluster = app.add_subcommand("cluster", "The cluster as a whole")->require_subcommand(1);
  auto* sub = cluster->add_subcommand("info", "Show the state of the cluster");
  sub->footer(examples({{"dog cluster info", "state, copies, nodes, leader, and what is waited for"},
                        {"dog --json cluster info | jq -r .status", "\"running\", if all is well"}}));
  sub->callback([&] { info(options, client); });

  auto arguments = std::make_shared<FormatArguments>();
  sub = cluster->add_subcommand("format", "Make the cluster ready for VDIs");
  sub->footer(examples({{"dog cluster format -c 3", "three copies of everything, on three nodes"},
                        {"dog cluster format -c 2 --force", "throw every VDI away and begin anew (asks first)"}}));
  sub->add_option("-c,--copies", arguments->copies,
                  "Copies of every object, each on a node of another zone; default: as many as nodes, at most 3")
      ->check(CLI::Range(1u, static_cast<unsigned>(limits::max_copies)))
      ->type_name("N");
  sub->add_flag("--force", arguments->force, "Also if it is formatted already: loses every VDI");
  sub->add_flag("--yes", arguments->yes, "Do not ask for confirmation");
  sub->callback([&options, &client, arguments] { format(options, client, *arguments); });

  sub = cluster->add_subcommand("shutdown", "Stop serving on all nodes, in an orderly way");
  sub->footer(examples({{"dog cluster shutdown", "flushes, and ends every sheep; starting them brings all back"}}));
  sub->callback([&] { shutdown(options, client); });
}

}  // namespace sd::dog
