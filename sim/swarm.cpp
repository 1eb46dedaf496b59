// Draws a run's configuration: each seed has its own shape, limits, speeds, mix of operations and classes of faults, with whole classes
// off, because a run that does everything at once reaches few corners.
#include <algorithm>
#include <charconv>
#include <span>

#include "sim/config.hpp"

namespace sd::sim {

namespace {

constexpr std::uint64_t sectors_per_object = 8192;

void draw_workload(Decisions& d, Config& config) {
  Workload& load = config.workload;
  const std::uint64_t objects = d.chance(Site::config, 1, 4) ? 4096 : 4 + d.choose(Site::config, 12);
  load.vdi_sectors = objects * sectors_per_object - d.choose(Site::config, 2) * 8 * d.choose(Site::config, 100);
  const std::uint64_t regions = 1 + d.choose(Site::config, 4);
  for (std::uint64_t i = 0; i < regions; ++i) {
    Region region;
    region.sectors = static_cast<std::uint32_t>(8 << d.choose(Site::config, 6));
    const std::uint64_t kind = d.choose(Site::config, 4);
    if (kind == 0) region.first = 0;
    else if (kind == 1) region.first = load.vdi_sectors - region.sectors;
    else region.first = sectors_per_object * (1 + d.choose(Site::config, objects - 2));
    if (kind == 2) region.first -= region.sectors / 2;  // over a boundary of objects
    bool overlaps = false;
    for (const Region& other : load.regions) overlaps |= region.first < other.first + other.sectors && other.first < region.first + region.sectors;
    if (!overlaps) load.regions.push_back(region);
  }
  static constexpr std::uint32_t usual[] = {40, 40, 4, 4, 4, 4};
  for (std::size_t i = 0; i < std::size(usual); ++i) load.weights[i] = d.chance(Site::config, 1, 3) ? 0 : usual[i] * (d.chance(Site::config, 1, 4) ? 4 : 1);
  if (load.weights[0] == 0) load.weights[0] = 10;
  if (load.weights[1] == 0) load.weights[1] = 20;
  load.depth = 1u << d.choose(Site::config, 5);
  load.ops = static_cast<std::uint32_t>(50 + d.choose(Site::config, 500));
  load.max_sectors = d.chance(Site::config, 1, 8) ? 256 : 64;
  load.think_max = config.chaos * 2 / load.ops;
  load.op_timeout = seconds(2) + d.choose(Site::config, seconds(15));
}

void draw_faults(Decisions& d, Config& config) {
  // One seed in eight knows no faults; the others have each class with a chance that they draw once.
  if (d.chance(Site::config, 1, 8)) return;
  const std::uint64_t density = 1 + d.choose(Site::config, 6);
  for (std::size_t i = 0; i < static_cast<std::size_t>(FaultClass::count); ++i)
    if (d.chance(Site::config, density, 10)) config.faults |= 1u << i;
  const std::uint32_t node_losses = bit(FaultClass::kill) | bit(FaultClass::power) | bit(FaultClass::stop);
  if (config.copies == 1) config.faults &= ~(bit(FaultClass::power) | bit(FaultClass::rot) | bit(FaultClass::stop));
  if (config.copies == 1 && config.nodes > 1) config.faults &= ~bit(FaultClass::kill);
  // A rotten block counts as a lost copy until it is read or scrubbed; so nothing else may take the others away meanwhile.
  const std::uint32_t removals = bit(FaultClass::partition) | bit(FaultClass::one_way) | bit(FaultClass::bridge) | bit(FaultClass::slow_net) | bit(FaultClass::pause) |
                                 bit(FaultClass::slow_disk) | bit(FaultClass::stall) | bit(FaultClass::full) | bit(FaultClass::flip);
  if (config.faults & bit(FaultClass::rot)) {
    config.faults &= ~removals;
    if (config.copies < 3) config.faults &= ~(node_losses | bit(FaultClass::power_all));
  }
  config.fault_gap = milliseconds(100) << d.choose(Site::config, 5);
  config.fault_length = milliseconds(200) << d.choose(Site::config, 6);
  if (config.faults & bit(FaultClass::drift)) {
    const std::uint64_t bound = config.lease_margin * 1'000'000 / config.lease / 2 * 9 / 10;
    config.drift_ppm = static_cast<std::uint32_t>(d.chance(Site::config, 1, 2) ? 200 : bound);
  }
}

bool parse_names(std::string_view names, std::span<const std::string_view> known, std::uint32_t& mask) {
  mask = 0;
  if (names == "none") return true;
  while (!names.empty()) {
    const std::size_t comma = names.find(',');
    const std::string_view name = names.substr(0, comma);
    names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
    bool found = false;
    for (std::size_t i = 0; i < known.size(); ++i)
      if (known[i] == name) {
        mask |= 1u << i;
        found = true;
      }
    if (!found) return false;
  }
  return true;
}

std::string names_of(std::uint32_t mask, std::span<const std::string_view> known) {
  std::string text;
  for (std::size_t i = 0; i < known.size(); ++i)
    if (mask >> i & 1) text += (text.empty() ? "" : ",") + std::string(known[i]);
  return text.empty() ? "none" : text;
}

std::uint32_t mix_of(const Config& config) {
  std::uint32_t mask = 0;
  for (std::size_t i = 0; i < std::size(op_names); ++i)
    if (config.workload.weights[i] > 0) mask |= 1u << i;
  return mask;
}

}  // namespace

Config draw_config(Decisions& d) {
  Config config;
  static constexpr std::uint32_t node_counts[] = {1, 2, 3, 3, 3, 3, 3, 4, 5, 5};
  config.nodes = node_counts[d.choose(Site::config, std::size(node_counts))];
  if (config.nodes >= 3 && d.chance(Site::config, 1, 8)) config.gateways = 1;
  const std::uint32_t storing = config.nodes - config.gateways;
  config.copies = 1 + static_cast<std::uint32_t>(d.choose(Site::config, std::min(3u, storing)));
  if (storing >= 2 && config.copies == 1 && d.chance(Site::config, 2, 3)) config.copies = 2;
  config.zones = d.chance(Site::config, 1, 5) && storing > config.copies ? config.copies : config.nodes;
  config.vdis = 1 + static_cast<std::uint32_t>(d.choose(Site::config, 8) / 6);
  config.guests_per_vdi = 1 + static_cast<std::uint32_t>(d.choose(Site::config, 3) / 2);
  config.chaos = seconds(2) + d.choose(Site::config, seconds(14));
  config.final_power_loss = d.chance(Site::config, 1, 2);

  config.lease = milliseconds(1000) + milliseconds(500) * d.choose(Site::limits, 5);
  config.lease_margin = config.lease / (4 + d.choose(Site::limits, 8));
  config.heartbeat = milliseconds(50) + milliseconds(10) * d.choose(Site::limits, 6);
  config.journal_bytes = 1u << (20 + d.choose(Site::limits, 4));
  config.apply_bytes = config.journal_bytes / (4 + d.choose(Site::limits, 12));
  config.max_dirty_bytes = config.journal_bytes / 2;
  config.meta_cache = static_cast<std::uint32_t>(2 << d.choose(Site::limits, 8));

  const std::uint64_t net = d.choose(Site::config, 4);
  if (net == 2) config.network.path = {milliseconds(1), milliseconds(5), 10'000};
  if (net == 3) config.network.path = {microseconds(10), milliseconds(10), 1'000};
  config.network.window = d.chance(Site::limits, 1, 4) ? 4096 : 256u << 10;
  config.network.split_per_thousand = d.chance(Site::limits, 1, 4) ? 300 : 20;
  if (d.chance(Site::config, 1, 4)) config.disk.sync_max = milliseconds(30);
  if (d.chance(Site::config, 1, 4)) config.disk.write_max = milliseconds(5);

  draw_workload(d, config);
  draw_faults(d, config);
  return config;
}

bool apply_override(Config& config, std::string_view word) {
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view key = word.substr(0, equals);
  const std::string_view value = word.substr(equals + 1);
  if (key == "faults") return parse_names(value, fault_names, config.faults);
  if (key == "mix") {
    std::uint32_t mask = 0;
    if (!parse_names(value, op_names, mask) || mask == 0) return false;
    for (std::size_t i = 0; i < std::size(op_names); ++i) {
      std::uint32_t& weight = config.workload.weights[i];
      weight = (mask >> i & 1) == 0 ? 0 : weight == 0 ? 10 : weight;
    }
    return true;
  }
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) return false;
  const auto n = static_cast<std::uint32_t>(number);
  if (key == "nodes" && n >= 1 && n <= 30) {
    config.nodes = n;
    config.gateways = std::min(config.gateways, n - 1);
    config.copies = std::min(config.copies, n - config.gateways);
    config.zones = std::max(std::min(config.zones, n), config.copies);
  } else if (key == "gateways" && n < config.nodes) {
    config.gateways = n;
    config.copies = std::min(config.copies, config.nodes - n);
  } else if (key == "copies" && n >= 1 && n <= config.nodes) {
    config.copies = n;
    config.zones = std::max(config.zones, n);
  } else if (key == "zones" && n >= 1) {
    config.zones = n;
  } else if (key == "vdis" && n >= 1 && n <= 16) {
    config.vdis = n;
  } else if (key == "guests" && n >= 1 && n <= 16) {
    config.guests_per_vdi = n;
  } else if (key == "ops") {
    config.workload.ops = n;
  } else if (key == "depth" && n >= 1 && n <= 64) {
    config.workload.depth = n;
  } else if (key == "regions" && n >= 1) {
    if (n < config.workload.regions.size()) config.workload.regions.resize(n);
  } else if (key == "chaos_ms") {
    config.chaos = milliseconds(number);
  } else if (key == "gap_ms" && number > 0) {
    config.fault_gap = milliseconds(number);
  } else if (key == "length_ms" && number > 0) {
    config.fault_length = milliseconds(number);
  } else if (key == "final_power") {
    config.final_power_loss = number != 0;
  } else if (key == "check_every" && n >= 1) {
    config.check_every = n;
  } else {
    return false;
  }
  return true;
}

std::string override_text(const Config& config) {
  std::string text;
  const auto add = [&](std::string_view key, std::uint64_t value) {
    text += std::string(key) + "=" + std::to_string(value) + " ";
  };
  add("nodes", config.nodes);
  add("gateways", config.gateways);
  add("copies", config.copies);
  add("zones", config.zones);
  add("vdis", config.vdis);
  add("guests", config.guests_per_vdi);
  add("ops", config.workload.ops);
  add("depth", config.workload.depth);
  add("regions", config.workload.regions.size());
  add("chaos_ms", config.chaos / 1'000'000);
  add("gap_ms", config.fault_gap / 1'000'000);
  add("length_ms", config.fault_length / 1'000'000);
  add("final_power", config.final_power_loss);
  text += "mix=" + names_of(mix_of(config), op_names) + " faults=" + names_of(config.faults, fault_names);
  return text;
}

std::string to_text(const Config& config) {
  std::string text = override_text(config);
  text += " | vdi " + std::to_string(config.workload.vdi_sectors / 2048) + " MB, regions";
  for (const Region& region : config.workload.regions) text += " " + std::to_string(region.first) + "+" + std::to_string(region.sectors);
  text += ", lease " + std::to_string(config.lease / 1'000'000) + "+" + std::to_string(config.lease_margin / 1'000'000) + " ms, journal " +
          std::to_string(config.journal_bytes >> 10) + " KB, meta cache " + std::to_string(config.meta_cache) + ", latency up to " +
          std::to_string(config.network.path.latency_max / 1000) + " us, window " + std::to_string(config.network.window) + ", drift " +
          std::to_string(config.drift_ppm) + " ppm, request timeout " + std::to_string(config.workload.op_timeout / 1'000'000) + " ms";
  return text;
}

}  // namespace sd::sim
