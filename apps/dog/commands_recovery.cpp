// dog node recovery, dog cluster recover: how far recovery is, how fast it may go, and whether it goes on at all.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "apps/dog/commands.hpp"
#include "apps/dog/table.hpp"
#include "core/client/size_text.hpp"

namespace sd::dog {

namespace {

using client::format_size;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

struct NodeView {
  std::string address;
  std::optional<client::RecoveryReport> report;  // none: it does not answer
};

// Each node knows what it does itself, so each is asked.
std::vector<NodeView> ask_all(const Options& options, Client& client) {
  std::vector<NodeView> views;
  const auto cluster = cluster_report(client);
  for (const auto& node : cluster.nodes) {
    if (!node.up) continue;
    NodeView view{node.address, {}};
    const std::size_t colon = node.address.rfind(':');
    Options other = options;
    other.address = node.address.substr(0, colon);
    if (other.address.starts_with('[')) other.address = other.address.substr(1, other.address.size() - 2);
    other.port = static_cast<std::uint16_t>(std::stoul(node.address.substr(colon + 1)));
    other.timeout_s = std::min(options.timeout_s, 5);
    try {
      Client one(other);
      view.report = one.report<client::RecoveryReport>(client::NodeRecovery{});
    } catch (const CommandError&) {
    }
    views.push_back(std::move(view));
  }
  return views;
}

std::string rate_text(std::uint64_t rate) { return rate == 0 ? "no limit" : format_size(rate) + "/s"; }

json to_json(const NodeView& view) {
  if (!view.report) return {{"address", view.address}, {"reachable", false}};
  const auto& r = *view.report;
  return {{"address", view.address},
          {"reachable", true},
          {"id", id_text(r.id)},
          {"epoch", r.epoch},
          {"clean_epoch", r.clean_epoch},
          {"enabled", r.enabled},
          {"sweeping", r.sweeping},
          {"collected", r.collected},
          {"busy", r.busy},
          {"objects_found", r.found},
          {"objects_open", r.open},
          {"swept", r.at},
          {"to_sweep", r.end},
          {"pulls", r.pulls},
          {"pulled_objects", r.pulled_objects},
          {"pulled_bytes", r.pulled_bytes},
          {"repaired_blocks", r.repaired_blocks},
          {"lost_blocks", r.lost_blocks},
          {"removed_copies", r.removed},
          {"removed_leftovers", r.leftovers},
          {"removed_orphans", r.orphans},
          {"kept_copies", r.kept},
          {"scrub_passes", r.scrub_passes},
          {"scrubbed_objects", r.scrubbed_objects},
          {"scrubbed_bytes", r.scrubbed_bytes},
          {"scrub_left", r.scrub_left},
          {"unreadable_objects", r.unreadable_objects},
          {"rate_busy", r.rate_busy},
          {"rate_idle", r.rate_idle}};
}

struct Totals {
  std::uint64_t at = 0, end = 0, bytes = 0;
  bool sweeping = false, enabled = true;
  std::uint32_t epoch = 0, clean_epoch = 0;
};

Totals add_up(const std::vector<NodeView>& views) {
  Totals t;
  for (const auto& view : views) {
    if (!view.report) continue;
    const auto& r = *view.report;
    t.at += r.at - std::min(r.at, r.open);
    t.end += r.end;
    t.bytes += r.pulled_bytes;
    t.sweeping = t.sweeping || r.sweeping;
    t.enabled = t.enabled && r.enabled;
    if (r.epoch >= t.epoch) {
      t.epoch = r.epoch;
      t.clean_epoch = r.clean_epoch;
    }
  }
  return t;
}

std::string bar(const Totals& now, const Totals& before, double seconds) {
  constexpr std::size_t cells = 32;
  const double part = now.end == 0 ? 1.0 : static_cast<double>(now.at) / static_cast<double>(now.end);
  const auto full = static_cast<std::size_t>(part * cells);
  std::string text = fmt::format("[{}{}] {:3.0f}%", std::string(full, '#'), std::string(cells - full, '.'), part * 100);
  if (seconds > 0) {
    text += fmt::format("  {}/s", format_size(static_cast<std::uint64_t>(
                                      static_cast<double>(now.bytes - std::min(now.bytes, before.bytes)) / seconds)));
    const double speed = static_cast<double>(now.at - std::min(now.at, before.at)) / seconds;
    if (now.at < now.end && speed > 0)
      text += fmt::format("  {:.0f} s left", static_cast<double>(now.end - now.at) / speed);
  }
  return text;
}

void print_table(const std::vector<NodeView>& views) {
  using Align = Table::Align;
  Table table({{"NODE"},
               {"STATE"},
               {"SWEPT", Align::right},
               {"PULLED", Align::right},
               {"OBJECTS", Align::right},
               {"REPAIRED", Align::right},
               {"LOST", Align::right},
               {"REMOVED", Align::right},
               {"SCRUBBED", Align::right},
               {"LIMIT", Align::right}});
  for (const auto& view : views) {
    if (!view.report) {
      table.add({{view.address}, {"does not answer", Tone::bad}});
      continue;
    }
    const auto& r = *view.report;
    const bool clean = r.epoch == r.clean_epoch;
    const std::string state = !r.enabled    ? "switched off"
                              : r.sweeping  ? "sweeping"
                              : r.pulls > 0 ? "copying"
                              : !clean      ? "waits for others"
                              : r.collected ? "done"
                                            : "collecting";
    table.add({{view.address},
               {state, !r.enabled ? Tone::warning
                       : clean    ? Tone::good
                                  : Tone::plain},
               {clean ? "-" : fmt::format("{}/{}", r.at, r.end)},
               {format_size(r.pulled_bytes)},
               {std::to_string(r.pulled_objects)},
               {std::to_string(r.repaired_blocks)},
               {std::to_string(r.lost_blocks), r.lost_blocks > 0 ? Tone::bad : Tone::plain},
               {std::to_string(r.removed + r.leftovers + r.orphans)},
               {format_size(r.scrubbed_bytes)},
               {rate_text(r.busy ? r.rate_busy : r.rate_idle)}});
  }
  fmt::print("{}", table.text());
}

void show(const Options& options, Client& client, bool watch) {
  const auto began = Clock::now();
  auto views = ask_all(options, client);
  const Totals first = add_up(views);
  Totals now = first;
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  if (options.json && !watch) {
    json nodes = json::array();
    for (const auto& view : views) nodes.push_back(to_json(view));
    fmt::print(
        "{}\n",
        json({{"epoch", now.epoch}, {"clean_epoch", now.clean_epoch}, {"enabled", now.enabled}, {"nodes", nodes}})
            .dump(2));
    return;
  }
  // Two looks tell the rate.
  bool more = now.epoch != now.clean_epoch;
  while (more) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    views = ask_all(options, client);
    now = add_up(views);
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    more = watch && now.epoch != now.clean_epoch && now.enabled;
    if (options.json)
      fmt::print(
          "{}\n",
          json({{"swept", now.at}, {"to_sweep", now.end}, {"pulled_bytes", now.bytes}, {"seconds", seconds}}).dump());
    else if (terminal && more)
      fmt::print("\r\x1b[K{}", bar(now, first, seconds));
    else if (!terminal || !watch)
      fmt::print("{}\n", bar(now, first, seconds));
    std::fflush(stdout);
  }
  if (options.json) return;
  if (watch && terminal) fmt::print("\r\x1b[K");
  print_table(views);
  if (now.epoch == now.clean_epoch) fmt::print("{}\n", toned(Tone::good, "Every object has all its copies."));
}

void set_throttle(const Options& options, Client& client, const std::string& busy, const std::string& idle) {
  const auto before = client.report<client::RecoveryReport>(client::NodeRecovery{});
  const auto parsed = [](const std::string& text, std::uint64_t old) -> std::uint64_t {
    if (text.empty()) return old;
    if (text == "none") return 0;
    const auto size = client::parse_size(text);
    if (!size || *size == 0) throw CommandError(exit_code::usage, "a rate is bytes per second, like 32M, or none");
    return *size;
  };
  const client::SetThrottle wanted{parsed(busy, before.rate_busy), parsed(idle, before.rate_idle)};
  client.call_until_done(wanted);
  if (options.json)
    fmt::print("{}\n", json({{"rate_busy", wanted.busy}, {"rate_idle", wanted.idle}}).dump(2));
  else
    fmt::print("Recovery limit for each node: {} while clients are active, {} while idle.\n", rate_text(wanted.busy),
               rate_text(wanted.idle));
}

void switch_recovery(const Options& options, Client& client, bool enabled) {
  if (enabled)
    client.call_until_done(client::EnableRecover{});
  else
    client.call_until_done(client::DisableRecover{});
  if (options.json)
    fmt::print("{}\n", json({{"enabled", enabled}}).dump(2));
  else if (enabled)
    fmt::print("Recovery is switched on.\n");
  else
    fmt::print("Recovery is switched off: objects get their copies back only when clients touch them.\n");
}

}  // namespace

void add_recovery_commands(CLI::App& app, const Options& options, Client& client) {
  auto watch = std::make_shared<bool>(false);
  auto* recovery =
      app.get_subcommand("node")->add_subcommand("recovery", "How far recovery is, and what each node has done for it");
  recovery->footer(examples({{"dog node recovery", "a table of all nodes"},
                             {"dog node recovery --watch", "a bar, until every object has all its copies"}}));
  recovery->add_flag("-w,--watch", *watch, "Show a bar until every object has all its copies");
  auto busy = std::make_shared<std::string>(), idle = std::make_shared<std::string>();
  auto* throttle = recovery->add_subcommand("set-throttle", "How fast each node may copy in the background");
  throttle->footer(
      examples({{"dog node recovery set-throttle", "show the rates"},
                {"dog node recovery set-throttle --busy 16M --idle none", "set them, for the whole cluster"}}));
  throttle->add_option("--busy", *busy, "Bytes per second while clients work, like 32M, or none for no limit")
      ->type_name("RATE");
  throttle->add_option("--idle", *idle, "The same while they do not")->type_name("RATE");
  throttle->callback([&options, &client, busy, idle] { set_throttle(options, client, *busy, *idle); });
  recovery->callback([&options, &client, watch, throttle] {
    if (!throttle->parsed()) show(options, client, *watch);
  });

  auto* recover = app.get_subcommand("cluster")->get_subcommand("recover");
  auto* sub = recover->add_subcommand("enable", "Switch recovery in the background on");
  sub->footer(examples({{"dog cluster recover enable", "missing copies are made"}}));
  sub->callback([&] { switch_recovery(options, client, true); });
  sub = recover->add_subcommand("disable", "Switch recovery off, as for work on several nodes one after the other");
  sub->footer(examples(
      {{"dog cluster recover disable", "then stop, change and start one node after the other; then: enable"}}));
  sub->callback([&] { switch_recovery(options, client, false); });
}

}  // namespace sd::dog
