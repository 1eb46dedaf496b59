// dog cluster check, dog vdi check: what is wrong, and putting it right.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/dog/commands.hpp"
#include "apps/dog/progress.hpp"
#include "apps/dog/table.hpp"
#include "core/client/printable_text.hpp"
#include "core/client/size_text.hpp"

namespace sd::dog {

namespace {

using nlohmann::json;

// --- Disks

struct Checked {
  std::string name;
  client::VdiCheckReport found;  // all steps together
  bool good() const { return found.good(); }
};

// Step by step: none takes long, and whichever node owns the disk by then goes on.
Checked check_vdi(Client& client, const client::VdiEntry& vdi) {
  Checked checked{vdi.name, {}};
  auto& sum = checked.found;
  Progress progress("Checking " + client::printable(vdi.name), vdi.size);
  do {
    const auto step = client.report_until_done<client::VdiCheckReport>(client::VdiCheck{vdi.name, sum.next});
    if (!step.gets_on_from(sum.next))
      throw CommandError(exit_code::system, "the check does not get on; do all sheep run the same version?");
    const std::uint64_t objects = step.next - std::min(step.next, sum.next);
    sum.add(step);
    progress.add(objects * limits::object_size);
  } while (sum.next < sum.end);
  return checked;
}

json as_json(const Checked& checked) {
  const auto& f = checked.found;
  return {{"name", checked.name},
          {"good", checked.good()},
          {"objects", f.objects},
          {"copies", f.copies},
          {"bytes", f.bytes},
          {"damaged_blocks", f.damaged},
          {"repaired_blocks", f.repaired},
          {"restored_copies", f.restored},
          {"lost_blocks", f.lost},
          {"absent_copies", f.absent},
          {"unchecked_objects", f.unchecked}};
}

void print_table(const std::vector<Checked>& disks) {
  using Align = Table::Align;
  Table table({{"NAME"},
               {"OBJECTS", Align::right},
               {"COPIES READ", Align::right},
               {"BYTES", Align::right},
               {"DAMAGED BLOCKS", Align::right},
               {"REPAIRED", Align::right},
               {"COPIES RESTORED", Align::right},
               {"LOST BLOCKS", Align::right},
               {"COPIES AWAY", Align::right},
               {"NOT CHECKED", Align::right}});
  const auto number = [](std::uint64_t n, Tone tone) {
    return Table::Cell{std::to_string(n), n == 0 ? Tone::plain : tone};
  };
  for (const Checked& disk : disks) {
    const auto& f = disk.found;
    table.add({{disk.name},
               number(f.objects, Tone::plain),
               number(f.copies, Tone::plain),
               {client::format_size(f.bytes)},
               number(f.damaged, Tone::warning),
               number(f.repaired, Tone::good),
               number(f.restored, Tone::good),
               number(f.lost, Tone::bad),
               number(f.absent, Tone::bad),
               number(f.unchecked, Tone::bad)});
  }
  fmt::print("{}", table.text());
}

// What is left to do, in words.
void print_advice(const std::vector<Checked>& disks) {
  client::VdiCheckReport sum;
  for (const Checked& disk : disks) sum.add(disk.found);
  if (sum.lost > 0)
    fmt::print(
        "{}: nobody has a good copy of {}; reads there fail. Start the nodes that are away, if any; else write these "
        "blocks again, from a backup\n",
        toned(Tone::bad, "error"), counted(sum.lost, "block", "blocks"));
  if (sum.absent > 0)
    fmt::print("{}: {} on nodes that are down: see `dog cluster check`\n", toned(Tone::bad, "error"),
               counted(sum.absent, "copy is", "copies are"));
  if (sum.unchecked > 0)
    fmt::print(
        "{}: {} could not be checked, or not be made whole yet; the log of the node that serves the disk names them. "
        "Check again\n",
        toned(Tone::bad, "error"), counted(sum.unchecked, "object", "objects"));
}

void check_one(const Options& options, Client& client, const std::string& name) {
  const std::vector<Checked> checked{check_vdi(client, find_vdi(client, name))};
  if (options.json) {
    fmt::print("{}\n", as_json(checked.front()).dump(2));
  } else {
    print_table(checked);
    print_advice(checked);
    if (checked.front().good()) fmt::print("{}\n", toned(Tone::good, "Every copy is good."));
  }
  if (!checked.front().good()) throw CommandError(exit_code::unhealthy, "");
}

// --- The cluster

bool healthy(const client::CheckReport& report) {
  return std::ranges::none_of(report.findings,
                              [](const auto& finding) { return finding.severity != client::Severity::note; });
}

constexpr std::string_view severity_names[] = {"note", "warning", "error"};

json as_json(const client::CheckReport& report) {
  json findings = json::array();
  for (const auto& finding : report.findings)
    findings.push_back(
        {{"severity", severity_names[static_cast<std::size_t>(finding.severity)]}, {"text", finding.text}});
  return findings;
}

void print(const client::CheckReport& report) {
  static constexpr Tone tones[] = {Tone::faint, Tone::warning, Tone::bad};
  for (const auto& finding : report.findings) {
    const auto severity = static_cast<std::size_t>(finding.severity);
    fmt::print("{}: {}\n", toned(tones[severity], severity_names[severity]), client::printable(finding.text));
  }
}

std::vector<Checked> check_all(Client& client) {
  std::vector<Checked> checked;
  for (const auto& vdi : all_vdis(client)) {
    try {
      checked.push_back(check_vdi(client, vdi));
    } catch (const CommandError& error) {
      if (error.code != exit_code::missing) throw;  // deleted meanwhile
    }
  }
  return checked;
}

void check_cluster(const Options& options, Client& client, bool repair) {
  auto report = client.report<client::CheckReport>(client::ClusterCheck{});
  std::vector<Checked> disks;
  json before;
  if (repair) {
    if (options.json)
      before = as_json(report);
    else
      print(report);
    std::fflush(stdout);
    disks = check_all(client);
    if (!options.json) {
      if (!disks.empty()) print_table(disks);
      fmt::print("\nAfter the repair:\n");
      print_advice(disks);
    }
    report = client.report<client::CheckReport>(client::ClusterCheck{});
  }
  const bool well = healthy(report) && std::ranges::all_of(disks, &Checked::good);
  if (options.json) {
    json out = {{"healthy", well}, {"findings", as_json(report)}};
    if (repair) {
      out["findings_before"] = before;
      out["disks"] = json::array();
      for (const Checked& disk : disks) out["disks"].push_back(as_json(disk));
    }
    fmt::print("{}\n", out.dump(2));
  } else {
    print(report);
    if (well) fmt::print("{}\n", toned(Tone::good, "The cluster is healthy."));
  }
  if (!well) throw CommandError(exit_code::unhealthy, "");
}

}  // namespace

void add_check_commands(CLI::App& app, const Options& options, Client& client) {
  auto* cluster = app.get_subcommand("cluster")->add_subcommand(
      "check", "Say what is wrong with the cluster; exit code 6 if anything is");
  cluster->footer(
      examples({{"dog cluster check", "each trouble, with what to do about it"},
                {"dog cluster check --repair", "and reads every copy of every VDI, and repairs what is wrong"},
                {"dog cluster check >/dev/null || mail ...", "for a timer: 0 healthy, 6 not, 2 no answer"}}));
  auto repair = std::make_shared<bool>(false);
  cluster->add_flag("--repair", *repair,
                    "Then check and repair every VDI, as `dog vdi check` does, and say what is wrong still");
  cluster->callback([&options, &client, repair] { check_cluster(options, client, *repair); });

  auto* vdi = app.get_subcommand("vdi")->add_subcommand(
      "check",
      "Read every copy of a VDI, repair damaged blocks and make copies whole; exit code 6 if something stays wrong");
  vdi->footer(examples({{"dog vdi check disk", "what was read, found and repaired; clients may work meanwhile"}}));
  auto name = std::make_shared<std::string>();
  vdi->add_option("name", *name, "Name of the VDI")->required()->type_name("NAME");
  vdi->callback([&options, &client, name] { check_one(options, client, *name); });
}

}  // namespace sd::dog
