#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/dog/commands.hpp"
#include "apps/dog/table.hpp"
#include "core/client/printable_text.hpp"
#include "core/client/size_text.hpp"

namespace sd::dog {

namespace {

using nlohmann::json;

// "down" is a node in its grace time: its share of the data is kept for it. "out": others have taken its share.
std::string state_text(const client::NodeEntry& node) {
  std::string text = node.up ? "up" : node.placed ? "down (grace)" : "down (out)";
  if (node.draining) text += node.drained && !node.voter ? ", drained" : ", draining";
  if (node.awaited) text += ", awaited";
  return text;
}

void list(const Options& options, Client& client) {
  const auto report = cluster_report(client);
  if (options.json) {
    json nodes = json::array();
    for (const auto& node : report.nodes)
      nodes.push_back({{"id", id_text(node.id)},
                       {"address", node.address},
                       {"zone", node.zone},
                       {"vnodes", node.vnodes},
                       {"up", node.up},
                       {"leader", node.leader},
                       {"starts", node.incarnation},
                       {"state", state_text(node)},
                       {"voter", node.voter},
                       {"witness", node.witness},
                       {"draining", node.draining},
                       {"drained", node.drained && !node.voter},
                       {"placed", node.placed},
                       {"awaited", node.awaited}});
    fmt::print("{}\n", nodes.dump(2));
    return;
  }
  if (report.nodes.empty()) {
    fmt::print("No node has joined yet.\n");
    return;
  }
  using Align = Table::Align;
  Table table({{"ID"}, {"ADDRESS"}, {"ZONE", Align::right}, {"VNODES", Align::right}, {"STATE"}, {"ROLE"}});
  for (const auto& node : report.nodes) {
    std::string role = node.leader ? "leader" : node.voter ? "voter" : "learner";
    if (node.vnodes == 0) role += node.witness ? ", witness" : ", gateway";
    table.add({{id_text(node.id)},
               {node.address},
               {std::to_string(node.zone)},
               {std::to_string(node.vnodes)},
               {state_text(node), !node.up        ? Tone::bad
                                  : node.draining ? Tone::warning
                                                  : Tone::good},
               {role}});
  }
  fmt::print("{}", table.text());
}

void info(const Options& options, Client& client) {
  const auto n = client.report<client::NodeReport>(client::NodeDetail{});
  if (options.json) {
    const json out = {{"id", id_text(n.id)},
                      {"starts", n.incarnation},
                      {"address", n.address},
                      {"zone", n.zone},
                      {"vnodes", n.vnodes},
                      {"open", n.open},
                      {"member", n.member},
                      {"has_lease", n.has_lease},
                      {"serving", n.serving},
                      {"trouble", n.trouble},
                      {"leader", n.leader},
                      {"leader_id", id_text(n.leader_id)},
                      {"term", n.term},
                      {"commit_index", n.commit_index},
                      {"applied_index", n.applied_index},
                      {"last_index", n.last_index},
                      {"epoch", n.epoch},
                      {"objects", n.objects},
                      {"journal_used", n.journal_used},
                      {"dirty_bytes", n.dirty_bytes},
                      {"space_free", n.space_free},
                      {"space_total", n.space_total},
                      {"nbd_connections", n.nbd_connections},
                      {"client_connections", n.client_connections},
                      {"peer_links", n.peer_links},
                      {"reads", n.reads},
                      {"writes", n.writes},
                      {"flushes", n.flushes},
                      {"read_bytes", n.read_bytes},
                      {"write_bytes", n.write_bytes},
                      {"buffers", n.buffers},
                      {"voter", n.voter},
                      {"waits_for", n.waits_for}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  using client::format_size;
  const auto line = [](std::string_view name, const std::string& value) {
    fmt::print("{:<13}{}\n", fmt::format("{}:", name), value);
  };
  line("Node", id_text(n.id));
  if (n.address.empty())
    line("Address", "not known: it has yet to join");
  else
    line("Address", fmt::format("{}, zone {}, {}", client::printable(n.address), n.zone,
                                n.vnodes == 0 ? "gateway" : fmt::format("{} vnodes", n.vnodes)));
  line("State", n.serving ? toned(Tone::good, "serving")
                          : toned(Tone::bad, "not serving" + (n.trouble.empty() ? "" : ": " + n.trouble)));
  for (const auto& address : n.waits_for) line("Waits for", toned(Tone::warning, address));
  line("Leader", n.leader      ? "this node, " + id_text(n.id)
                 : n.leader_id ? id_text(n.leader_id)
                               : toned(Tone::bad, "none"));
  line("Log", fmt::format("term {}, applied {} of {}", n.term, n.applied_index, n.last_index));
  line("Epoch", std::to_string(n.epoch));
  line("Space", n.space_total == 0
                    ? "unknown"
                    : fmt::format("{} free of {}", format_size(n.space_free), format_size(n.space_total)));
  line("Store", fmt::format("{}, journal {}, {} to write back", counted(n.objects, "object", "objects"),
                            format_size(n.journal_used), format_size(n.dirty_bytes)));
  line("Connections", fmt::format("{} NBD, {} client, {} peer", n.nbd_connections, n.client_connections, n.peer_links));
  line("Served", fmt::format("{} ({}), {} ({}), {}", counted(n.reads, "read", "reads"), format_size(n.read_bytes),
                             counted(n.writes, "write", "writes"), format_size(n.write_bytes),
                             counted(n.flushes, "flush", "flushes")));
}

}  // namespace

void add_node_commands(CLI::App& app, const Options& options, Client& client) {
  auto* node = app.add_subcommand("node", "The nodes of the cluster")->require_subcommand(1);
  auto* sub = node->add_subcommand("list", "List all nodes");
  sub->footer(
      examples({{"dog node list", "who is up, who votes, who is drained"},
                {"dog --json node list | jq -r '.[] | select(.up | not) | .address'", "the nodes that are down"}}));
  sub->callback([&] { list(options, client); });
  sub = node->add_subcommand("info", "Show details of the node that -a and -p name");
  sub->footer(examples({{"dog -a 10.0.0.2 node info", "its state, space, log, connections and counters"}}));
  sub->callback([&] { info(options, client); });
}

}  // namespace sd::dog
