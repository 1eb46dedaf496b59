#include "sim/world.hpp"

#include "core/base/sim_probe.hpp"
#include "sim/admin.hpp"
#include "sim/checkers.hpp"
#include "sim/faults.hpp"
#include "sim/guest.hpp"
#include "sim/node_machine.hpp"
#include "sim/operator.hpp"

namespace sd::sim {

namespace {

constexpr Time poll = milliseconds(20);
// Bounds of simulated time within which a healed cluster has to do things.
constexpr Time setup_limit = seconds(60);
constexpr Time drain_limit = seconds(90);
constexpr Time read_back_limit = seconds(90);
constexpr Time redundancy_limit = seconds(180);

NodeOptions options_of(const Config& config, MachineId id) {
  NodeOptions options;
  options.address = NodeMachine::address_of(id);
  // The first node starts the cluster; the others find it, or each other.
  if (id != 0)
    for (MachineId other = 0; other < config.nodes; ++other)
      if (other != id) options.seeds.push_back(NodeMachine::address_of(other));
  options.zone = id % config.zones;
  options.vnodes = id >= config.nodes - config.gateways ? 0 : 16;
  options.witness = id >= config.nodes - config.witnesses;
  options.voter_patience = config.lease / 2;
  options.default_copies = static_cast<std::uint8_t>(config.copies);
  options.lease = config.lease;
  options.lease_margin = config.lease_margin;
  options.raft_heartbeat = config.heartbeat;
  options.election_timeout_min = config.heartbeat * 4;
  options.election_timeout_max = config.heartbeat * 8;
  options.journal_bytes = config.journal_bytes;
  options.apply_bytes = config.apply_bytes;
  options.max_dirty_bytes = config.max_dirty_bytes;
  options.reserve_bytes = 1u << 20;
  options.meta_cache = config.meta_cache;
  options.remembered_writes = std::min<std::size_t>(config.remembered_writes, max_recent);
  options.send_ahead = config.send_ahead;
  options.limits = config.limits;
  options.max_streams = std::max(256u, 4 * config.nodes);
  options.scrub_rate = 64u << 20;
  options.scrub_every =
      config.faults & (bit(FaultClass::rot) | bit(FaultClass::lone_rot)) && !config.checks ? seconds(5) : seconds(3600);
  return options;
}

Outcome outcome_of(Violation::Class kind) {
  switch (kind) {
    case Violation::Class::safety: return Outcome::safety;
    case Violation::Class::durability: return Outcome::durability;
    case Violation::Class::liveness: return Outcome::liveness;
    case Violation::Class::leak: return Outcome::leak;
  }
  return Outcome::safety;
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::ok: return "ok";
    case Outcome::usage: return "usage";
    case Outcome::assertion: return "assertion";
    case Outcome::safety: return "safety";
    case Outcome::durability: return "durability";
    case Outcome::liveness: return "liveness";
    case Outcome::leak: return "leak";
    case Outcome::nondeterminism: return "nondeterminism";
  }
  return "?";
}

World::World(Decisions& source, const Config& drawn, TraceSink* sink, bool remember_hashes)
    : decisions(source),
      config(drawn),
      pool_owner_(std::make_unique<BufferPool>()),
      pool(*pool_owner_),
      network(events, decisions, hash, drawn.network),
      sink_(sink) {
  if (remember_hashes) hash.remember();
  network.sink = sink;
  checkers = std::make_unique<Checkers>(*this);
  for (std::uint32_t i = 0; i < config.nodes; ++i) {
    nodes.push_back(std::make_unique<NodeMachine>(*this, network.add_machine(), options_of(config, i)));
    if (config.drift_ppm > 0)
      nodes.back()->set_drift(static_cast<std::int64_t>(decisions.choose(Site::clock, 2 * config.drift_ppm + 1)) -
                              config.drift_ppm);
  }
  for (std::uint32_t i = 0; i < config.vdis; ++i)
    models.push_back(std::make_unique<DeviceModel>(i + 1, config.workload.vdi_sectors));
  for (std::uint32_t i = 0; i < config.vdis * config.guests_per_vdi; ++i)
    guests.push_back(std::make_unique<Guest>(*this, network.add_machine(), i, i / config.guests_per_vdi,
                                             *models[i / config.guests_per_vdi]));
  admin = std::make_unique<Admin>(*this, network.add_machine());
  if (config.operates) {
    const MachineId operators = network.add_machine();
    op = std::make_unique<Operator>(*this, operators, network.add_machine());
  }
  faults = std::make_unique<Faults>(*this);
}

World::~World() = default;

void World::fail(Violation::Class kind, const std::string& what) {
  if (failed()) return;
  outcome_ = outcome_of(kind);
  what_ = what;
  trace("checker", what);
}

void World::all_lost_power() {
  for (auto& model : models) model->power_lost();
}

void World::member_died() {
  if (!config.break_plan) return;
  for (auto& model : models) model->members_lost_power();
}

bool World::clean() const {
  if (!all_up()) return false;
  for (const auto& machine : nodes) {
    // A request may outlive its guest; copies are compared at rest.
    if (machine->node()->state().epochs.size() != 1 || machine->node()->status(machine->local_time()).requests > 0)
      return false;
  }
  return true;
}

bool World::redundant() const {
  if (!clean()) return false;
  for (const auto& [id, member] : nodes.front()->node()->state().members)
    if (member.placed && !member.up) return false;
  return true;
}

bool World::all_up() const {
  // Asked after every step: what is cheap comes first, and states that are as far are equal (see checkers.hpp).
  for (const auto& machine : nodes)
    if (!machine->running() || machine->node()->state().applied != nodes.front()->node()->state().applied) return false;
  std::size_t up = 0;
  for (const auto& [id, member] : nodes.front()->node()->state().members) up += member.up;
  if (up != config.nodes) return false;
  for (const auto& machine : nodes)
    if (!machine->node()->status(machine->local_time()).serving) return false;
  return true;
}

bool World::collected() {
  for (const auto& [vid, vdi] : nodes.front()->node()->state().vdis)
    if (vdi.deleting) return false;
  const bool first = scrubs_wanted_.empty();
  if (first) checks_wanted_ = admin->passes() + 2;
  bool all = !config.checks || admin->passes() >= checks_wanted_;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const RecoveryStatus recovery = nodes[i]->node()->status(nodes[i]->local_time()).recovery;
    // A pass that is under way may have been where a block rotted since.
    if (first) scrubs_wanted_.push_back(recovery.scrub_passes + 2);
    const bool rot = (config.faults & (bit(FaultClass::rot) | bit(FaultClass::lone_rot))) != 0 && !config.checks;
    all = all && recovery.collected && (!rot || recovery.scrub_passes >= scrubs_wanted_[i]);
  }
  return all;
}

std::string World::troubles() const {
  std::string text;
  for (const auto& machine : nodes) {
    text += "; " + machine->name();
    if (!machine->running()) {
      text += " is down";
      continue;
    }
    const NodeStatus status = machine->node()->status(machine->local_time());
    const cluster::State& state = machine->node()->state();
    text += std::string(status.serving ? " serves" : " does not serve") + (status.leader ? ", leads" : "") + ", term " +
            std::to_string(status.term) + ", applied " + std::to_string(status.applied_index) + ", epoch " +
            std::to_string(state.epoch()) + " since " +
            std::to_string(state.epochs.empty() ? 0 : state.epochs.front().epoch);
    if (!status.trouble.empty()) text += " (" + status.trouble + ")";
  }
  for (const auto& guest : guests) text += "; " + guest->waiting_for();
  if (op) text += "; " + op->waiting_for();
  return text;
}

void World::enter(Phase phase, Time limit) {
  static constexpr std::string_view names[] = {"setup", "chaos", "settle",     "drain",      "read back",
                                               "flush", "dark",  "read again", "redundancy", "over"};
  phase_ = phase;
  phase_began_ = now;
  phase_limit_ = now + limit;
  trace("world", "phase: " + std::string(names[static_cast<std::size_t>(phase)]));
}

void World::on_phase() {
  events.push({now + poll, 0, 0, 0, 0, EventKind::phase, 0});
  static constexpr std::string_view late[] = {"the cluster is not ready in time",
                                              "",
                                              "",
                                              "a healed cluster does not answer every request",
                                              "a healed cluster cannot be read back",
                                              "a healed cluster cannot be flushed",
                                              "",
                                              "after a loss of power the cluster cannot be read back",
                                              "copies are not restored in time",
                                              ""};
  bool all_idle = true;
  for (const auto& guest : guests) all_idle = all_idle && guest->idle();
  if (op) op->poll();
  if (op && phase_ == Phase::drain) all_idle = all_idle && op->idle();
  // Without a majority, or with the index gone, silence and errors are all that is left.
  if (now >= phase_limit_ && phase_ == Phase::read_back && config.break_plan) return enter(Phase::over, 0);
  if (now >= phase_limit_ && !late[static_cast<std::size_t>(phase_)].empty()) {
    std::string what(late[static_cast<std::size_t>(phase_)]);
    if (phase_ == Phase::setup) what += " (" + admin->trouble() + ")";
    return fail(Violation::Class::liveness, what + troubles());
  }
  const auto read_back = [this] {
    for (std::size_t i = 0; i < guests.size(); i += config.guests_per_vdi) guests[i]->begin_read_back();
  };
  switch (phase_) {
    case Phase::setup:
      if (!admin->done()) break;
      nodes[0]->order(cluster::SetGrace{config.grace_ms});
      nodes[0]->order(cluster::SetThrottle{{8u << 20, 64u << 20}});
      if (config.checks) admin->keep_checking();
      for (auto& guest : guests) guest->start();
      if (op) op->begin();
      faults->begin(now + config.chaos);
      enter(Phase::chaos, config.chaos);
      break;
    case Phase::chaos:
      if (now < phase_limit_) break;
      faults->heal_all();
      enter(Phase::settle, seconds(1));
      break;
    case Phase::settle:
      if (now < phase_limit_) break;
      for (auto& guest : guests) guest->stop_new_work();
      if (op) op->finish();
      enter(Phase::drain, drain_limit);
      break;
    case Phase::drain:
      if (!all_idle) break;
      read_back();
      enter(Phase::read_back, read_back_limit);
      break;
    case Phase::read_back:
      if (!all_idle) break;
      if (config.break_plan) {
        enter(Phase::over, 0);
        break;
      }
      enter(Phase::redundancy, redundancy_limit);
      break;
    case Phase::redundancy:
      if (!clean() || !collected()) break;
      if (!config.final_power_loss || powered_off_) {
        enter(Phase::over, 0);
        break;
      }
      for (std::size_t i = 0; i < guests.size(); i += config.guests_per_vdi) guests[i]->begin_flush();
      enter(Phase::flush, read_back_limit);
      break;
    case Phase::flush:
      if (!all_idle) break;
      powered_off_ = true;
      scrubs_wanted_.clear();  // they count from the start of a process
      faults->all_lose_power(seconds(1));
      enter(Phase::dark, seconds(1));
      break;
    case Phase::dark:
      if (now < phase_limit_) break;
      faults->heal_all();
      read_back();
      enter(Phase::read_again, read_back_limit);
      break;
    case Phase::read_again:
      if (!all_idle) break;
      enter(Phase::redundancy, redundancy_limit);
      break;
    case Phase::over: break;
  }
}

void World::check_models() {
  for (const auto& model : models)
    if (model->violation()) fail(model->violation()->kind, model->violation()->what);
}

void World::dispatch(const Event& event) {
  switch (event.kind) {
    case EventKind::node_tick: nodes[event.a]->on_tick(event); break;
    case EventKind::disk_done: nodes[event.a]->on_disk_done(event); break;
    case EventKind::client_timer:
      if (event.a == config.nodes + guests.size())
        admin->on_timer();
      else if (!op || !op->on_timer(event.a))
        guests[event.a - config.nodes]->on_timer();
      break;
    case EventKind::fault:
      if (event.b == 1)
        nodes[event.a]->start();
      else
        faults->on_event(event);
      break;
    case EventKind::space:
      for (auto& node : nodes) node->tell_space();
      events.push({now + seconds(1), 0, 0, 0, 0, EventKind::space, 0});
      break;
    case EventKind::phase: on_phase(); break;
    default: network.handle(event, now); break;
  }
}

void World::check_copies() {
  const cluster::State state = nodes[0]->node()->state();
  std::vector<NodeId> ids;
  for (const auto& machine : nodes) ids.push_back(machine->node()->status(machine->local_time()).id);
  for (const auto& machine : nodes) machine->die(false);
  const std::string trouble = compare_copies(*this, state, ids);
  if (!trouble.empty()) fail(Violation::Class::safety, trouble);
}

Report World::run() {
  begin(false);
  while (!failed() && phase_ != Phase::over) step();
  return finish(!config.break_plan);
}

void World::begin(bool scripted) {
  for (std::uint32_t i = 0; i < config.nodes; ++i)
    events.push({1 + (i < config.starts.size() ? config.starts[i] : 0), 0, i, 1, 0, EventKind::fault, 0});
  admin->start();
  enter(Phase::setup, setup_limit);
  if (!scripted) events.push({poll, 0, 0, 0, 0, EventKind::phase, 0});
  events.push({seconds(1), 0, 0, 0, 0, EventKind::space, 0});
}

void World::step() {
  const Event event = events.pop();
  now = event.at;
  network.set_now(now);
  dispatch(event);
  check_models();
}

Report World::finish(bool compare) {
  if (compare && !failed()) check_copies();
  Report report;
  for (const auto& guest : guests) {
    report.operations += guest->operations();
    report.errors += guest->errors();
  }
  for (const auto& model : models) {
    report.checked_sectors += model->checked_sectors();
    report.inconclusive += model->inconclusive();
  }
  if (op && op->guest()) report.operations += op->guest()->operations();
  for (const auto& node : nodes) report.restarts += node->incarnations() - 1;
  report.faults = faults->count();
  report.simulated = now;
  report.steps = hash.steps();
  report.hash = hash.value();
  report.hashes = hash.after_step();

  guests.clear();
  op.reset();
  admin.reset();
  nodes.clear();
  network.drop_everything();
  if (pool.outstanding() != 0) {
    fail(Violation::Class::leak, std::to_string(pool.outstanding()) + " buffers were never given back");
    (void)pool_owner_.release();  // they still point into it
  }
  report.outcome = outcome_;
  report.what = what_;
  return report;
}

Report run_seed(std::uint64_t seed, const std::vector<std::string>& overrides, TraceSink* sink, bool remember_hashes) {
  Decisions decisions(seed);
  return run_decisions(decisions, overrides, sink, remember_hashes);
}

Report run_decisions(Decisions& decisions, const std::vector<std::string>& overrides, TraceSink* sink,
                     bool remember_hashes) {
  Config config = draw_config(decisions);
  for (const std::string& word : overrides)
    if (!apply_override(config, word))
      return {Outcome::usage, "not understood: " + word, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}};
#ifdef SD_SIM_BUGS
  probes_reached = 0;
#endif
  World world(decisions, config, sink, remember_hashes);
  Report report = world.run();
#ifdef SD_SIM_BUGS
  report.probes = probes_reached;
#endif
  return report;
}

}  // namespace sd::sim
