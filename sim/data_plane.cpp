#include "sim/data_plane.hpp"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "core/base/assert.hpp"
#include "core/gateway/gateway.hpp"
#include "sim/data_guests.hpp"
#include "sim/data_member.hpp"

namespace sd::sim {

namespace {

constexpr std::uint32_t far_objects = 1026;  // the index has a second page
constexpr NodeId inspector = 1000;           // asks members about their copies; no node
constexpr Time patience = seconds(28);       // a little less than that of a volume

// What may happen in a run. A run with few kinds of faults finds what many would hide.
struct Plan {
  explicit Plan(Random& random) {
    const auto one_in = [&](std::uint64_t n) { return random.below(n) == 0; };
    members = one_in(3) ? 4 : 3;
    gateways = one_in(2) ? 1 : 0;
    copies = one_in(4) ? 2 : 3;
    objects = one_in(16) ? std::vector<std::uint32_t>{0, 1, 1024} : std::vector<std::uint32_t>{0, 1};
    if (one_in(3)) objects.resize(1);
    ends = one_in(20);
    lost = one_in(2) ? random.below(60) : 0;
    repeated = one_in(2) ? random.below(60) : 0;
    overtakes = !one_in(4);
    quiet = one_in(6);
    if (!quiet) {
      power = !one_in(3);
      all_power = one_in(2);
      kills = !one_in(3);
      cuts = !one_in(3);
      moves = one_in(3);
      strict = !one_in(3);
    }
    fault_weight = 1 + random.below(1 + random.below(12));
    no_room = one_in(8);
    damage = one_in(6);
    remembered = one_in(6) ? 2 + random.below(15) : max_recent;
    guests = 1 + random.below(quiet && damage ? 2 : 12);
    lazy = random.below(8);
    budget = 1 + random.below(4);
    if (one_in(3)) limits = {1 + random.below(4), 1 + random.below(8)};
  }

  std::string text() const {
    std::string text = std::to_string(members) + "+" + std::to_string(gateways) + " nodes, " + std::to_string(copies) +
                       " copies; of 1000 messages " + std::to_string(lost) + " are lost, " + std::to_string(repeated) +
                       " repeated;";
    const auto add = [&](bool on, const char* name) { text += on ? std::string(" ") + name : ""; };
    add(ends, "ends");
    add(overtakes, "overtakes");
    add(quiet, "quiet");
    add(power, "power");
    add(all_power, "all_power");
    add(kills, "kills");
    add(cuts, "cuts");
    add(moves, "moves");
    add(strict, "strict");
    add(no_room, "no_room");
    add(damage, "damage");
    return text + " remembered " + std::to_string(remembered) + " guests " + std::to_string(guests);
  }

  std::size_t members = 0, gateways = 0;
  std::uint8_t copies = 0;
  std::vector<std::uint32_t> objects;
  bool ends = false;                     // guests use the ends of objects too; their files are large then
  std::uint64_t lost = 0, repeated = 0;  // messages, of a thousand
  bool overtakes = false;                // messages overtake each other
  bool quiet = false;                    // nobody dies or is cut off
  bool power = false, all_power = false, kills = false, cuts = false;
  bool moves = false;   // the share of a member that is down goes to others
  bool strict = false;  // never more members in trouble at a time than an object has spare copies
  std::uint64_t fault_weight = 0;
  bool no_room = false, damage = false;
  std::size_t remembered = 0;  // see Replica
  std::uint64_t guests = 0;    // requests at a time
  std::uint64_t lazy = 0;      // how much nodes lag behind the log
  std::size_t budget = 0;      // of recovery
  replication::Limits limits;
};

struct Node {
  NodeId id = 0;
  std::uint64_t starts = 0;
  Incarnation incarnation = 0;
  bool stores = false;
  bool alive = false;
  bool leased = false;
  bool serving = false;
  bool cut = false;         // nothing reaches it, and nothing comes from it
  std::uint64_t clean = 0;  // what it reports of recovery
  cluster::State state;
  cluster::Placement placement;
  std::unique_ptr<Gateway> gateway;
  GatewayEffects fx;
  std::unique_ptr<DataMember> member;

  bool in_cluster() const { return state.is_up(id, incarnation); }
};

struct Packet {
  NodeId from = 0, to = 0;
  Incarnation incarnation = 0;  // of the receiver
  peer::Message message;
};

std::string describe(const Version& version) {
  return std::to_string(version.log_index()) + "." + std::to_string(version.round()) + "/" +
         std::to_string(version.sequence);
}

std::string describe(const Packet& packet) {
  constexpr std::string_view names[] = {"write",      "zero",  "read",   "query",  "flush",   "pull",
                                        "fetch_info", "fetch", "remove", "repair", "collect", "lost"};
  std::string text = std::to_string(packet.from) + "->" + std::to_string(packet.to) + " ";
  if (const auto* request = std::get_if<peer::ObjectRequest>(&packet.message))
    return text + std::string(names[static_cast<std::size_t>(request->op)]) + " " + std::to_string(request->id) + " " +
           to_string(request->oid) + " " + describe(request->version) + " after " + describe(request->previous) +
           " in " + std::to_string(request->generation);
  if (const auto* reply = std::get_if<peer::ObjectReply>(&packet.message))
    return text + "reply " + std::to_string(reply->id) + " " + std::string(to_string(reply->status)) + " " +
           describe(reply->version) + (reply->incomplete ? " incomplete" : "") + " in " +
           std::to_string(reply->generation);
  if (const auto* asked = std::get_if<peer::GatewayRequest>(&packet.message))
    return text + "forwarded " + std::to_string(asked->id) + " op " + std::to_string(static_cast<int>(asked->op)) +
           " origin " + std::to_string(asked->origin);
  if (const auto* answered = std::get_if<peer::GatewayReply>(&packet.message))
    return text + "answer " + std::to_string(answered->id) + " " + std::string(to_string(answered->status));
  return text;
}

// A question for a part of a copy, or an answer to one.
bool is_fetch(const peer::Message& message) {
  if (const auto* request = std::get_if<peer::ObjectRequest>(&message))
    return request->op == peer::ObjectRequest::Op::fetch;
  const auto* reply = std::get_if<peer::ObjectReply>(&message);
  return reply && reply->asker == peer::Asker::member;
}

StoreOptions store_options(Random& random) {
  StoreOptions options;
  options.journal_bytes = 256u << 10;
  options.preallocate_journal = false;
  options.apply_bytes = (1 + random.below(8)) * limits::block_size;
  options.max_batch_records = 4 + static_cast<std::uint32_t>(random.below(8));
  options.max_batches_in_flight = 1 + static_cast<std::uint32_t>(random.below(2));
  options.apply_delay = milliseconds(random.below(2) == 0 ? 200 : 5000);
  options.checkpoint_delay = milliseconds(1 + random.below(20000));
  options.max_dirty_objects = 2 + static_cast<std::uint32_t>(random.below(6));
  options.meta_cache = static_cast<std::uint32_t>(random.below(3));
  options.reserve_bytes = 1u << 20;
  return options;
}

class DataPlane {
 public:
  explicit DataPlane(const DataPlaneOptions& options);
  ~DataPlane();
  DataPlaneOutcome run();

 private:
  // What happens next.
  void event();
  void deliver_some();
  void deliver(Packet&& packet);
  void send(Node& from, NodeId to, peer::Message&& message);
  void disk_step();
  void pass(Time time);
  void ask(Node& node, DataGuests::Asked&& asked);
  void settle(Node& node);
  bool settle_once(Node& node);
  void take_messages(Node& node, bool& busy);

  // The cluster log and its leader.
  void append(cluster::CommandBody&& body);
  void follow_log(Node& node, std::uint64_t index);
  void refresh(Node& node);
  void lead();
  void watch(Node& node);
  void join(Node& node);
  void mark_clean();
  bool all_clean() const;

  // Faults.
  void fault();
  bool may_hurt(const Node& node) const;
  void stop(Node& node, bool power);
  void start(Node& node);
  void lose_all_power();
  void cut(Node& node);
  void damage();

  // The end.
  void heal();
  void rest();
  bool work();
  bool idle() const;
  bool at_rest() const;
  void read_all();
  void compare_copies();
  std::vector<Oid> used_objects();
  std::string inspect(Node& node, peer::ObjectRequest::Op op, Oid oid, std::uint32_t offset, std::uint32_t length);

  Node& node(NodeId id) { return *nodes_[id - 1]; }
  Node* some_alive();
  template <typename F>
  void tell(F&& text) {
    if (options_.follow) options_.follow(std::to_string(now_ / 1'000'000) + " ms: " + text());
  }
  void fail(std::string what) {
    if (outcome_.error.empty() && !what.empty()) outcome_.error = std::move(what);
  }

  DataPlaneOptions options_;
  Random random_;
  Plan plan_;
  BufferPool pool_;
  Time now_ = seconds(1);
  Time changed_at_ = 0;  // the epoch or the owner
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Packet> packets_;
  std::vector<cluster::Command> log_;  // the first has index 1
  cluster::State state_;               // of all of it
  std::vector<std::pair<NodeId, cluster::CommandBody>> proposals_;
  std::set<NodeId> hurt_;  // they may lack something, or not have it for good, that others have
  std::unique_ptr<DataGuests> guests_;
  std::vector<peer::ObjectReply> inspected_;
  std::string last_notice_;
  bool healed_ = false;
  DataPlaneOutcome outcome_;
};

DataPlane::DataPlane(const DataPlaneOptions& options) : options_(options), random_(options.seed), plan_(random_) {
  StoredMember::Options member;
  member.store = store_options(random_);
  member.store.remembered_writes = plan_.remembered;
  for (NodeId id = 1; id <= plan_.members + plan_.gateways; ++id) {
    auto made = std::make_unique<Node>();
    made->id = id;
    made->stores = id <= plan_.members;
    made->member = std::make_unique<StoredMember>(id, pool_, made->state, random_.next(), member);
    nodes_.push_back(std::move(made));
  }
  for (auto& one : nodes_) {
    start(*one);
    join(*one);
    one->leased = true;
  }
  append(cluster::Format{1, plan_.copies, false});
  append(cluster::SetGrace{plan_.moves && random_.below(2) == 0 ? 0 : 600'000u});
  const std::uint64_t disk_objects = plan_.objects.back() >= 1024 ? far_objects : plan_.objects.size();
  append(cluster::CreateVdi{"disk", disk_objects * limits::object_size, plan_.copies});
  DataGuests::Excuses excuses;
  excuses.no_room = plan_.no_room;
  excuses.damage = plan_.damage;
  excuses.lost_blocks = plan_.damage && !plan_.quiet;
  excuses.forgotten = plan_.remembered < max_recent;
  guests_ = std::make_unique<DataGuests>(state_.vdis.begin()->first, random_.next(), plan_.objects, disk_objects,
                                         plan_.ends, excuses, pool_);
  if (random_.below(4) != 0) {
    const Node& owner = *nodes_[random_.below(nodes_.size())];
    append(cluster::TakeOwnership{state_.vdis.begin()->first, owner.id, owner.incarnation, 0});
  }
  for (auto& one : nodes_) follow_log(*one, log_.size());
}

DataPlane::~DataPlane() {
  packets_.clear();
  for (auto& one : nodes_) {
    one->fx = {};
    one->gateway.reset();
    one->member.reset();
  }
}

DataPlaneOutcome DataPlane::run() {
  tell([&] { return plan_.text(); });
  for (; outcome_.steps < options_.steps && outcome_.error.empty(); ++outcome_.steps) event();
  heal();
  rest();
  if (outcome_.error.empty()) compare_copies();
  read_all();
  if (outcome_.error.empty()) {
    // What was flushed survives; then again all is as it should be.
    ask(*nodes_.front(), guests_->ask_flush(1));
    rest();
    lose_all_power();
    heal();
    rest();
    read_all();
  }
  outcome_.answers = guests_->answers();
  outcome_.refusals = guests_->refusals();
  outcome_.epochs = state_.epoch();
  outcome_.sectors = guests_->model().checked_sectors();
  outcome_.undecided = guests_->model().inconclusive();
  return outcome_;
}

// --- Events

void DataPlane::event() {
  const auto what = random_.below(100 + plan_.fault_weight);
  if (what < 66) {
    // Messages and disks are at work most of the time; if they are not, only guests and the clock can move things.
    const bool disks = std::ranges::any_of(nodes_, [](const auto& one) { return one->alive && one->member->busy(); });
    if (!packets_.empty() && (!disks || what < 36)) return deliver_some();
    if (disks) return disk_step();
  }
  if (what < 78) {
    Node* at = some_alive();
    if (at && guests_->waiting() < plan_.guests) ask(*at, guests_->ask(at->id));
  } else if (what < 84) {
    // Mostly too little for anything to be tried again.
    pass(milliseconds(random_.below(random_.below(12) != 0 ? 20 : random_.below(4) != 0 ? 300 : 1500)));
  } else if (what < 92) {
    if (Node* at = some_alive(); at && !at->cut && random_.below(8) >= plan_.lazy)
      follow_log(*at, at->state.applied + 1 + random_.below(3));
  } else if (what < 100) {
    lead();
  } else {
    fault();
  }
}

Node* DataPlane::some_alive() {
  std::vector<Node*> alive;
  for (auto& one : nodes_)
    if (one->alive) alive.push_back(one.get());
  return alive.empty() ? nullptr : alive[random_.below(alive.size())];
}

void DataPlane::deliver_some() {
  if (packets_.empty()) return;
  std::size_t at = random_.below(packets_.size());
  // Or else those from one node to another stay in order.
  if (!plan_.overtakes)
    at = static_cast<std::size_t>(
        std::ranges::find_if(packets_,
                             [&](const Packet& p) { return p.from == packets_[at].from && p.to == packets_[at].to; }) -
        packets_.begin());
  const NodeId from = packets_[at].from, to = packets_[at].to;
  if (node(to).cut || node(from).cut) return;
  if (!healed_ && random_.below(1000) < plan_.repeated) {
    deliver(Packet(packets_[at]));
    return;
  }
  // A copy is fetched by sixty-four messages and as many answers: they mostly travel in groups.
  const bool part_of_copy = is_fetch(packets_[at].message);
  do {
    Packet packet = std::move(packets_[at]);
    packets_.erase(packets_.begin() + static_cast<std::ptrdiff_t>(at));
    if (healed_ || random_.below(1000) >= plan_.lost) deliver(std::move(packet));
    at = static_cast<std::size_t>(
        std::ranges::find_if(packets_,
                             [&](const Packet& p) { return p.from == from && p.to == to && is_fetch(p.message); }) -
        packets_.begin());
  } while (part_of_copy && at < packets_.size() && random_.below(16) != 0);
}

void DataPlane::deliver(Packet&& packet) {
  Node& to = node(packet.to);
  if (!to.alive || to.incarnation != packet.incarnation) return;
  const NodeId from = packet.from;
  tell([&] { return "  " + describe(packet); });
  if (auto* request = std::get_if<peer::ObjectRequest>(&packet.message)) {
    if (request->op == peer::ObjectRequest::Op::lost)
      to.gateway->on_lost_copy(now_, *request, to.fx);
    else
      to.member->on_request(now_, from, std::move(*request), to.in_cluster());
  } else if (auto* reply = std::get_if<peer::ObjectReply>(&packet.message)) {
    if (reply->asker == peer::Asker::member)
      to.member->on_reply(now_, from, std::move(*reply));
    else
      to.gateway->on_object_reply(now_, from, std::move(*reply), to.fx);
  } else if (auto* asked = std::get_if<peer::GatewayRequest>(&packet.message)) {
    to.gateway->on_request(now_, from, std::move(*asked), to.fx);
  } else if (auto* answered = std::get_if<peer::GatewayReply>(&packet.message)) {
    to.gateway->on_reply(now_, from, std::move(*answered), to.fx);
  }
  settle(to);
}

void DataPlane::send(Node& from, NodeId to, peer::Message&& message) {
  if (to == inspector) {
    inspected_.push_back(std::get<peer::ObjectReply>(std::move(message)));
    return;
  }
  Node& target = node(to);
  if (target.alive) packets_.push_back({from.id, to, target.incarnation, std::move(message)});
}

void DataPlane::disk_step() {
  std::vector<Node*> busy;
  for (auto& one : nodes_)
    if (one->alive && one->member->busy()) busy.push_back(one.get());
  Node& at = *busy[random_.below(busy.size())];
  do {
    at.member->step(now_);
    settle(at);
  } while (at.member->busy() && random_.below(4) != 0);
}

void DataPlane::pass(Time time) {
  now_ += time;
  const auto adopts = std::ranges::find_if(nodes_, &Node::serving);
  for (auto& one : nodes_) {
    if (!one->alive) continue;
    one->gateway->tick(now_, one->fx);
    one->member->tick(now_);
    if (one->serving && one->state.epochs.size() > 1 &&
        one->gateway->recover(now_, plan_.budget, one == *adopts, one->fx))
      one->clean = one->state.applied;
    settle(*one);
  }
}

void DataPlane::ask(Node& at, DataGuests::Asked&& asked) {
  tell([&] { return "asks " + std::to_string(asked.ticket) + ": " + asked.text; });
  asked.request.created_index = state_.find(asked.request.vid)->created_index;
  at.gateway->submit(now_, asked.ticket, std::move(asked.request), at.fx);
  settle(at);
}

// Carries what one machine of a node has for the others, as Node does it.
void DataPlane::settle(Node& at) {
  while (settle_once(at)) {
  }
  fail(at.gateway->check_state());
  fail(at.member->check_state());
  if (at.member->failed()) fail("the store of node " + std::to_string(at.id) + " failed without a cause");
}

bool DataPlane::settle_once(Node& at) {
  bool busy = at.member->settle(now_);
  for (auto& [to, request] : std::exchange(at.fx.volume.requests, {})) {
    busy = true;
    if (to == at.id)
      at.member->on_request(now_, at.id, std::move(request), at.in_cluster());
    else
      send(at, to, std::move(request));
  }
  take_messages(at, busy);
  for (const IoDone& done : std::exchange(at.fx.done, {})) {
    busy = true;
    tell([&] { return "answer " + std::to_string(done.ticket) + ": " + std::string(to_string(done.status)); });
    std::string wrong = guests_->answer(done, now_ - changed_at_ >= patience);
    if (!wrong.empty() && done.status != Status::ok) wrong += " (" + last_notice_ + ")";
    fail(std::move(wrong));
  }
  for (auto& body : std::exchange(at.fx.proposals, {}))
    if (!at.cut) proposals_.emplace_back(at.id, std::move(body));
  for (std::string& notice : std::exchange(at.fx.volume.notices, {})) {
    last_notice_ = "node " + std::to_string(at.id) + ": " + notice;
    tell([&] { return last_notice_; });
  }
  return busy;
}

void DataPlane::take_messages(Node& at, bool& busy) {
  for (auto& [to, request] : std::exchange(at.member->requests, {})) {
    busy = true;
    if (to == at.id)
      at.gateway->on_lost_copy(now_, request, at.fx);
    else
      send(at, to, std::move(request));
  }
  for (auto& [to, reply] : std::exchange(at.member->replies, {})) {
    busy = true;
    if (to == at.id)
      at.gateway->on_object_reply(now_, at.id, std::move(reply), at.fx);
    else
      send(at, to, std::move(reply));
  }
  for (auto& [to, message] : std::exchange(at.fx.messages, {})) send(at, to, std::move(message));
}

// --- The log

void DataPlane::append(cluster::CommandBody&& body) {
  const std::uint64_t generation = state_.vdis.empty() ? 0 : state_.generation(state_.vdis.begin()->first);
  log_.push_back({0, 1, 0, std::move(body)});
  state_.apply(log_.size(), log_.back());
  if (!state_.vdis.empty() && state_.generation(state_.vdis.begin()->first) != generation) changed_at_ = now_;
}

// Applies it up to this entry, as far as there is one.
void DataPlane::follow_log(Node& at, std::uint64_t index) {
  index = std::min<std::uint64_t>(index, log_.size());
  if (at.state.applied >= index) return;
  while (at.state.applied < index) at.state.apply(at.state.applied + 1, log_[at.state.applied]);
  at.placement.follow(at.state);
  tell([&] { return "node " + std::to_string(at.id) + " has applied " + std::to_string(index); });
  refresh(at);
  at.gateway->on_state(now_, at.fx);
  at.member->on_state(now_, at.in_cluster());
  settle(at);
}

void DataPlane::refresh(Node& at) {
  const bool may = at.alive && at.leased && at.in_cluster();
  if (may == at.serving) return;
  at.serving = may;
  tell([&] { return "node " + std::to_string(at.id) + (may ? " serves" : " does not serve"); });
  at.gateway->set_serving(now_, may, at.fx);
  settle(at);
}

void DataPlane::lead() {
  if (!proposals_.empty() && random_.below(2) == 0) {
    const std::size_t at = random_.below(proposals_.size());
    tell([&] { return "node " + std::to_string(proposals_[at].first) + " may take the disk"; });
    append(std::move(proposals_[at].second));
    proposals_.erase(proposals_.begin() + static_cast<std::ptrdiff_t>(at));
    return;
  }
  mark_clean();
  watch(*nodes_[random_.below(nodes_.size())]);
}

void DataPlane::watch(Node& at) {
  const bool up = state_.is_up(at.id, at.incarnation);
  const cluster::Member* known = state_.member(at.id);
  if (at.alive && !at.cut) {
    if (!up && !at.in_cluster()) {
      join(at);
    } else if (up && !at.leased) {
      at.leased = true;
      refresh(at);
    }
    return;
  }
  if (at.leased) {
    // It cannot reach the leader any more.
    at.leased = false;
    if (at.alive) refresh(at);
    return;
  }
  if (known && known->up) {
    cluster::Remove remove{at.id, known->incarnation, false, {}};
    for (const auto& other : nodes_)
      if (other != nodes_[at.id - 1] && (!other->alive || other->cut) && !other->leased && random_.below(2) == 0)
        if (const auto* m = state_.member(other->id); m && m->up) remove.with.emplace_back(m->id, m->incarnation);
    hurt_.insert(at.id);
    for (const auto& [id, incarnation] : remove.with) hurt_.insert(id);
    tell([&] { return "node " + std::to_string(at.id) + " is taken out"; });
    append(std::move(remove));
  } else if (known && known->placed && plan_.moves && random_.below(4) == 0) {
    append(cluster::Expel{at.id, known->incarnation});
  }
}

void DataPlane::join(Node& at) {
  const cluster::Member* known = state_.member(at.id);
  cluster::Join join;
  join.member.id = at.id;
  join.member.incarnation = at.incarnation;
  join.member.address = Endpoint::v4(10, 0, 0, static_cast<std::uint8_t>(at.id), 7000);
  join.member.zone = static_cast<std::uint32_t>(at.id);
  join.member.vnodes = at.stores ? 8 : 0;
  join.follows = known ? known->incarnation : 0;
  hurt_.insert(at.id);
  tell([&] { return "node " + std::to_string(at.id) + " is let in"; });
  append(std::move(join));
}

bool DataPlane::all_clean() const {
  for (const auto& [vid, vdi] : state_.vdis) {
    if (vdi.owner == 0) continue;
    const auto* owner = state_.member(vdi.owner);
    if (!owner || !owner->up || nodes_[vdi.owner - 1]->clean < state_.generation(vid)) return false;
  }
  return true;
}

void DataPlane::mark_clean() {
  if (state_.epochs.size() < 2 || !all_clean()) return;
  tell([&] { return "history ends before epoch " + std::to_string(state_.epoch()); });
  append(cluster::MarkClean{state_.epoch()});
  // Who is part of it holds everything, for good.
  std::erase_if(hurt_, [&](NodeId id) { return state_.is_up(id, node(id).incarnation) && node(id).alive; });
}

// --- Faults

bool DataPlane::may_hurt(const Node& at) const {
  if (!plan_.strict || !at.stores) return true;
  std::set<NodeId> hurt = hurt_;
  hurt.insert(at.id);
  return static_cast<std::size_t>(std::ranges::count_if(hurt, [&](NodeId id) { return nodes_[id - 1]->stores; })) <
         plan_.copies;
}

void DataPlane::fault() {
  const NodeId owner = state_.vdis.begin()->second.owner;
  Node& at = owner != 0 && random_.below(3) == 0 ? node(owner) : *nodes_[random_.below(nodes_.size())];
  const auto what = random_.below(12);
  if (!at.alive) {
    if (what < 8) start(at);
  } else if (what < 2) {
    if (plan_.kills && may_hurt(at)) stop(at, false);
  } else if (what < 4) {
    if (plan_.power && may_hurt(at)) stop(at, true);
  } else if (what < 7) {
    if (at.cut)
      at.cut = false;
    else if (plan_.cuts && may_hurt(at))
      cut(at);
  } else if (what < 8) {
    if (plan_.all_power && random_.below(3) == 0) lose_all_power();
  } else if (what < 9) {
    // A lease that is not renewed in time, for whatever reason.
    if (!plan_.quiet) at.leased = false;
    refresh(at);
  } else if (what < 10) {
    if (const std::uint64_t ticket = guests_->hang_up(at.id); ticket != 0) at.gateway->abandon(ticket, at.fx);
    settle(at);
  } else if (what < 11) {
    if (plan_.no_room) at.member->set_room(random_.below(2) == 0);
  } else if (plan_.damage) {
    damage();
  }
}

// Of one bad disk. If nobody is ever away, then only of what has other copies.
void DataPlane::damage() {
  Node& at = node(1);
  if (!at.alive || (plan_.quiet && !idle())) return;
  const Vid vid = state_.vdis.begin()->first;
  std::vector<std::pair<Oid, std::uint32_t>> blocks;
  // A disk whose index has lost a block never becomes redundant.
  if (plan_.quiet) blocks.emplace_back(Oid::index_object(vid, 0), 0);
  for (const std::uint32_t index : guests_->objects())
    for (const auto& [offset, length] : guests_->used_ranges())
      for (std::uint32_t block = offset / limits::block_size; block * limits::block_size < offset + length; ++block)
        blocks.emplace_back(Oid::data(vid, index), block);
  tell([] { return std::string("damage"); });
  at.member->damage(random_, blocks);
}

void DataPlane::stop(Node& at, bool power) {
  tell([&] { return "node " + std::to_string(at.id) + (power ? " loses power" : " dies"); });
  at.alive = at.serving = at.leased = at.cut = false;
  at.gateway.reset();
  at.fx = {};
  at.member->stop(power);
  hurt_.insert(at.id);
  guests_->gateway_died(at.id);
  std::erase_if(proposals_, [&](const auto& proposal) { return proposal.first == at.id && random_.below(2) == 0; });
  std::erase_if(packets_, [&](const Packet& p) {
    return p.to == at.id || (p.from == at.id && (power || random_.below(2) == 0));
  });
  if (!power) return;
  const auto hurt = std::ranges::count_if(hurt_, [&](NodeId id) { return node(id).stores; });
  if (static_cast<std::size_t>(hurt) >= plan_.copies) guests_->members_lost_power();
}

void DataPlane::start(Node& at) {
  at.alive = true;
  at.incarnation = incarnation_of(++at.starts, random_.next());
  tell([&] { return "node " + std::to_string(at.id) + " starts"; });
  at.member->start(now_);
  at.gateway = std::make_unique<Gateway>(at.id, at.incarnation, pool_, at.state, at.placement, plan_.limits);
}

void DataPlane::lose_all_power() {
  for (auto& one : nodes_)
    if (one->alive) stop(*one, true);
  tell([] { return std::string("all power is lost"); });
  packets_.clear();
  proposals_.clear();
  guests_->all_lost_power();
}

void DataPlane::cut(Node& at) {
  tell([&] { return "node " + std::to_string(at.id) + " is cut off"; });
  at.cut = true;
  hurt_.insert(at.id);
  // What is under way is lost, or only late.
  if (random_.below(2) == 0) std::erase_if(packets_, [&](const Packet& p) { return p.to == at.id || p.from == at.id; });
}

// --- The end

void DataPlane::heal() {
  healed_ = true;
  tell([] { return std::string("all is healed"); });
  for (auto& one : nodes_) {
    one->cut = false;
    if (!one->alive) start(*one);
    one->member->set_room(true);
  }
}

// No request is under way, and no message.
bool DataPlane::idle() const {
  return guests_->waiting() == 0 && packets_.empty() &&
         std::ranges::all_of(nodes_, [](const auto& one) { return !one->alive || one->gateway->under_way() == 0; });
}

bool DataPlane::at_rest() const {
  if (!idle() || state_.epochs.size() != 1) return false;
  return std::ranges::all_of(nodes_, [&](const auto& one) {
    return state_.is_up(one->id, one->incarnation) && one->state.applied == log_.size() && one->serving &&
           !one->member->busy() && one->gateway->next_deadline() == never;
  });
}

// Until all is done, and stays so for a while: what is tried again after a pause is part of it.
void DataPlane::rest() {
  const Time until = now_ + seconds(100);
  for (unsigned quiet = 0; outcome_.error.empty() && quiet < 6;) {
    ++outcome_.steps;
    const bool moved = work();
    if (moved && random_.below(8) != 0) continue;
    for (auto& one : nodes_) {
      watch(*one);
      follow_log(*one, log_.size());
    }
    lead();
    if (moved && random_.below(16) != 0) continue;
    if (now_ > until) {
      fail("all is healed and delivered, and still " +
           (guests_->waiting() > 0 ? "nobody answered: " + guests_->waiting_text() : "history does not end") + " (" +
           last_notice_ + ")");
      return;
    }
    quiet = at_rest() ? quiet + 1 : 0;
    pass(milliseconds(50 + random_.below(100)));
  }
}

// A message, and an operation of each disk. False if there is none.
bool DataPlane::work() {
  bool moved = !packets_.empty();
  if (moved) deliver_some();
  for (auto& one : nodes_) {
    if (!one->member->busy()) continue;
    one->member->step(now_);
    settle(*one);
    moved = true;
  }
  return moved;
}

void DataPlane::read_all() {
  if (!outcome_.error.empty()) return;
  Node& at = *nodes_[random_.below(nodes_.size())];
  for (auto& asked : guests_->ask_all(at.id)) ask(at, std::move(asked));
  rest();
}

// The objects that guests use and the index names, and that of the index. Others may be anywhere, and are never read.
std::vector<Oid> DataPlane::used_objects() {
  const Vid vid = state_.vdis.begin()->first;
  std::vector<Oid> oids{Oid::index_object(vid, 0)};
  const NodeId any = cluster::Placement(state_).acting(oids.front(), plan_.copies).front();
  for (const std::uint32_t index : guests_->objects()) {
    const std::string entry = inspect(node(any), peer::ObjectRequest::Op::read, oids.front(), index * 4, 4);
    if (entry.find_first_not_of('\0', entry.find(':') + 1) != std::string::npos) oids.push_back(Oid::data(vid, index));
  }
  return oids;
}

std::string DataPlane::inspect(Node& at, peer::ObjectRequest::Op op, Oid oid, std::uint32_t offset,
                               std::uint32_t length) {
  peer::ObjectRequest request;
  request.id = 1;
  request.op = op;
  request.vid = oid.vid();
  request.generation = state_.generation(oid.vid());
  request.oid = oid;
  request.offset = offset;
  request.length = length;
  inspected_.clear();
  at.member->on_request(now_, inspector, std::move(request), true);
  settle(at);
  while (inspected_.empty() && at.member->busy()) {
    at.member->step(now_);
    settle(at);
  }
  if (inspected_.empty()) return "no answer";
  const peer::ObjectReply& reply = inspected_.front();
  if (op == peer::ObjectRequest::Op::query)
    return describe(reply.version) + (reply.exists ? "" : " absent") + (reply.incomplete ? " incomplete" : "");
  return std::string(to_string(reply.status)) + ":" + std::string(joined(reply.payload, pool_).text());
}

void DataPlane::compare_copies() {
  if (state_.vdis.begin()->second.owner == 0) return;
  const cluster::Placement placement(state_);
  for (const Oid oid : used_objects()) {
    std::string first_info;
    std::vector<std::string> first_data;
    for (const NodeId id : placement.acting(oid, plan_.copies)) {
      const std::string info = inspect(node(id), peer::ObjectRequest::Op::query, oid, 0, 0);
      if (first_info.empty()) first_info = info;
      if (info != first_info)
        fail("at rest, node " + std::to_string(id) + " holds object " + to_string(oid) + " at " + info +
             ", another at " + first_info);
      if (plan_.damage) continue;
      std::vector<std::string> data;
      for (const auto& [offset, length] : guests_->used_ranges())
        data.push_back(inspect(node(id), peer::ObjectRequest::Op::read, oid, offset, length));
      if (first_data.empty()) first_data = data;
      if (data != first_data)
        fail("at rest, the copies of object " + to_string(oid) + " at version " + info + " differ");
    }
  }
}

}  // namespace

DataPlaneOutcome run_data_plane(const DataPlaneOptions& options) { return DataPlane(options).run(); }

}  // namespace sd::sim
