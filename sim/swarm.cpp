// Draws a run's configuration: each seed has its own shape, limits, speeds, mix of operations and classes of faults,
// with whole classes off, because a run that does everything at once reaches few corners.
#include <algorithm>
#include <charconv>
#include <span>
#include <type_traits>

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
    if (kind == 0)
      region.first = 0;
    else if (kind == 1)
      region.first = load.vdi_sectors - region.sectors;
    else
      region.first = sectors_per_object * (1 + d.choose(Site::config, objects - 2));
    if (kind == 2) region.first -= region.sectors / 2;  // over a boundary of objects
    bool overlaps = false;
    for (const Region& other : load.regions)
      overlaps |= region.first < other.first + other.sectors && other.first < region.first + region.sectors;
    if (!overlaps) load.regions.push_back(region);
  }
  static constexpr std::uint32_t usual[] = {40, 40, 4, 4, 4, 4};
  for (std::size_t i = 0; i < std::size(usual); ++i)
    load.weights[i] = d.chance(Site::config, 1, 3) ? 0 : usual[i] * (d.chance(Site::config, 1, 4) ? 4 : 1);
  if (load.weights[0] == 0) load.weights[0] = 10;
  if (load.weights[1] == 0) load.weights[1] = 20;
  load.depth = 1u << d.choose(Site::config, 5);
  load.ops = static_cast<std::uint32_t>(50 + d.choose(Site::config, 500));
  load.max_sectors = d.chance(Site::config, 1, 8) ? 256 : 64;
  load.think_max = config.chaos * 2 / load.ops;
  load.op_timeout = seconds(2) + d.choose(Site::config, seconds(15));
}

// The commands that guests send more rarely. Drawn last, so that the rest of a seed's configuration does not depend on
// them.
void draw_rare_commands(Decisions& d, Config& config) {
  if (d.chance(Site::config, 1, 8)) return;
  config.workload.all_commands = true;
  for (std::size_t i = static_cast<std::size_t>(OpClass::fua_trim); i < std::size(op_names); ++i)
    config.workload.weights[i] =
        d.chance(Site::config, 1, 2) ? static_cast<std::uint32_t>(1 + d.choose(Site::config, 6)) : 0;
}

void draw_faults(Decisions& d, Config& config) {
  // One seed in eight knows no faults; the others have each class with a chance that they draw once.
  if (d.chance(Site::config, 1, 8)) return;
  const std::uint64_t density = 1 + d.choose(Site::config, 6);
  for (std::size_t i = 0; i < random_faults; ++i)
    if (d.chance(Site::config, density, 10)) config.faults |= FaultSet{1} << i;
  const FaultSet node_losses = bit(FaultClass::kill) | bit(FaultClass::power) | bit(FaultClass::stop);
  if (config.copies == 1) config.faults &= ~(bit(FaultClass::power) | bit(FaultClass::rot) | bit(FaultClass::stop));
  if (config.copies == 1 && config.nodes > 1) config.faults &= ~bit(FaultClass::kill);
  // A rotten block counts as a lost copy until it is read or scrubbed; so nothing else may take the others away
  // meanwhile.
  const FaultSet removals = bit(FaultClass::partition) | bit(FaultClass::one_way) | bit(FaultClass::bridge) |
                            bit(FaultClass::slow_net) | bit(FaultClass::pause) | bit(FaultClass::slow_disk) |
                            bit(FaultClass::stall) | bit(FaultClass::full) | bit(FaultClass::flip) |
                            bit(FaultClass::reset);
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

// Some seeds are made for one of the aimed faults: what is at stake there must be probable, and nothing else may get in
// the way too often. Drawn from a site of its own, so that it changes no other seed.
void draw_aim(Decisions& d, Config& config) {
  const auto draw = [&](std::uint64_t bound) { return d.choose(Site::aim, bound); };
  if (draw(5) != 0) return;
  const FaultClass aim =
      static_cast<FaultClass>(simple_faults + draw(static_cast<std::size_t>(FaultClass::count) - simple_faults));
  Workload& load = config.workload;
  config.faults = bit(aim);
  if (draw(4) == 0) config.faults |= bit(FaultClass::reconnect);
  if (draw(4) == 0) config.faults |= bit(FaultClass::reset);
  config.nodes = 3 + static_cast<std::uint32_t>(draw(3));
  config.gateways = 0;
  config.zones = config.nodes;
  config.copies = 2 + static_cast<std::uint32_t>(draw(2));
  config.vdis = 1;
  config.lease = milliseconds(800) + milliseconds(100) * draw(8);
  config.lease_margin = config.lease / 5;
  config.chaos = seconds(10) + draw(seconds(10));
  config.fault_gap = milliseconds(500);
  config.fault_length = milliseconds(500) << draw(3);
  config.guests_per_vdi = 2 + static_cast<std::uint32_t>(draw(2));
  load.readers = 1;
  load.ops = static_cast<std::uint32_t>(300 + draw(500));
  load.think_max = config.chaos * 2 / load.ops;
  load.depth = 8u << draw(3);
  load.op_timeout = config.lease * (2 + draw(4)) / 2;
  load.max_sectors = 64;
  static constexpr std::uint32_t usual[] = {40, 60, 0, 0, 4, 4};
  std::copy(std::begin(usual), std::end(usual), load.weights);
  if (aim == FaultClass::lone_witness) {
    config.copies = 2;
    if (config.nodes == 5 && draw(2) == 0) config.copies = 3;
    config.guests_per_vdi = 1 + static_cast<std::uint32_t>(draw(2));
    load.readers = 0;
  }
  if (aim == FaultClass::lone_rot) {
    // As many members as copies: the place of one that is away stays empty, and it comes back behind the others. Large
    // regions, so that chunks are partly as they were.
    config.gateways = config.nodes - config.copies;
    load.readers = 0;
  }
  if (aim == FaultClass::relay) {
    config.nodes = config.zones = 4 + static_cast<std::uint32_t>(draw(2));
    config.copies = 2;
    config.chaos = seconds(20);
  }
  const std::uint64_t objects = load.vdi_sectors / sectors_per_object;
  load.regions.clear();
  const std::uint64_t regions = 2 + draw(10);
  for (std::uint64_t i = 0; i < regions && i < objects; ++i)
    load.regions.push_back({sectors_per_object * i + 8 * draw(64), static_cast<std::uint32_t>(8 << draw(3))});
  if (aim == FaultClass::lone_rot)
    for (Region& region : load.regions) region.sectors = 512;
}

// What an operator does with members. From a site of its own as well.
void draw_membership(Decisions& d, Config& config) {
  const auto draw = [&](std::uint64_t bound) { return d.choose(Site::membership, bound); };
  // A third of the runs each: data moves at once, after some time, or not within the run.
  const std::uint64_t grace = draw(3);
  config.grace_ms = grace == 0 ? 0 : grace == 1 ? static_cast<std::uint32_t>(100 + draw(4000)) : 600'000;
  const bool aimed = config.faults >> simple_faults != 0;
  if (!aimed && config.nodes <= 4 && config.gateways == 0 && draw(config.nodes == 2 ? 2 : 8) == 0) {
    ++config.nodes;
    config.gateways = config.witnesses = 1;
  }
  // The one that is left must have it all, and keep it.
  const FaultSet bad_disks = bit(FaultClass::read_error) | bit(FaultClass::rot) | bit(FaultClass::full);
  if (!aimed && config.nodes == 3 && config.copies == 3 && config.gateways == 0 && (config.faults & bad_disks) == 0 &&
      config.faults != 0 && draw(4) == 0)
    config.faults |= bit(FaultClass::lose_majority);
  // A drained node's data needs a place to go.
  if (aimed || config.faults == 0 || config.nodes - config.gateways <= config.copies || config.zones <= config.copies)
    return;
  if (draw(3) == 0) config.faults |= bit(FaultClass::drain);
  if (draw(3) == 0) config.faults |= bit(FaultClass::replace);
}

// Faults that came later have a site of their own too, so that they change only the seeds that have them.
void draw_rare(Decisions& d, Config& config) {
  const auto draw = [&](std::uint64_t bound) { return d.choose(Site::rare, bound); };
  if (draw(3) != 0 || config.faults >> simple_faults != 0) return;
  const FaultSet bad_disk = bit(FaultClass::rot) | bit(FaultClass::read_error) | bit(FaultClass::full);
  // Whoever is left alone must have everything: nothing else may have taken it away.
  const bool several = config.nodes - config.gateways >= 3 && config.copies >= 2 &&
                       (config.faults & bit(FaultClass::lose_majority)) == 0;
  if (several && draw(16) == 0) {
    // More than the copies allow for. What then may be lost is told to the models; what is read must still be right.
    config.break_plan = true;
    config.faults = bit(FaultClass::wipe) | bit(FaultClass::power);
    if (draw(2) == 0) config.faults |= bit(FaultClass::partition);
    config.fault_gap = config.chaos / 4;
    config.fault_length = milliseconds(500);
    config.final_power_loss = false;
    return;
  }
  const auto maybe = [&](FaultClass fault, bool possible) {
    if (draw(4) == 0 && possible) config.faults |= bit(fault);
  };
  maybe(FaultClass::slow_reader, true);
  maybe(FaultClass::clock_jump, config.drift_ppm == 0);
  maybe(FaultClass::zone_loss, several && config.zones >= 3 && (config.faults & bit(FaultClass::rot)) == 0);
  maybe(FaultClass::wipe, several && (config.faults & bad_disk) == 0);
  const std::uint64_t kind = draw(6);
  if (!several || (config.faults & (bad_disk | bit(FaultClass::wipe))) != 0 || kind > 2) return;
  config.faults |= bit(static_cast<FaultClass>(static_cast<std::uint64_t>(FaultClass::sync_error) + kind));
  if (kind == 2) {
    // Like rot: a copy that is lost, and nobody knows.
    config.faults &= bit(FaultClass::lost_write) | bit(FaultClass::reset) | bit(FaultClass::guest_cut) |
                     bit(FaultClass::reconnect) | bit(FaultClass::slow_reader);
    if (config.copies >= 3) config.faults |= bit(FaultClass::kill);
  }
}

// Disks that come back as they were: something that a plan may hold besides, and some seeds made for it.
void draw_image(Decisions& d, Config& config) {
  const auto draw = [&](std::uint64_t bound) { return d.choose(Site::image, bound); };
  const std::uint64_t kind = draw(16);
  if (kind > 2 || config.faults == 0 || config.faults >> simple_faults != 0 || config.break_plan) return;
  if (kind == 0) {
    config.nodes = config.zones = 3 + static_cast<std::uint32_t>(draw(2));
    config.copies = 2 + static_cast<std::uint32_t>(draw(2));
    config.gateways = config.witnesses = 0;
    config.faults = bit(FaultClass::old_image);
    if (draw(2) == 0) config.faults |= bit(FaultClass::power);
    if (draw(4) == 0) config.faults |= bit(FaultClass::partition);
    config.chaos = seconds(12) + draw(seconds(8));
    config.fault_gap = milliseconds(500);
    config.fault_length = milliseconds(500) << draw(3);
    config.workload.think_max = config.chaos * 2 / config.workload.ops;
    return;
  }
  const FaultSet others = bit(FaultClass::rot) | bit(FaultClass::read_error) | bit(FaultClass::full) |
                          bit(FaultClass::wipe) | bit(FaultClass::lost_write) | bit(FaultClass::lying_sync) |
                          bit(FaultClass::sync_error) | bit(FaultClass::drain) | bit(FaultClass::replace) |
                          bit(FaultClass::lose_majority);
  if ((config.faults & others) == 0 && config.nodes - config.gateways >= 3 && config.copies >= 2)
    config.faults |= bit(FaultClass::old_image);
}

// In a quarter of the seeds that cut paths.
void draw_resume(Decisions& d, Config& config) {
  constexpr FaultSet cuts = bit(FaultClass::partition) | bit(FaultClass::one_way) | bit(FaultClass::bridge) |
                            bit(FaultClass::lone_witness) | bit(FaultClass::lone_owner) | bit(FaultClass::late_writes);
  config.network.late_resume = (config.faults & cuts) != 0 && d.choose(Site::resume, 4) == 0;
}

// From a site of its own too. Where blocks rot, checks find them instead of the scrub.
void draw_checks(Decisions& d, Config& config) {
  const bool rot = (config.faults & (bit(FaultClass::rot) | bit(FaultClass::lost_write))) != 0;
  config.checks = !config.break_plan && config.faults >> simple_faults == 0 && d.choose(Site::check, rot ? 2 : 6) == 0;
}

// Narrow paths, and how little may be ahead of what is urgent. From a site of its own too.
void draw_narrow(Decisions& d, Config& config) {
  const auto draw = [&](std::uint64_t bound) { return d.choose(Site::narrow, bound); };
  if (draw(4) == 0) config.send_ahead = 512u << draw(8);
  // It may cost a member its place, which a rotten block may not.
  const FaultSet silent = bit(FaultClass::rot) | bit(FaultClass::lost_write);
  if (draw(8) == 0 && config.faults != 0 && !config.break_plan && config.faults >> simple_faults == 0 &&
      (config.faults & silent) == 0)
    config.faults |= bit(FaultClass::narrow);
}

// An operator at work, beside whatever goes wrong. From a site of its own too.
void draw_operator(Decisions& d, Config& config) {
  constexpr FaultSet others = bit(FaultClass::lose_majority) | bit(FaultClass::old_image);
  const bool possible = !config.break_plan && config.faults >> simple_faults == 0 && (config.faults & others) == 0;
  config.operates = possible && d.chance(Site::operate, 1, 4);
}

bool parse_names(std::string_view names, std::span<const std::string_view> known, FaultSet& mask) {
  mask = 0;
  if (names == "none") return true;
  while (!names.empty()) {
    const std::size_t comma = names.find(',');
    const std::string_view name = names.substr(0, comma);
    names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
    bool found = false;
    for (std::size_t i = 0; i < known.size(); ++i)
      if (known[i] == name) {
        mask |= FaultSet{1} << i;
        found = true;
      }
    if (!found) return false;
  }
  return true;
}

std::string names_of(FaultSet mask, std::span<const std::string_view> known) {
  std::string text;
  for (std::size_t i = 0; i < known.size(); ++i)
    if (mask >> i & 1) text += (text.empty() ? "" : ",") + std::string(known[i]);
  return text.empty() ? "none" : text;
}

// Numbers with commas.
bool parse_numbers(std::string_view text, std::vector<std::uint64_t>& numbers, char separator = ',') {
  numbers.clear();
  for (const char *at = text.data(), *end = at + text.size(); at < end;) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(at, end, number);
    if (parsed.ec != std::errc() || (parsed.ptr != end && *parsed.ptr != separator)) return false;
    numbers.push_back(number);
    at = parsed.ptr == end ? end : parsed.ptr + 1;
  }
  return !numbers.empty();
}

bool parse_regions(std::string_view text, std::vector<Region>& regions) {
  std::vector<Region> parsed;
  std::vector<std::uint64_t> pair;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    if (!parse_numbers(text.substr(0, comma), pair, '+') || pair.size() != 2 || pair[1] == 0) return false;
    parsed.push_back({pair[0], static_cast<std::uint32_t>(pair[1])});
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  if (parsed.empty()) return false;
  regions = std::move(parsed);
  return true;
}

// Each bound of a table or queue is small in some seeds.
void draw_limits(Decisions& d, Config& config) {
  if (!d.chance(Site::sizes, 1, 3)) return;
  NodeLimits::fields(config.limits, [&](std::string_view, auto& limit) {
    const std::uint64_t small = 2u << d.choose(Site::sizes, 4);
    if (d.chance(Site::sizes, 1, 2)) limit = static_cast<std::remove_reference_t<decltype(limit)>>(small);
  });
  config.limits.batch_records = std::max(config.limits.batch_records, 4u);
}

// Calls `field` with the key and the place of every field that is a number and has no rule of its own.
template <typename F>
void each_number(Config& config, F field) {
  Workload& load = config.workload;
  field("vdi_sectors", load.vdi_sectors);
  field("w_read", load.weights[0]);
  field("w_write", load.weights[1]);
  field("w_flush", load.weights[2]);
  field("w_fua", load.weights[3]);
  field("w_trim", load.weights[4]);
  field("w_zeroes", load.weights[5]);
  field("w_fua_trim", load.weights[6]);
  field("w_fua_zeroes", load.weights[7]);
  field("w_full_zeroes", load.weights[8]);
  field("w_fast_zeroes", load.weights[9]);
  field("w_status", load.weights[10]);
  field("w_cache", load.weights[11]);
  field("all_commands", load.all_commands);
  field("max_sectors", load.max_sectors);
  field("think_max", load.think_max);
  field("op_timeout", load.op_timeout);
  field("readers", load.readers);
  field("fault_gap", config.fault_gap);
  field("fault_length", config.fault_length);
  field("chaos", config.chaos);
  field("lease", config.lease);
  field("lease_margin", config.lease_margin);
  field("heartbeat", config.heartbeat);
  field("grace_ms", config.grace_ms);
  field("journal_bytes", config.journal_bytes);
  field("apply_bytes", config.apply_bytes);
  field("max_dirty_bytes", config.max_dirty_bytes);
  field("meta_cache", config.meta_cache);
  field("remembered_writes", config.remembered_writes);
  field("send_ahead", config.send_ahead);
  field("drift_ppm", config.drift_ppm);
  field("read_min", config.disk.read_min);
  field("read_max", config.disk.read_max);
  field("write_min", config.disk.write_min);
  field("write_max", config.disk.write_max);
  field("sync_min", config.disk.sync_min);
  field("sync_max", config.disk.sync_max);
  field("latency_min", config.network.path.latency_min);
  field("latency_max", config.network.path.latency_max);
  field("ns_per_kilobyte", config.network.path.ns_per_kilobyte);
  field("window", config.network.window);
  field("split_per_thousand", config.network.split_per_thousand);
  NodeLimits::fields(config.limits, field);
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
  draw_aim(d, config);
  draw_membership(d, config);
  draw_rare(d, config);
  draw_image(d, config);
  draw_resume(d, config);
  draw_checks(d, config);
  draw_narrow(d, config);
  for (std::uint32_t i = 0; i < config.nodes; ++i) config.starts.push_back(d.choose(Site::config, milliseconds(500)));
  config.remembered_writes = d.chance(Site::limits, 1, 2) ? std::uint32_t{max_recent}
                                                          : static_cast<std::uint32_t>(2 << d.choose(Site::limits, 3));
  draw_rare_commands(d, config);
  draw_limits(d, config);
  draw_operator(d, config);
  return config;
}

bool apply_override(Config& config, std::string_view word) {
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view key = word.substr(0, equals);
  const std::string_view value = word.substr(equals + 1);
  if (key == "faults") {
    config.break_plan = config.network.late_resume = config.checks = config.operates =
        false;  // unless a later word says so
    config.send_ahead = Config{}.send_ahead;
    config.limits = {};
    return parse_names(value, fault_names, config.faults);
  }
  if (key == "mix") {
    FaultSet mask = 0;
    if (!parse_names(value, op_names, mask) || mask == 0) return false;
    for (std::size_t i = 0; i < std::size(op_names); ++i) {
      std::uint32_t& weight = config.workload.weights[i];
      weight = (mask >> i & 1) == 0 ? 0 : weight == 0 ? 10 : weight;
    }
    return true;
  }
  if (key == "regions" && value.find('+') != std::string_view::npos)
    return parse_regions(value, config.workload.regions);
  if (key == "starts") return parse_numbers(value, config.starts);
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) return false;
  const auto n = static_cast<std::uint32_t>(number);
  if (key == "nodes" && n >= 1 && n <= 30) {
    config.nodes = n;
    config.gateways = std::min(config.gateways, n - 1);
    config.witnesses = std::min(config.witnesses, config.gateways);
    config.copies = std::min(config.copies, n - config.gateways);
    config.zones = std::max(std::min(config.zones, n), config.copies);
  } else if (key == "gateways" && n < config.nodes) {
    config.gateways = n;
    config.witnesses = std::min(config.witnesses, n);
    config.copies = std::min(config.copies, config.nodes - n);
  } else if (key == "witnesses" && n <= config.gateways) {
    config.witnesses = n;
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
  } else if (key == "break_plan") {
    config.break_plan = number != 0;
  } else if (key == "late_resume") {
    config.network.late_resume = number != 0;
  } else if (key == "operates") {
    config.operates = n != 0;
  } else if (key == "checks") {
    config.checks = number != 0;
  } else if (key == "check_every" && n >= 1) {
    config.check_every = n;
  } else {
    bool found = false;
    each_number(config, [&](std::string_view name, auto& place) {
      if (name != key) return;
      found = true;
      place = static_cast<std::remove_reference_t<decltype(place)>>(number);
    });
    return found;
  }
  return true;
}

namespace {

void add(std::string& text, std::string_view key, std::uint64_t value) {
  text += std::string(key) + "=" + std::to_string(value) + " ";
}

std::string shape_text(const Config& config) {
  std::string text;
  add(text, "nodes", config.nodes);
  add(text, "gateways", config.gateways);
  add(text, "witnesses", config.witnesses);
  add(text, "copies", config.copies);
  add(text, "zones", config.zones);
  add(text, "vdis", config.vdis);
  add(text, "guests", config.guests_per_vdi);
  add(text, "ops", config.workload.ops);
  add(text, "depth", config.workload.depth);
  add(text, "final_power", config.final_power_loss);
  text += "faults=" + names_of(config.faults, fault_names) + " ";
  if (config.break_plan) add(text, "break_plan", 1);
  if (config.network.late_resume) add(text, "late_resume", 1);
  if (config.checks) add(text, "checks", 1);
  if (config.operates) add(text, "operates", 1);
  return text;
}

}  // namespace

std::string override_text(const Config& config) {
  std::string text = shape_text(config);
  add(text, "regions", config.workload.regions.size());
  add(text, "chaos_ms", config.chaos / 1'000'000);
  add(text, "gap_ms", config.fault_gap / 1'000'000);
  add(text, "length_ms", config.fault_length / 1'000'000);
  return text + "mix=" + names_of(mix_of(config), op_names);
}

std::string full_text(const Config& config) {
  std::string text = shape_text(config);
  add(text, "check_every", config.check_every);
  Config copy = config;
  each_number(copy, [&](std::string_view name, auto& place) { add(text, name, place); });
  text += "regions=";
  for (std::size_t i = 0; i < config.workload.regions.size(); ++i)
    text += (i == 0 ? "" : ",") + std::to_string(config.workload.regions[i].first) + "+" +
            std::to_string(config.workload.regions[i].sectors);
  text += " starts=";
  for (std::size_t i = 0; i < config.starts.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(config.starts[i]);
  return text;
}

std::string to_text(const Config& config) {
  std::string text = override_text(config);
  text += " | vdi " + std::to_string(config.workload.vdi_sectors / 2048) + " MB, regions";
  for (const Region& region : config.workload.regions)
    text += " " + std::to_string(region.first) + "+" + std::to_string(region.sectors);
  text += ", lease " + std::to_string(config.lease / 1'000'000) + "+" +
          std::to_string(config.lease_margin / 1'000'000) + " ms, journal " +
          std::to_string(config.journal_bytes >> 10) + " KB, meta cache " + std::to_string(config.meta_cache) +
          ", latency up to " + std::to_string(config.network.path.latency_max / 1000) + " us, window " +
          std::to_string(config.network.window) + ", ahead " + std::to_string(config.send_ahead) + ", grace " +
          std::to_string(config.grace_ms) + " ms, drift " + std::to_string(config.drift_ppm) +
          " ppm, request timeout " + std::to_string(config.workload.op_timeout / 1'000'000) + " ms";
  return text;
}

}  // namespace sd::sim
