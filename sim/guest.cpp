#include "sim/guest.hpp"

#include <algorithm>

#include "sim/guest_errors.hpp"
#include "sim/world.hpp"

namespace sd::sim {

namespace {
constexpr std::uint32_t sector = 512;
constexpr Time retry_pause = milliseconds(30);

DeviceModel::Kind model_kind(OpClass kind) {
  switch (kind) {
    case OpClass::read:
    case OpClass::status:
    case OpClass::cache: return DeviceModel::Kind::read;
    case OpClass::write:
    case OpClass::fua: return DeviceModel::Kind::write;
    case OpClass::flush: return DeviceModel::Kind::flush;
    default: return DeviceModel::Kind::zeros;
  }
}

std::uint16_t zero_flags(OpClass kind) {
  switch (kind) {
    case OpClass::fua_zeroes: return nbd::command_flag::fua;
    case OpClass::full_zeroes: return nbd::command_flag::no_hole;
    case OpClass::fast_zeroes: return nbd::command_flag::fast_zero;
    default: return 0;
  }
}

// For each sector of a request that begins at a sector: whether the extents say that it is a hole.
std::vector<bool> holes_in(const std::vector<nbd::Extent>& extents, std::uint32_t count) {
  std::vector<bool> hole;
  for (const nbd::Extent& extent : extents)
    for (std::uint32_t i = 0; i < extent.length / sector && hole.size() < count; ++i)
      hole.push_back((extent.flags & nbd::state_hole) != 0);
  return hole;
}
}  // namespace

Guest::Guest(World& world, MachineId id, std::uint32_t number, std::uint32_t vdi, DeviceModel& model,
             std::optional<Site> site)
    : world_(world),
      id_(id),
      number_(number),
      export_name_("vol" + std::to_string(vdi)),
      name_("guest" + std::to_string(number)),
      model_(&model),
      site_(site              ? *site
            : number % 3 == 0 ? Site::guest_a
            : number % 3 == 1 ? Site::guest_b
                              : Site::guest_c),
      quota_(site ? 0 : world.config.workload.ops),  // an operator's does what it is told
      script_depth_(world.config.workload.depth) {}

std::uint64_t Guest::choose(std::uint64_t bound) { return world_.decisions.choose(site_, bound); }

void Guest::start() {
  world_.network.process_started(id_, this);
  gateway_ = static_cast<MachineId>((number_ + choose(world_.gateways())) % world_.gateways());
  connect();
}

void Guest::start_at(MachineId node) {
  pinned_ = gateway_ = node;
  world_.network.process_started(id_, this);
  connect();
}

void Guest::pin(MachineId node) {
  pinned_ = node;
  if (stream_ != 0) drop("told to use another node");
  gateway_ = node;
}

void Guest::attach(std::string export_name, DeviceModel& model) {
  if (stream_ != 0) drop("told to use another disk");
  export_name_ = std::move(export_name);
  model_ = &model;
}

std::size_t Guest::ask(OpClass kind, std::uint64_t first, std::uint32_t count) {
  asks_.push_back({kind, first, count, answers_.size()});
  answers_.push_back(Answer::pending);
  wake(world_.now + 1);
  return answers_.size() - 1;
}

void Guest::wake(Time at) {
  if (at >= wake_at_) return;
  wake_at_ = at;
  world_.wake_client(id_, at);
}

void Guest::connect() {
  nbd::ClientOptions options;
  options.export_name = export_name_;
  options.structured_replies = choose(2) == 0 || pinned_;
  options.block_status = options.structured_replies && (world_.config.workload.all_commands || pinned_);
  client_ = std::make_unique<nbd::Client>(options, world_.pool);
  stream_ = ++last_stream_;
  connecting_since_ = world_.now;
  if (world_.tracing()) world_.trace(name_, "connects to node" + std::to_string(gateway_));
  world_.network.dial(id_, stream_, gateway_, Service::nbd);
  wake(world_.now + world_.config.workload.op_timeout);
}

void Guest::drop(const char* why) {
  if (world_.tracing()) world_.trace(name_, std::string("gives its connection up: ") + why);
  if (stream_ != 0) world_.network.close(id_, std::exchange(stream_, 0));
  for (const Op& op : open_) {
    model_->unknown(op.id);
    if (op.asked != no_ask) answers_[op.asked] = Answer::unknown;
    if (op.scripted) script_.push_back({op.kind, op.first, op.count});
    ++errors_;
  }
  open_.clear();
  client_.reset();
  gateway_ =
      pinned_ ? *pinned_ : static_cast<MachineId>((gateway_ + 1 + choose(world_.gateways())) % world_.gateways());
  retry_at_ = world_.now + retry_pause + choose(retry_pause);
  wake(retry_at_);
}

void Guest::change_gateway() {
  if (stream_ == 0) return;
  if (world_.config.workload.all_commands && client_->ready() && choose(2) == 0) {  // politely, whatever is in flight
    client_->disconnect();
    world_.network.send(id_, stream_);
  }
  if (stream_ != 0) drop("told to change its gateway");
}

void Guest::change_gateway(MachineId to) {
  if (stream_ == 0 || gateway_ == to) return;
  drop("told to change its gateway");
  gateway_ = to;
}

void Guest::on_timer() {
  if (world_.now < wake_at_) return;
  wake_at_ = never;
  if (stream_ == 0) {
    if (world_.now >= retry_at_)
      connect();
    else
      wake(retry_at_);
    return;
  }
  const Time timeout = world_.config.workload.op_timeout;
  if (!client_->ready()) {
    if (world_.now >= connecting_since_ + timeout)
      drop("no answer");
    else
      wake(connecting_since_ + timeout);
    return;
  }
  for (const Op& op : open_)
    if (world_.now >= op.began + timeout) {
      if (op.scripted) ask_for_less();
      return drop("a request was not answered");
    }
  work();
}

// The drawn request timeout may be shorter than what the path needs for so many large reads at once. That must show in
// how long reading back takes, not in requests that can never be answered in time.
void Guest::ask_for_less() {
  script_piece_ = std::max(script_piece_ / 2, least_piece);
  script_depth_ = std::max(script_depth_ / 2, 1u);
}

Guest::Task Guest::draw_task() {
  const Workload& load = world_.config.workload;
  std::uint32_t sum = 0;
  for (const std::uint32_t weight : load.weights) sum += weight;
  std::uint64_t pick = choose(sum);
  std::size_t kind = 0;
  while (pick >= load.weights[kind]) pick -= load.weights[kind++];
  Task task;
  task.kind = static_cast<OpClass>(kind);
  if (number_ % world_.config.guests_per_vdi + load.readers >= world_.config.guests_per_vdi) task.kind = OpClass::read;
  if (task.kind == OpClass::flush) return task;
  const Region& region = load.regions[choose(load.regions.size())];
  if (load.all_commands && choose(64) == 0) {  // the end of the disk
    task.count = static_cast<std::uint32_t>(1 + choose(std::min<std::uint64_t>(16, load.vdi_sectors)));
    task.first = model_->sectors() - task.count;
    return task;
  }
  const std::uint64_t align = choose(3) == 0 ? 1 : 8;
  const std::uint64_t start = choose(region.sectors) / align * align;
  std::uint64_t longest = std::min<std::uint64_t>(region.sectors - start, load.max_sectors);
  if (choose(8) != 0) longest = std::min<std::uint64_t>(longest, 16);
  task.first = region.first + start;
  task.count = static_cast<std::uint32_t>(1 + choose(longest));
  if (align == 8 && task.count >= 8) task.count &= ~7u;
  return task;
}

void Guest::issue(Task task, bool scripted) {
  if (task.kind == OpClass::status && !client_->served().block_status) task.kind = OpClass::read;
  Op op{0,          model_->begin(model_kind(task.kind), task.first, task.count, is_durable(task.kind)),
        task.kind,  task.first,
        task.count, scripted,
        world_.now, task.asked};
  const std::uint64_t offset = task.first * sector;
  const std::uint32_t length = task.count * sector;
  switch (task.kind) {
    case OpClass::read:
      // DF: all in one chunk
      op.handle =
          client_->read(offset, length,
                        world_.config.workload.all_commands && client_->served().structured_replies && choose(4) == 0
                            ? nbd::command_flag::df
                            : 0);
      break;
    case OpClass::write:
    case OpClass::fua: {
      Slice data = world_.pool.allocate(length);
      model_->fill(op.id, {data.mutable_data(), data.size()});
      op.handle = client_->write(offset, std::move(data), task.kind == OpClass::fua ? nbd::command_flag::fua : 0);
      break;
    }
    case OpClass::flush: op.handle = client_->flush(); break;
    case OpClass::trim: op.handle = client_->submit(nbd::Command::trim, offset, length); break;
    case OpClass::fua_trim:
      op.handle = client_->submit(nbd::Command::trim, offset, length, nbd::command_flag::fua);
      break;
    case OpClass::status: op.handle = client_->submit(nbd::Command::block_status, offset, length); break;
    case OpClass::cache: op.handle = client_->submit(nbd::Command::cache, offset, length); break;
    default: op.handle = client_->submit(nbd::Command::write_zeroes, offset, length, zero_flags(task.kind)); break;
  }
  if (world_.tracing())
    world_.trace(name_, "op " + std::to_string(op.id) + " " + std::string(op_names[static_cast<std::size_t>(op.kind)]) +
                            " " + std::to_string(op.first) + "+" + std::to_string(op.count) + " via node" +
                            std::to_string(gateway_));
  open_.push_back(op);
}

void Guest::work() {
  if (stream_ == 0 || !client_->ready()) return;
  const Workload& load = world_.config.workload;
  while (client_->can_submit() && open_.size() < load.depth) {
    if (!script_.empty()) {
      if (world_.now < retry_at_ || open_.size() >= script_depth_) break;
      Task task = script_.back();
      script_.pop_back();
      if (task.kind == OpClass::read && task.count > script_piece_) {
        script_.push_back({task.kind, task.first + script_piece_, task.count - script_piece_});
        task.count = script_piece_;
      }
      issue(task, true);
    } else if (!asks_.empty()) {
      const Task task = asks_.front();
      asks_.pop_front();
      // The node may not have heard yet that the disk has grown.
      if (site_ == Site::operate && task.first + task.count > client_->served().size / sector)
        answers_[task.asked] = Answer::unknown;
      else
        issue(task, false);
    } else if (working_ && issued_ < quota_ && world_.now >= next_issue_) {
      ++issued_;
      issue(draw_task(), false);
      next_issue_ = world_.now + choose(load.think_max + 1);
    } else {
      break;
    }
  }
  world_.network.send(id_, stream_);
  const bool room = open_.size() < load.depth && client_->can_submit();  // otherwise the next answer wakes it
  if (room && !script_.empty() && world_.now < retry_at_) wake(retry_at_);
  if (room && script_.empty() && working_ && issued_ < quota_) wake(std::max(next_issue_, world_.now + 1));
  if (!open_.empty()) wake(open_.front().began + load.op_timeout);
}

void Guest::begin_read_back() {
  for (const Region& region : world_.config.workload.regions)
    for (std::uint32_t at = 0; at < region.sectors; at += read_back_piece)
      script_.push_back({OpClass::read, region.first + at, std::min(read_back_piece, region.sectors - at)});
  wake(world_.now + 1);
}

void Guest::begin_flush() {
  script_.push_back({OpClass::flush, 0, 0});
  wake(world_.now + 1);
}

void Guest::complete(nbd::Completion& completion) {
  const auto at =
      std::find_if(open_.begin(), open_.end(), [&](const Op& op) { return op.handle == completion.handle; });
  if (at == open_.end()) return world_.fail(Violation::Class::safety, name_ + " got an answer to nothing");
  const Op op = *at;
  open_.erase(at);
  ++operations_;
  world_.hash.fold(std::uint64_t{op.id} << 8 | static_cast<std::uint64_t>(completion.error));
  if (completion.status == Status::ok) {
    if (world_.tracing())
      world_.trace(name_,
                   "op " + std::to_string(op.id) + " done" +
                       (op.kind == OpClass::read ? ": " + model_->describe_data(op.id, completion.data.bytes()) : ""));
    if (op.kind == OpClass::status)
      model_->end_status(op.id, holes_in(completion.extents, op.count));
    else if (op.kind == OpClass::cache)
      model_->unknown(op.id);  // says nothing of what is there
    else
      model_->end(op.id, completion.data.bytes());
    if (op.asked != no_ask) extents_ = completion.extents;
    if (op.asked != no_ask) answers_[op.asked] = Answer::ok;
    return;
  }
  if (world_.tracing())
    world_.trace(name_, "op " + std::to_string(op.id) + " failed: " + std::string(to_string(completion.status)));
  ++errors_;
  model_->unknown(op.id);
  if (op.asked != no_ask) answers_[op.asked] = Answer::error;
  if (op.asked == no_ask || judges_asks_)  // scenarios judge for themselves
    if (const auto why = judge_guest_error(world_.config, op.kind, completion.status, world_.now - op.began);
        !why.empty())
      world_.fail(Violation::Class::safety, name_ + ": " + why);
  if (op.scripted && !world_.config.break_plan) {
    script_.push_back({op.kind, op.first, op.count});
    retry_at_ = world_.now + retry_pause;
  } else {
    next_issue_ = std::max(next_issue_, world_.now + retry_pause / 3);
  }
}

void Guest::take(nbd::ClientEffects& effects) {
  for (nbd::Completion& completion : effects.completions) complete(completion);
  const bool ended = effects.failed.has_value();
  const std::string reason = ended ? *effects.failed : "";
  const bool ready = effects.ready.has_value();
  if (ready && !model_->has_been(effects.ready->size / sector))
    world_.fail(Violation::Class::safety, name_ + " is shown a disk of another size");
  effects.clear();
  if (ended) return drop(reason.c_str());
  work();
}

void Guest::dialed(StreamId stream, DialResult result) {
  if (stream != stream_) return;
  if (result == DialResult::connected) return;
  stream_ = 0;
  drop(result == DialResult::refused ? "refused" : "no route");
}

std::span<std::byte> Guest::receive_buffer(StreamId stream) {
  return stream == stream_ && !takes_nothing_ ? client_->receive_buffer() : std::span<std::byte>{};
}

void Guest::take_nothing(bool on) {
  takes_nothing_ = on;
  if (!on && stream_ != 0) world_.network.resume(id_, stream_);
}

void Guest::received(StreamId stream, std::size_t bytes) {
  if (stream != stream_) return;
  client_->on_received(bytes, effects_);
  take(effects_);
  if (stream_ != 0) world_.network.send(id_, stream_);
}

OutQueue* Guest::output(StreamId stream) {
  return stream == stream_ && client_ ? const_cast<OutQueue*>(&client_->output()) : nullptr;
}

void Guest::closed(StreamId stream) {
  if (stream != stream_) return;
  stream_ = 0;
  drop("the other side closed it");
}

std::string Guest::waiting_for() const {
  std::string text = name_ + (stream_ == 0       ? " is not connected"
                              : client_->ready() ? " is connected to node"
                                                 : " is connecting to node");
  if (stream_ != 0) text += std::to_string(gateway_);
  for (const Op& op : open_)
    text += ", op " + std::to_string(op.id) + " " + std::string(op_names[static_cast<std::size_t>(op.kind)]) +
            " since " + std::to_string(op.began / 1'000'000) + " ms";
  if (!script_.empty()) text += ", " + std::to_string(script_.size()) + " requests to repeat";
  return text;
}

}  // namespace sd::sim
