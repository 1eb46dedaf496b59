#include "sim/node_machine.hpp"

#include "sim/checkers.hpp"
#include "sim/world.hpp"

namespace sd::sim {

namespace {
constexpr std::uint32_t crash_marker = UINT32_MAX;  // of an event that ends an armed crash
constexpr Time timer_resolution = microseconds(20);
constexpr Time restart_after = milliseconds(500);
constexpr std::uint32_t most_steps_at_once = 100'000;

std::string describe(const DiskOp& op) {
  static constexpr std::string_view kinds[] = {"read",   "write", "sync",     "sync_directory",
                                               "remove", "punch", "truncate", "list"};
  static constexpr std::string_view files[] = {"identity", "raft", "journal", "object", "object_meta"};
  std::uint64_t length = op.length;
  for (const Slice& slice : op.slices) length += slice.size();
  char text[120];
  std::snprintf(text, sizeof text, "%s %s/%llx at %llu+%llu", kinds[static_cast<std::size_t>(op.kind)].data(),
                files[static_cast<std::size_t>(op.file.kind)].data(), static_cast<unsigned long long>(op.file.id),
                static_cast<unsigned long long>(op.offset), static_cast<unsigned long long>(length));
  return text;
}
}  // namespace

NodeMachine::NodeMachine(World& world, MachineId id, NodeOptions options)
    : disk(world.pool, world.decisions, world.config.disk),
      world_(world),
      id_(id),
      options_(std::move(options)),
      name_("node" + std::to_string(id)) {}

NodeMachine::~NodeMachine() = default;

Time NodeMachine::now() const { return world_.now; }

Time NodeMachine::local(Time t) const {
  const auto drift = static_cast<std::int64_t>(t / 1'000'000) * drift_ppm_;
  return clock_offset_ + t + static_cast<std::uint64_t>(drift);
}

Time NodeMachine::true_time(Time deadline) const {
  if (deadline <= local(now())) return now();
  const auto ahead = static_cast<unsigned __int128>(deadline - local(now())) * 1'000'000 /
                     static_cast<std::uint64_t>(1'000'000 + drift_ppm_);
  if (ahead > seconds(100'000)) return never;
  return now() + static_cast<Time>(ahead) + 1;
}

void NodeMachine::set_drift(std::int64_t ppm) {
  const Time before = local(now());
  drift_ppm_ = ppm;
  clock_offset_ += before - local(now());
}

void NodeMachine::jump_clock(Time ahead) {
  world_.trace(name_, "its clock jumps by " + std::to_string(ahead / 1'000'000) + " ms");
  clock_offset_ += ahead;
  if (node_ && paused_until_ <= now()) schedule_tick();
}

void NodeMachine::start() {
  if (node_) return;
  ++incarnation_;
  crash_armed_ = stopping_ = false;
  tick_at_ = never;
  paused_until_ = 0;
  clock_offset_ = world_.decisions.choose(Site::clock, seconds(1'000'000));
  const std::uint64_t random_seed = world_.decisions.bits(Site::node_seed);
  world_.network.power_back(id_);
  world_.network.process_started(id_, this);
  world_.trace(name_, "starts, incarnation " + std::to_string(incarnation_));
  node_ = std::make_unique<Node>(options_, world_.pool, random_seed);
  invariants_ = {};
  tell_space();
  node_->start(local(now()), effects_);
  after_step(1);
}

void NodeMachine::die(bool power) {
  if (node_) {
    world_.trace(name_, power ? "loses power" : "is killed");
    node_.reset();
    effects_.clear();
    held_.clear();
    crash_armed_ = false;
    if (!power) {
      disk.process_died();
      world_.network.process_died(id_);
    }
  }
  if (power) {
    disk.power_lost();
    world_.network.power_lost(id_);
  }
  world_.member_died();
}

void NodeMachine::arm_crash(std::uint32_t effects, bool power) {
  if (!node_) return;
  crash_armed_ = true;
  crash_power_ = power;
  crash_in_ = effects;
  world_.events.push({now() + milliseconds(50), 0, id_, crash_marker, incarnation_, EventKind::node_tick, 0});
}

void NodeMachine::crash_if_armed() {
  if (crash_armed_) die(crash_power_);
}

void NodeMachine::pause(Time until) {
  if (!node_) return;
  world_.trace(name_, "is paused for " + std::to_string((until - now()) / 1'000'000) + " ms");
  paused_until_ = until;
  world_.network.pause(id_, until);
}

void NodeMachine::stop() {
  if (!node_ || stopping_) return;
  world_.trace(name_, "is told to stop");
  stopping_ = true;
  node_->stop(local(now()), effects_);
  after_step(2);
}

void NodeMachine::wipe() {
  world_.trace(name_, "gets a new disk");
  disk.wipe();
  // Whoever founded the cluster has to find it now.
  if (options_.seeds.empty())
    for (const auto& other : world_.nodes)
      if (other->id() != id_) options_.seeds.push_back(address_of(other->id()));
}

std::string NodeMachine::found_anew() {
  if (!node_) return "it does not run";
  const std::string why = node_->found_anew(local(now()), effects_);
  after_step(12);
  return why;
}

bool NodeMachine::order(cluster::CommandBody body) {
  if (!node_ || stopping_) return false;
  const bool taken = node_->order(local(now()), std::move(body), effects_);
  after_step(11);
  return taken;
}

void NodeMachine::tell_space() {
  if (!node_) return;
  const std::uint64_t used = disk.used();
  node_->set_space(used < disk.config.capacity ? disk.config.capacity - used : 0, disk.config.capacity);
  node_->set_disk_delay(local(now()), disk.oldest(now()), effects_);
  after_step(13);
}

void NodeMachine::on_tick(const Event& event) {
  if (!node_ || event.incarnation != incarnation_) return;
  if (event.b == crash_marker) {
    if (crash_armed_) die(crash_power_);
    return;
  }
  if (event.at != tick_at_) return;  // superseded by an earlier one
  if (paused_until_ > now()) {
    Event later = event;
    later.at = tick_at_ = paused_until_;
    world_.events.push(later);
    return;
  }
  tick_at_ = never;
  for (DiskDone& done : std::exchange(held_, {})) {
    node_->on_disk(local(now()), std::move(done), effects_);
    after_step(3);
    if (!node_) return;
  }
  node_->tick(local(now()), effects_);
  after_step(4);
}

void NodeMachine::on_disk_done(const Event& event) {
  if (!node_ || event.incarnation != incarnation_) return;
  DiskDone done = disk.finish(event.b);
  world_.hash.fold(done.tag);
  world_.hash.fold(static_cast<std::uint64_t>(done.status) << 32 | done.data.size());
  if (paused_until_ > now()) {
    held_.push_back(std::move(done));
    if (tick_at_ != paused_until_) {
      tick_at_ = paused_until_;
      world_.events.push({tick_at_, 0, id_, 0, incarnation_, EventKind::node_tick, 0});
    }
    return;
  }
  if (world_.tracing() && done.status != Status::ok)
    world_.trace(name_, "disk: " + std::string(to_string(done.status)));
  node_->on_disk(local(now()), std::move(done), effects_);
  after_step(5);
}

StreamId NodeMachine::accept(Service service) {
  const StreamId stream = node_->on_accept(local(now()), service, effects_);
  // Its output may be named at once, before the network knows the stream: the network asks for it after this call.
  after_step(6);
  return node_ ? stream : 0;
}

void NodeMachine::dialed(StreamId stream, DialResult result) {
  node_->on_dialed(local(now()), stream, result, effects_);
  after_step(7);
}

std::span<std::byte> NodeMachine::receive_buffer(StreamId stream) { return node_->receive_buffer(stream); }

void NodeMachine::received(StreamId stream, std::size_t bytes) {
  node_->on_received(local(now()), stream, bytes, effects_);
  after_step(8);
}

OutQueue* NodeMachine::output(StreamId stream) { return node_->output(stream); }

void NodeMachine::drained(StreamId stream) {
  node_->on_drained(local(now()), stream, effects_);
  after_step(9);
}

void NodeMachine::closed(StreamId stream) {
  node_->on_closed(local(now()), stream, effects_);
  after_step(10);
}

bool NodeMachine::doomed() {
  if (!crash_armed_) return false;
  if (crash_in_ > 0) {
    --crash_in_;
    return false;
  }
  die(crash_power_);
  return true;
}

void NodeMachine::perform() {
  for (DiskOp& op : effects_.disk) {
    if (doomed()) return;
    if (world_.tracing()) world_.trace(name_, "disk " + describe(op));
    world_.hash.fold(op.offset ^ op.file.id << 8 ^ static_cast<std::uint64_t>(op.kind) << 60);
    const auto started = disk.start(now(), std::move(op));
    world_.events.push({started.done_at, 0, id_, started.slot, incarnation_, EventKind::disk_done, 0});
  }
  for (const Effects::Dial& dial : effects_.dial) {
    if (doomed()) return;
    const std::uint32_t target = dial.to.address[15];
    const bool known = dial.to.is_v4() && target >= 1 && target <= world_.nodes.size() &&
                       (dial.to.port == 7000 || dial.to.port == 7001);
    if (world_.tracing())
      world_.trace(name_, "dials " + to_string(dial.to) + " as stream " + std::to_string(dial.stream));
    if (known)
      world_.network.dial(id_, dial.stream, target - 1, dial.to.port == 7001 ? Service::peer : Service::client);
    else
      world_.network.dial_nowhere(id_, dial.stream);
  }
  for (const StreamId stream : effects_.output) {
    if (doomed()) return;
    world_.network.send(id_, stream);
  }
  for (const StreamId stream : effects_.close) {
    if (doomed()) return;
    world_.network.close(id_, stream);
  }
  for (const StreamId stream : effects_.resume) {
    if (doomed()) return;
    world_.network.resume(id_, stream);
  }
  if (world_.tracing())
    for (const LogLine& line : effects_.log) world_.trace(name_, "log: " + line.text);
  effects_.clear();
}

void NodeMachine::schedule_tick() {
  const Time wanted = true_time(node_->next_deadline());
  if (wanted == never) return;
  const Time at = std::max(wanted, now() + timer_resolution);
  if (at >= tick_at_) return;
  tick_at_ = at;
  world_.events.push({at, 0, id_, 0, incarnation_, EventKind::node_tick, 0});
}

// By the kind of the call.
static constexpr const char* step_names[] = {"",           "start",     "stop",   "a disk operation after a pause",
                                             "tick",       "disk",      "accept", "dialed",
                                             "received",   "drained",   "closed", "an operator's order",
                                             "found anew", "disk delay"};

void NodeMachine::after_step(unsigned kind) {
  world_.hash.fold(now());
  world_.hash.fold(std::uint64_t{id_} << 8 | kind);
  world_.hash.fold(effects_.disk.size() << 32 | effects_.dial.size() << 24 | effects_.output.size() << 16 |
                   effects_.close.size() << 8 | effects_.resume.size());
  const auto count = [](const auto& list) { return static_cast<std::uint32_t>(list.size()); };
  world_.hash.end_step({0, now(), id_, step_names[kind], count(effects_.disk), count(effects_.dial),
                        count(effects_.output), count(effects_.close), count(effects_.resume)});
  steps_at_once_ = now() == last_step_at_ ? steps_at_once_ + 1 : 0;
  last_step_at_ = now();
  if (steps_at_once_ > most_steps_at_once)
    world_.fail(Violation::Class::liveness, name_ + " takes steps without end, and no time passes");
  perform();
  if (!node_) return;
  if (++steps_ % world_.config.check_every == 0) invariants_.check(*node_);
  world_.checkers->after_step(*this, steps_);
  if (!node_->fatal().empty()) {
    world_.checkers->on_fatal(*this);
    die(false);
    world_.events.push({now() + restart_after, 0, id_, 1, 0, EventKind::fault, 0});  // as a service manager would
    return;
  }
  if (stopping_ && node_->stopped()) {
    world_.trace(name_, "has stopped");
    die(false);
    return;
  }
  schedule_tick();
}

}  // namespace sd::sim
