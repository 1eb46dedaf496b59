#include "sim/scenario.hpp"

#include <algorithm>

#include "core/cluster/placement.hpp"
#include "sim/admin.hpp"

namespace sd::sim {

namespace {

constexpr std::uint32_t piece = 256;        // sectors of one read
constexpr Time voters_settle = seconds(3);  // more of the members get a vote, one after the other
constexpr Time setup_limit = seconds(300);
constexpr Time settle_limit = seconds(180);

Config config_of(const Shape& shape) {
  Config config;
  config.scripted = true;
  config.nodes = shape.nodes;
  config.copies = shape.copies;
  config.gateways = shape.gateways;
  config.witnesses = shape.witnesses;
  config.zones = shape.zones == 0 ? shape.nodes : shape.zones;
  config.vdis = shape.vdis;
  config.guests_per_vdi = shape.nodes;
  config.lease = shape.lease;
  config.lease_margin = shape.lease_margin;
  config.network.late_resume = shape.late_resume;
  config.workload.vdi_sectors = shape.objects * Scenario::object;
  config.workload.ops = 0;
  config.workload.depth = 32;
  config.workload.op_timeout = shape.op_timeout;
  return config;
}

}  // namespace

Scenario::Scenario(const Shape& shape)
    : shape_(shape), decisions_(shape.seed), written_(shape.vdis), volumes_(shape.vdis) {
#ifdef SD_SIM_BUGS
  probes_reached = 0;
#endif
  world_ = std::make_unique<World>(decisions_, config_of(shape), shape.sink, false);
  world_->begin(true);
  if (!until([this] { return world_->admin->done() && redundant(); }, setup_limit))
    world_->fail(Violation::Class::liveness, "the cluster does not come up: " + world_->troubles());
  // Data of a node that is down move at once.
  if (!trouble().empty() || !world_->nodes[0]->order(cluster::SetGrace{0})) return;
  run(voters_settle);
}

Scenario::~Scenario() = default;

// --- Time

void Scenario::run(Time length) {
  const Time end = now() + length;
  while (!world_->failed() && world_->events.next_at() <= end) world_->step();
  world_->now = std::max(world_->now, world_->failed() ? world_->now : end);
}

bool Scenario::until(const std::function<bool()>& condition, Time limit) {
  const Time end = now() + limit;
  while (!world_->failed() && now() < end) {
    if (condition()) return true;
    world_->step();
  }
  return !world_->failed() && condition();
}

// --- Nodes

void Scenario::kill(const Nodes& nodes) {
  for (const std::uint32_t node : nodes) machine(node).die(false);
}
void Scenario::kill_after(std::uint32_t node, std::uint32_t effects, bool power) {
  machine(node).arm_crash(effects, power);
}
void Scenario::cut_power(const Nodes& nodes) {
  for (const std::uint32_t node : nodes) machine(node).die(true);
}
void Scenario::power_off_all() {
  for (std::uint32_t node = 0; node < shape_.nodes; ++node) machine(node).die(true);
  world_->all_lost_power();
}
void Scenario::start(const Nodes& nodes) {
  for (const std::uint32_t node : nodes) machine(node).start();
}
void Scenario::stop(const Nodes& nodes) {
  for (const std::uint32_t node : nodes) {
    machine(node).stop();
    if (!until([&] { return !machine(node).running(); }, seconds(20)))
      world_->fail(Violation::Class::liveness, "a node does not stop: " + world_->troubles());
  }
}
void Scenario::pause(std::uint32_t node, Time length) { machine(node).pause(now() + length); }

void Scenario::fill_disk_to_reserve(std::uint32_t node) {
  disk(node).config.capacity = disk(node).used() + machine(node).options().reserve_bytes / 8;
  machine(node).tell_space();
}
void Scenario::fill_disk(std::uint32_t node) {
  disk(node).config.capacity = 0;
  machine(node).tell_space();
}
void Scenario::wipe(std::uint32_t node) { machine(node).wipe(); }
void Scenario::forget_seeds(const Nodes& nodes) {
  for (const std::uint32_t node : nodes) machine(node).forget_seeds();
}
void Scenario::empty_disk(std::uint32_t node) {
  disk(node).config.capacity = world_->config.disk.capacity;
  machine(node).tell_space();
}

// --- The network

void Scenario::set_blocked(const Nodes& from, const Nodes& to, bool blocked) {
  for (const std::uint32_t a : from)
    for (const std::uint32_t b : to)
      if (a != b) world_->network.set_blocked(a, b, blocked);
}
void Scenario::partition(const Nodes& one, const Nodes& other) {
  set_blocked(one, other, true);
  set_blocked(other, one, true);
}
void Scenario::one_way(const Nodes& from, const Nodes& to) { set_blocked(from, to, true); }
void Scenario::heal_network() {
  for (std::uint32_t a = 0; a < shape_.nodes; ++a)
    for (std::uint32_t b = 0; b < shape_.nodes; ++b)
      if (a != b) {
        world_->network.set_blocked(a, b, false);
        world_->network.set_slow(a, b, 1);
        world_->network.set_narrow(a, b, 0);
      }
}
void Scenario::slow_links(std::uint32_t node, std::uint32_t factor) {
  for (std::uint32_t other = 0; other < shape_.nodes; ++other) {
    world_->network.set_slow(node, other, factor);
    world_->network.set_slow(other, node, factor);
  }
}

void Scenario::narrow_links(std::uint32_t node, std::uint32_t kb_per_second) {
  for (std::uint32_t other = 0; other < shape_.nodes; ++other) {
    world_->network.set_narrow(node, other, kb_per_second);
    world_->network.set_narrow(other, node, kb_per_second);
  }
}

// --- Guests

Scenario::Asked Scenario::ask(OpClass kind, std::uint32_t node, std::uint64_t first, std::uint32_t count,
                              std::uint32_t vdi) {
  Guest& who = guest(node, vdi);
  if (!who.started()) who.start_at(node);
  if (kind != OpClass::read && kind != OpClass::flush && kind != OpClass::status)
    written_[vdi].push_back({first, count});
  return {&who, who.ask(kind, first, count)};
}

Scenario::Answer Scenario::wait(const Asked& asked, Time limit) {
  until([&] { return answer(asked) != Answer::pending; }, limit);
  return answer(asked);
}

std::string Scenario::status_of(std::uint32_t node, std::uint64_t first, std::uint32_t count, std::uint32_t vdi) {
  const Asked asked = ask(OpClass::status, node, first, count, vdi);
  if (wait(asked) != Answer::ok) return "";
  std::string text;
  for (const nbd::Extent& extent : asked.guest->extents())
    text += (text.empty() ? "" : ", ") + std::to_string(extent.length) +
            ((extent.flags & nbd::state_hole) != 0 ? " hole" : " data");
  return text;
}

bool Scenario::write_all(std::uint32_t node, std::uint32_t objects, std::uint32_t vdi) {
  std::vector<Asked> asked;
  for (std::uint32_t i = 0; i < objects; ++i) asked.push_back(ask(OpClass::write, node, i * object, 8, vdi));
  return std::ranges::all_of(asked, [&](const Asked& each) { return wait(each) == Answer::ok; });
}

bool Scenario::read_all(std::uint32_t node, std::uint32_t vdi) {
  // The connection may be one of a former incarnation of the node, as the guest finds out by using it.
  if (guest(node, vdi).started() && wait(ask(OpClass::read, node, 0, 1, vdi)) == Answer::pending) return false;
  std::vector<Asked> asked;
  for (const Written& extent : written_[vdi])
    for (std::uint32_t at = 0; at < extent.count; at += piece)
      asked.push_back(ask(OpClass::read, node, extent.first + at, std::min(piece, extent.count - at), vdi));
  return std::ranges::all_of(asked, [&](const Asked& each) { return wait(each) == Answer::ok; });
}

// --- The operator

std::string Scenario::order(const client::SdRequest& request, std::optional<std::uint32_t> node) {
  world_->admin->order(request, node);
  if (!until([this] { return world_->admin->done(); })) return "no answer";
  const client::ResponseResult& result = world_->admin->reply()->result;
  if (const auto* failure = std::get_if<client::Failure>(&result)) return failure->message;
  if (const auto* error = std::get_if<client::Error>(&result)) return std::string(client::to_string(error->error));
  return "";
}

std::string Scenario::create_disk(const std::string& name, std::optional<std::uint32_t> node) {
  client::VdiCreate create;
  create.name = name;
  create.size = shape_.objects * object * 512;
  return order(create, node);
}

std::string Scenario::delete_disk(const std::string& name, std::optional<std::uint32_t> node) {
  client::VdiDelete remove;
  remove.name = name;
  return order(remove, node);
}

std::string Scenario::grow_disk(std::uint32_t vdi, std::uint64_t objects, std::optional<std::uint32_t> node) {
  std::string said = order(client::VdiResize{"vol" + std::to_string(vdi), objects * object * 512}, node);
  if (said.empty()) world_->models[vdi]->grow(objects * object);
  return said;
}

Scenario::DiskCheck Scenario::check_disk(std::uint32_t vdi, std::optional<std::uint32_t> node) {
  DiskCheck sum;
  while (!sum.done && order(client::VdiCheck{"vol" + std::to_string(vdi), sum.next}, node).empty()) {
    const auto* data = std::get_if<client::Data>(&world_->admin->reply()->result);
    const auto step = data ? client::bincode::from_bytes<client::VdiCheckReport>(data->bytes) : std::nullopt;
    if (!step || !step->gets_on_from(sum.next)) break;
    sum.add(*step);
    sum.done = sum.next >= sum.end;
  }
  return sum;
}

void Scenario::use_disk(std::uint32_t vdi, const std::string& name) {
  world_->models.push_back(std::make_unique<DeviceModel>(++volumes_, shape_.objects * object));
  for (std::uint32_t node = 0; node < shape_.nodes; ++node) guest(node, vdi).attach(name, *world_->models.back());
}

// --- What an observer sees

std::uint32_t Scenario::serving() const {
  std::uint32_t count = 0;
  for (std::uint32_t node = 0; node < shape_.nodes; ++node) count += serves(node);
  return count;
}

std::uint32_t Scenario::leader() const {
  for (std::uint32_t node = 0; node < shape_.nodes; ++node)
    if (serves(node) && status(node).leader) return node;
  return shape_.nodes;
}

std::uint32_t Scenario::owner(std::uint32_t vdi) const {
  for (std::uint32_t node = 0; node < shape_.nodes; ++node) {
    if (!serves(node)) continue;
    const cluster::Vdi* found = state(node).find("vol" + std::to_string(vdi));
    if (!found || found->owner == 0) continue;
    for (std::uint32_t other = 0; other < shape_.nodes; ++other)
      if (machine(other).running() && status(other).id == found->owner) return other;
  }
  return shape_.nodes;
}

std::uint32_t Scenario::objects_on(std::uint32_t node, std::uint32_t vid) const {
  std::uint32_t count = 0;
  for (const FileId file : machine(node).disk.files())
    if (file.kind == FileKind::object && Oid{file.id}.is_data() && Oid{file.id}.vid() == vid) ++count;
  return count;
}

bool Scenario::acts_for(std::uint32_t node, Oid oid, const cluster::Vdi& vdi) const {
  const auto acting = cluster::Placement(state(node)).acting(oid, vdi.copies);
  return std::ranges::find(acting, status(node).id) != acting.end();
}

FileId Scenario::object_file(std::uint32_t index, FileKind kind, std::uint32_t vdi) const {
  const cluster::Vdi* found = state(0).find("vol" + std::to_string(vdi));
  return {kind, 0, found ? Oid::data(found->vid, index).value : 0};
}

bool Scenario::holds(std::uint32_t node, std::uint32_t index, std::uint32_t vdi) const {
  const cluster::Vdi* found = state(node).find("vol" + std::to_string(vdi));
  return found && acts_for(node, Oid::data(found->vid, index), *found);
}

bool Scenario::holds_index(std::uint32_t node, std::uint32_t vdi) const {
  const cluster::Vdi* found = state(node).find("vol" + std::to_string(vdi));
  return found && acts_for(node, Oid::index_object(found->vid, 0), *found);
}

bool Scenario::came_by([[maybe_unused]] Probe probe) const {
#ifdef SD_SIM_BUGS
  return (probes_reached >> static_cast<unsigned>(probe) & 1) != 0;
#else
  return true;
#endif
}

// --- The end

void Scenario::heal() {
  heal_network();
  for (std::uint32_t node = 0; node < shape_.nodes; ++node) {
    SimDisk& each = disk(node);
    each.config = world_->config.disk;
    machine(node).tell_space();
  }
}

std::string Scenario::settle_without(const Nodes& lost) {
  heal();
  for (std::uint32_t node = 0; node < shape_.nodes; ++node)
    if (std::ranges::find(lost, node) == lost.end()) machine(node).start();
  for (std::uint32_t node = 0; node < shape_.nodes && !world_->failed(); ++node) {
    if (std::ranges::find(lost, node) != lost.end()) continue;
    if (!until([&] { return serves(node); }))
      return "node " + std::to_string(node) + " does not serve" + world_->troubles();
    for (std::uint32_t vdi = 0; vdi < shape_.vdis; ++vdi)
      if (!read_all(node, vdi))
        return "disk " + std::to_string(vdi) + " cannot be read through node " + std::to_string(node) + ": " +
               trouble() + world_->troubles();
  }
  return world_->finish(false).what;
}

std::string Scenario::settle() {
  heal();
  for (auto& each : world_->nodes) each->start();
  for (std::uint32_t node = 0; node < shape_.nodes && !world_->failed(); ++node)
    for (std::uint32_t vdi = 0; vdi < shape_.vdis; ++vdi) {
      if (!read_all(node, vdi))
        return "disk " + std::to_string(vdi) + " cannot be read through node " + std::to_string(node) + ": " +
               trouble() + world_->troubles();
    }
  if (!until([this] { return redundant() && world_->collected(); }, settle_limit))
    return trouble().empty() ? "copies are not restored" + world_->troubles() : trouble();
  return world_->finish(true).what;
}

}  // namespace sd::sim
