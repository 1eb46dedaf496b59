#include "sim/operator.hpp"

#include <algorithm>

#include "sim/node_machine.hpp"
#include "sim/world.hpp"

namespace sd::sim {

namespace {
constexpr std::uint64_t object = 8192;  // sectors
}  // namespace

Operator::Operator(World& world, MachineId admin, MachineId guest)
    : world_(world), admin_id_(admin), guest_id_(guest), admin_(std::make_unique<Admin>(world, admin)) {}

Operator::~Operator() = default;

std::uint64_t Operator::choose(std::uint64_t bound) { return world_.decisions.choose(Site::operate, bound); }

bool Operator::on_timer(MachineId machine) {
  if (machine == admin_id_)
    admin_->on_timer();
  else if (machine == guest_id_)
    guest_->on_timer();
  else
    return false;
  return true;
}

std::string Operator::waiting_for() const {
  static constexpr std::string_view names[] = {"off",     "waiting",  "creating", "working",
                                               "growing", "deleting", "reading",  "over"};
  std::string text = "the operator is " + std::string(names[static_cast<std::size_t>(step_)]);
  if (guest_) text += "; its " + guest_->waiting_for();
  return text;
}

void Operator::enter(Step step, Time length) {
  step_ = step;
  until_ = world_.now + length;
}

void Operator::begin() {
  admin_->join();
  enter(Step::waiting, choose(seconds(1)));
}

void Operator::finish() { finishing_ = true; }

void Operator::order(const client::SdRequest& request) { admin_->order(request, std::nullopt); }

// The guest waits for the disk that is to be, whose model is a new one.
void Operator::create() {
  // An order that was repeated may be carried out once more, and late. The next disk has another name then.
  if (doubtful_) name_ = "scratch" + std::to_string(++names_);
  doubtful_ = false;
  size_ = object * (1 + choose(4)) - 8 * choose(3);
  written_.clear();
  asked_.clear();
  const auto number = static_cast<std::uint32_t>(world_.models.size() + 1);
  world_.models.push_back(std::make_unique<DeviceModel>(number, size_));
  DeviceModel& model = *world_.models.back();
  const auto node = static_cast<MachineId>(choose(world_.gateways()));
  if (guest_) {
    guest_->attach(name_, model);
    guest_->pin(node);
  } else {
    guest_ = std::make_unique<Guest>(world_, guest_id_, static_cast<std::uint32_t>(world_.guests.size()), 0, model,
                                     Site::operate);
    guest_->attach(name_, model);
    guest_->start_at(node);
  }
  guest_->judge_asks(true);
  client::VdiCreate create;
  create.name = name_;
  create.size = size_ * 512;
  order(create);
  enter(Step::creating);
}

void Operator::grow() {
  size_ += object * (1 + choose(2));
  world_.models.back()->grow(size_);  // it may, from now on
  order(client::VdiResize{name_, size_ * 512});
  enter(Step::growing);
}

void Operator::remove() {
  guest_->judge_asks(false);  // a disk that is being deleted answers as it likes
  order(client::VdiDelete{name_});
  enter(Step::deleting);
}

void Operator::work() { enter(Step::working, milliseconds(100) + choose(seconds(2))); }

bool Operator::answered() const {
  return std::ranges::none_of(asked_,
                              [&](std::size_t asked) { return guest_->answer(asked) == Guest::Answer::pending; });
}

void Operator::read_back() {
  if (!world_.all_up()) return;
  asked_.clear();
  const cluster::Vdi* vdi = world_.nodes.front()->node()->state().find(name_);
  for (const Written& extent : written_)
    if (vdi && extent.first + extent.count <= vdi->size / 512)  // it may not have grown
      asked_.push_back(guest_->ask(OpClass::read, extent.first, extent.count));
  enter(Step::reading);
}

// An error may be that of an order that was carried out and whose answer was lost.
void Operator::after_order() {
  const auto* failure = std::get_if<client::Failure>(&admin_->reply()->result);
  const bool done = failure == nullptr;
  doubtful_ = doubtful_ || !done || !admin_->asked_once();
  if (world_.tracing()) world_.trace("operator", waiting_for() + (done ? ": done" : ": " + failure->message));
  switch (step_) {
    case Step::creating:
      deleted_ = !done && failure->error != client::SdError::vdi_exist;
      return deleted_ ? enter(Step::waiting, milliseconds(200)) : work();
    case Step::growing: guest_->pin(static_cast<MachineId>(choose(world_.gateways()))); return work();
    case Step::deleting:
      if (!done && failure->error != client::SdError::no_vdi) return remove();
      deleted_ = true;
      return enter(Step::waiting, choose(4) == 0 ? choose(seconds(2)) : 0);
    default: return;
  }
}

void Operator::switch_recovery() {
  if (world_.now < next_switch_) return;
  next_switch_ = world_.now + milliseconds(500) + choose(seconds(4));
  const auto any = static_cast<MachineId>(choose(world_.nodes.size()));
  // In the end it is on: an order to switch it off may come late.
  if (finishing_ || choose(3) == 0) world_.nodes[any]->order(cluster::SwitchRecovery{finishing_ || choose(2) == 0});
}

void Operator::poll() {
  if (step_ == Step::off) return;
  switch_recovery();
  switch (step_) {
    case Step::off:
    case Step::over: return;
    case Step::waiting:
      if (world_.now < until_) return;
      if (finishing_ && deleted_) return enter(Step::over);
      return create();
    case Step::creating:
    case Step::growing:
    case Step::deleting:
      if (admin_->done()) after_order();
      return;
    case Step::reading:
      if (!answered()) return;
      for (const std::size_t asked : asked_)
        if (guest_->answer(asked) != Guest::Answer::ok) return read_back();
      return enter(Step::over);
    case Step::working: break;
  }
  if (finishing_) {
    if (answered()) read_back();
    return;
  }
  if (world_.now < until_) {
    if (world_.now < next_ask_ || asked_.size() > 400) return;
    next_ask_ = world_.now + choose(milliseconds(100));
    for (std::uint64_t n = 1 + choose(4); n > 0; --n) {
      static constexpr OpClass kinds[] = {OpClass::write, OpClass::write, OpClass::read, OpClass::trim, OpClass::flush};
      const OpClass kind = kinds[choose(std::size(kinds))];
      const auto count = static_cast<std::uint32_t>(8 + 8 * choose(4));
      const std::uint64_t first = 8 * choose((size_ - count) / 8) % (object * 3);
      const bool flush = kind == OpClass::flush;
      asked_.push_back(guest_->ask(kind, flush ? 0 : first, flush ? 0 : count));
      if (!flush) written_.push_back({first, count});
    }
    return;
  }
  if (choose(3) == 0)
    grow();
  else
    remove();
}

}  // namespace sd::sim
