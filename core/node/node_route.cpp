#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/node/node_impl.hpp"

namespace sd {

// First in every call: nothing may be answered on the strength of a lease that ended before `now`.
void Node::Impl::begin(Time now, Effects& fx) {
  now_ = now;
  refresh(now, fx);
}

void Node::Impl::refresh(Time now, Effects& fx) {
  if (!gateway) return;
  const bool may = control.may_serve(now);
  if (may == serving) return;
  SD_SOMETIMES(!may && !control.has_lease(now) && phase == Phase::running, lease_lost);
  serving = may;
  log(fx, may ? LogLine::Level::info : LogLine::Level::warning, may ? "serving" : "not serving: " + trouble_at(now));
  gateway->set_serving(now, may, gateway_fx);
}

// Carries effects from machine to machine until nothing is left to carry.
void Node::Impl::settle(Time now, Effects& fx) {
  if (phase < Phase::opening || !store) return;
  for (bool busy = true; busy;) {
    settle_control(now, fx);
    maybe_run(now);
    refresh(now, fx);
    replica->on_store(now, replica_fx);
    busy = carry_requests(now);
    busy |= carry_replies(now);
    busy |= carry_answers(now, fx);
    if (busy) continue;
    store->flush_batch(now, replica_fx.store);
    busy = !replica_fx.store.done.empty();
  }
  hand_out(now, fx);
}

// --- The control plane

void Node::Impl::settle_control(Time now, Effects& fx) {
  const bool changed = control.settle(now);
  take_control_effects(now, fx);
  if (changed) state_changed(now, fx);
  if (std::exchange(control.effects().introduce_anew, false)) peers.introduce_anew(now, fx);
  if (nbd.waits()) nbd.tick(now, fx);
  if (clients.waits()) clients.tick(now, fx);
}

void Node::Impl::take_control_effects(Time now, Effects& fx) {
  control::Effects& from = control.effects();
  for (LogLine& line : from.log) fx.log.push_back(std::move(line));
  from.log.clear();
  if (std::exchange(from.hurry, false)) housekeeping_at = std::min(housekeeping_at, now);
  if (!from.fatal.empty()) fail(std::exchange(from.fatal, {}), fx);
}

void Node::Impl::state_changed(Time now, Effects& fx) {
  const cluster::State& state = control.state();
  const std::uint64_t index = state.epochs.empty() ? 0 : state.epochs.back().log_index;
  if (index != seen_epoch_index || placement.periods().size() != state.epochs.size()) {
    seen_epoch_index = index;
    placement.follow(state);
    if (state.epoch() != seen_epoch) {
      seen_epoch = state.epoch();
      std::string text = "epoch " + std::to_string(seen_epoch) + ":";
      for (const auto& m : placement.current().record.members)
        text += " " + to_string(state.member(m.id)->address) + (m.up ? "" : " (down)");
      log(fx, LogLine::Level::info, std::move(text));
    }
    peers.turn_away_old_disks(now);
  }
  refresh(now, fx);
  gateway->on_state(now, gateway_fx);
  replica->on_state(now, control.is_member(), replica_fx);
  control.on_state_seen();
}

// --- Requests for objects, and what comes of them

// To members, this one among them.
void Node::Impl::send_object_requests(Time now) {
  const bool member = control.is_member();
  for (auto& [to, request] : carried.requests) {
    if (to == identity.id())
      replica->on_request(now, to, std::move(request), member, replica_fx);
    else
      outbox.messages.emplace_back(to, std::move(request));
  }
  carried.requests.clear();
  replica->on_store(now, replica_fx);
}

bool Node::Impl::carry_requests(Time now) {
  bool busy = false;
  for (auto* from : {&gateway_fx.volume.requests, &collector_fx}) {
    if (from->empty()) continue;
    busy = true;
    carried.requests.swap(*from);
    send_object_requests(now);
  }
  for (auto& [to, request] : replica_fx.requests) {
    if (to == identity.id())
      gateway->on_lost_copy(now, request, gateway_fx);
    else
      outbox.messages.emplace_back(to, std::move(request));
  }
  replica_fx.requests.clear();
  return busy;
}

bool Node::Impl::carry_replies(Time now) {
  const bool busy = !replica_fx.replies.empty();
  carried.replies.swap(replica_fx.replies);
  for (auto& [to, reply] : carried.replies) {
    if (to == identity.id())
      on_reply(now, to, std::move(reply));
    else
      outbox.messages.emplace_back(to, std::move(reply));
  }
  carried.replies.clear();
  for (auto& [to, message] : gateway_fx.messages) outbox.messages.emplace_back(to, std::move(message));
  gateway_fx.messages.clear();
  return busy;
}

bool Node::Impl::carry_answers(Time now, Effects& fx) {
  const bool busy = !gateway_fx.done.empty() || !gateway_fx.proposals.empty() || !control.outcomes().empty();
  carried.done.swap(gateway_fx.done);
  for (IoDone& done : carried.done) {
    const front::Ticket* found = tickets.find(done.ticket);
    SD_ASSERT(found, "a request is answered once");
    const front::Ticket ticket = *found;
    tickets.erase(done.ticket);
    ticket.front->on_io(now, ticket, std::move(done), fx);
  }
  carried.done.clear();
  carried.commands.swap(gateway_fx.proposals);
  for (auto& body : carried.commands) control.propose_untracked(now, std::move(body));
  carried.commands.clear();
  carried.outcomes.swap(control.outcomes());
  for (const auto& [number, result] : carried.outcomes) clients.on_proposed(number, result, fx);
  carried.outcomes.clear();
  return busy;
}

// What is for the driver.
void Node::Impl::hand_out(Time now, Effects& fx) {
  for (auto* disk : {&replica_fx.store.disk, &control.effects().raft.disk}) {
    for (auto& op : *disk) fx.disk.push_back(std::move(op));
    disk->clear();
  }
  for (auto* notices : {&replica_fx.store.notices, &gateway_fx.volume.notices}) {
    for (auto& text : *notices) log(fx, LogLine::Level::warning, std::move(text));
    notices->clear();
  }
  replica->set_full(store->space_left() < options.reserve_bytes);
  peers.flush_outbox(now, fx);
  advance_stop(now);
  if (!peers.fatal().empty()) fail(peers.fatal(), fx);
  if (control.raft().corrupt()) fail("the cluster log cannot be used: " + control.raft().reason(), fx);
  if (store->failed())
    fail("the disk of the journal or of the objects failed; this node stops so that the others can take over", fx);
}

// --- Messages

void Node::Impl::on_message(Time now, const peer::Hello& from, peer::Message&& message, StreamEffects& fx) {
  if (phase < Phase::opening || phase == Phase::stopped) return;
  const NodeId node = from.node;
  if (auto* frame = std::get_if<peer::RaftFrame>(&message)) {
    control.on_raft(now, node, *frame);
  } else if (auto* join = std::get_if<peer::JoinRequest>(&message)) {
    control.on_join_request(now, std::move(*join));
  } else if (auto* lease = std::get_if<peer::LeaseRequest>(&message)) {
    control.on_lease_request(now, node, std::move(*lease));
  } else if (auto* grant = std::get_if<peer::LeaseGrant>(&message)) {
    control.on_lease_grant(now, *grant);
  } else if (auto* proposal = std::get_if<peer::Propose>(&message)) {
    control.on_propose(now, std::move(*proposal));
  } else if (auto* request = std::get_if<peer::ObjectRequest>(&message)) {
    if (phase < Phase::running) return;
    if (request->op == peer::ObjectRequest::Op::lost)
      gateway->on_lost_copy(now, *request, gateway_fx);
    else
      replica->on_request(now, node, std::move(*request), control.is_member(), replica_fx);
  } else if (auto* reply = std::get_if<peer::ObjectReply>(&message)) {
    on_reply(now, node, std::move(*reply));
  } else if (auto* forwarded = std::get_if<peer::GatewayRequest>(&message)) {
    if (phase == Phase::running) gateway->on_request(now, node, std::move(*forwarded), gateway_fx);
  } else if (auto* answered = std::get_if<peer::GatewayReply>(&message)) {
    gateway->on_reply(now, node, std::move(*answered), gateway_fx);
  } else if (auto* known = std::get_if<peer::KnownIncarnation>(&message)) {
    if (known->to == identity.id()) peers.on_known_incarnation(now, known->incarnation, from.address, fx);
  }
}

void Node::Impl::on_reply(Time now, NodeId from, peer::ObjectReply&& reply) {
  using peer::Asker;
  switch (reply.asker) {
    case Asker::owner: return gateway->on_object_reply(now, from, std::move(reply), gateway_fx);
    case Asker::member: return replica->on_reply(now, from, std::move(reply), replica_fx);
    case Asker::collector: return collector->on_reply(now, from, std::move(reply), collector_fx);
    case Asker::purge:
    case Asker::scrub:
    case Asker::stop: break;
  }
  if (from != identity.id()) return;  // only of its own replica are these asked
  if (reply.asker == Asker::purge)
    purge.on_removed(reply.vid);
  else if (reply.asker == Asker::scrub)
    scrubbing.on_read(reply.status, replica->stats().scanned_bytes);
  else
    phase = Phase::stopped;
}

}  // namespace sd
