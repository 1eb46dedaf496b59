// Connections to other nodes, and what comes over them.
#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/node/node_impl.hpp"
#include "core/peer/introduction.hpp"

namespace sd {

namespace {
constexpr Time ignored_for = milliseconds(500);
}  // namespace

std::optional<Endpoint> Node::Impl::address_of(NodeId node) const {
  Endpoint found;
  const auto* member = cluster_state.member(node);
  if (member) found = member->address;
  // One that is not up may have come back with another address.
  if (const auto at = addresses.find(node); at != addresses.end() && (!member || !member->up)) found = at->second;
  if (found == Endpoint{}) return {};
  ++found.port;
  return found;
}

void Node::Impl::send(Time now, NodeId to, const peer::Message& message, Effects& fx) {
  if (to == id) return;
  if (const auto address = address_of(to)) send_to(now, *address, message, fx);
}

void Node::Impl::send_to(Time now, const Endpoint& to, const peer::Message& message, Effects& fx) {
  links_for(fx).send(now, to, message);
}

// --- Links::Transport

StreamId Node::Impl::LinkTransport::dial(const Endpoint& to) {
  const StreamId number = node.next_stream++;
  Stream stream;
  stream.kind = Stream::Kind::out_link;
  stream.to = to;
  node.streams.emplace(number, std::move(stream));
  fx->dial.push_back({number, to});
  return number;
}

void Node::Impl::LinkTransport::close(StreamId stream) {
  fx->close.push_back(stream);
  node.streams.erase(stream);
}

void Node::Impl::LinkTransport::output(StreamId stream) {
  if (fx->output.empty() || fx->output.back() != stream) fx->output.push_back(stream);
}

void Node::Impl::LinkTransport::hello(Incarnation asked_for, std::string& out) const {
  peer::encode(peer::Hello{node.raft ? node.raft->group() : 0, node.cluster_state.replaced_group, node.id,
                           node.own_incarnation, node.options.address,
                           node.shown_incarnations(asked_for != 0 ? asked_for : node.incarnation_asked_for)},
               out);
}

void Node::Impl::LinkTransport::log(std::string text) { node.log(*fx, LogLine::Level::debug, std::move(text)); }

Links& Node::Impl::links_for(Effects& fx) {
  transport.fx = &fx;
  return links;
}

void Node::Impl::flush_outbox(Time now, Effects& fx) {
  for (auto& [to, message] : outbox) send(now, to, message, fx);
  outbox.clear();
  for (auto& [to, message] : outbox_by_address) send_to(now, to, message, fx);
  outbox_by_address.clear();
}

void Node::Impl::on_dialed(Time now, StreamId stream, DialResult result, Effects& fx) {
  const auto at = streams.find(stream);
  if (at == streams.end() || at->second.kind != Stream::Kind::out_link) return;
  const Endpoint to = at->second.to;
  const bool gone = links_for(fx).on_dialed(now, to, stream, result);
  if (result != DialResult::connected) streams.erase(stream);
  if (gone) note_gone(now, to);
}

void Node::Impl::on_peer_bytes(Time now, StreamId stream_id, Stream& stream, std::size_t n, Effects& fx) {
  InLink& in = *stream.in;
  in.receiver.received(n);
  while (auto message = in.receiver.next()) {
    if (!in.hello) {
      const auto* hello = std::get_if<peer::Hello>(&*message);
      peer::Listener self{
          id, raft ? raft->group() : 0, cluster_state.replaced_group, hello ? known_incarnation(hello->node) : 0, {}};
      if (hello)
        if (const auto over = past_incarnations.find(hello->node); over != past_incarnations.end())
          self.past_incarnations = over->second;
      std::string why;
      const peer::Welcome answer = peer::welcome(self, hello, why);
      if (answer != peer::Welcome::yes) {
        log(fx, LogLine::Level::warning, why);
        // One of the replaced configuration learns of that from our own introduction.
        if (answer == peer::Welcome::no && hello && self.replaced_group != 0 && hello->group == self.replaced_group) {
          Endpoint peer_port = hello->address;
          ++peer_port.port;
          send_to(now, peer_port, peer::LeaseGrant{}, fx);
        }
        if (answer == peer::Welcome::old_disk) {
          turn_away(now, in, *hello);
          continue;
        }
        fx.close.push_back(stream_id);
        streams.erase(stream_id);
        if (answer == peer::Welcome::superseded) fail(why, fx);
        return;
      }
      if (past_incarnations.size() < limits::max_members || past_incarnations.contains(hello->node))
        past_incarnations[hello->node] = hello->earlier;
      in.hello = *hello;
      if (addresses.size() < limits::max_members || addresses.contains(hello->node))
        addresses[hello->node] = hello->address;
      continue;
    }
    if (in.ignored_until != 0 && !std::holds_alternative<peer::KnownIncarnation>(*message)) {
      if (now < in.ignored_until) continue;
      fx.close.push_back(stream_id);
      streams.erase(stream_id);
      return;
    }
    on_message(now, *in.hello, std::move(*message), fx);
  }
  if (in.receiver.error()) {
    log(fx, LogLine::Level::warning,
        "a peer connection sent bad data (" + std::string(peer::to_string(*in.receiver.error())) + "); closed");
    fx.close.push_back(stream_id);
    streams.erase(stream_id);
  }
}

void Node::Impl::on_message(Time now, const peer::Hello& from, peer::Message&& message, Effects& fx) {
  if (phase < Phase::opening || phase == Phase::stopped) return;
  const NodeId node = from.node;
  if (auto* m = std::get_if<peer::RaftFrame>(&message)) {
    if (!raft->ready() || m->to != id) return;
    auto decoded = raft::decode(std::as_bytes(std::span(m->bytes.data(), m->bytes.size())));
    if (!decoded || decoded->from != node) return;
    // A node that waits to be let in learns from the first leader that contacts it which cluster it is.
    // (Not from a candidate: it may ask at an address where another node used to be, for a group that is no more.)
    const bool leads = decoded->type == raft::Message::Type::append || decoded->type == raft::Message::Type::snapshot;
    if (leads && raft->group() == 0 && !options.local_only && !options.seeds.empty()) raft->adopt_group(decoded->group);
    raft->on_message(now, std::move(*decoded), raft_fx);
  } else if (auto* join = std::get_if<peer::JoinRequest>(&message)) {
    if (phase == Phase::running) on_join_request(now, *join);
  } else if (auto* lease = std::get_if<peer::LeaseRequest>(&message)) {
    if (phase < Phase::running || !may_grant(now, node, lease->incarnation)) return;
    leadership->on_granted(now, node, lease->recovered, std::move(lease->purged));
    outbox.emplace_back(node, peer::LeaseGrant{lease->incarnation, lease->sent});
  } else if (auto* grant = std::get_if<peer::LeaseGrant>(&message)) {
    if (grant->incarnation == own_incarnation && grant->sent <= now)
      lease_until = std::max(lease_until, (SD_BUG(lease_from_grant) ? now : grant->sent) + options.lease);
  } else if (auto* propose = std::get_if<peer::Propose>(&message)) {
    if (phase >= Phase::running && raft->is_leader() && cluster::decode_command(propose->command))
      raft->propose(now, std::move(propose->command), raft_fx);
  } else if (auto* request = std::get_if<peer::ObjectRequest>(&message)) {
    if (phase < Phase::running) return;
    if (request->op == peer::ObjectRequest::Op::lost)
      gateway->on_lost_copy(now, *request, gateway_fx);
    else
      replica->on_request(now, node, std::move(*request), cluster_state.is_up(id, own_incarnation), replica_fx);
  } else if (auto* reply = std::get_if<peer::ObjectReply>(&message)) {
    if (Collector::owns(reply->id))
      collector->on_reply(now, node, std::move(*reply), collector_fx);
    else if (reply->id & Replica::own_request_bit)
      replica->on_reply(now, node, std::move(*reply), replica_fx);
    else
      gateway->on_object_reply(now, node, std::move(*reply), gateway_fx);
  } else if (auto* forwarded = std::get_if<peer::GatewayRequest>(&message)) {
    if (phase == Phase::running) gateway->on_request(now, node, std::move(*forwarded), gateway_fx);
  } else if (auto* answered = std::get_if<peer::GatewayReply>(&message)) {
    gateway->on_reply(now, node, std::move(*answered), gateway_fx);
  } else if (auto* known = std::get_if<peer::KnownIncarnation>(&message)) {
    if (known->to == id) on_known_incarnation(now, known->incarnation, from.address, fx);
  }
}

// --- Incarnations

Incarnation Node::Impl::known_incarnation(NodeId node) const {
  if (cluster_state.applied < logged_until)
    if (const auto at = logged_incarnations.find(node); at != logged_incarnations.end()) return at->second;
  const auto* member = cluster_state.member(node);
  return member ? member->incarnation : 0;
}

// Nothing more is heard of it, except that it may not welcome this node either: two that both had to leave incarnations
// out of their introductions would otherwise never learn which.
void Node::Impl::turn_away(Time now, InLink& in, const peer::Hello& hello) {
  SD_SOMETIMES(true, old_disk_refused);
  in.hello = hello;
  in.ignored_until = now + ignored_for;
  Endpoint peer_port = hello.address;
  ++peer_port.port;
  outbox_by_address.emplace_back(peer_port, peer::KnownIncarnation{hello.node, known_incarnation(hello.node)});
}

// Those who introduced themselves before this node knew better.
void Node::Impl::turn_away_old_disks(Time now) {
  for (auto& [number, stream] : streams) {
    InLink* in = stream.in.get();
    if (!in || !in->hello || in->ignored_until != 0) continue;
    const peer::Hello hello = *in->hello;
    if (peer::follows(known_incarnation(hello.node), hello.incarnation, hello.earlier)) continue;
    turn_away(now, *in, hello);
    past_incarnations.erase(hello.node);
  }
}

std::vector<Incarnation> Node::Impl::shown_incarnations(Incarnation asked_for) const {
  std::vector<Incarnation> shown(
      earlier_incarnations.begin(),
      earlier_incarnations.begin() +
          static_cast<std::ptrdiff_t>(std::min(earlier_incarnations.size(), peer::max_earlier_incarnations)));
  if (asked_for != 0 && std::ranges::find(shown, asked_for) == shown.end()) {
    if (shown.size() == peer::max_earlier_incarnations) shown.pop_back();
    shown.push_back(asked_for);
  }
  return shown;
}

// An incarnation that this disk has seen, or that is beyond what its list goes back to, will be named to whoever asked
// for it: each other node may go by another one, since their logs are not equally far. Any other incarnation means that
// this disk is older than what was done in it.
void Node::Impl::on_known_incarnation(Time now, Incarnation incarnation, const Endpoint& from, Effects& fx) {
  if (incarnation == 0 || incarnation == own_incarnation) return;
  const bool beyond = earlier_incarnations.size() == max_kept_incarnations &&
                      starts_of(incarnation) < starts_of(earlier_incarnations.back());
  if (beyond || std::ranges::find(earlier_incarnations, incarnation) != earlier_incarnations.end()) {
    incarnation_asked_for = incarnation;
    Endpoint peer_port = from;
    ++peer_port.port;
    const bool shown = links_for(fx).show(now, peer_port, incarnation);
    SD_SOMETIMES(shown, old_incarnation_shown);
    if (shown && SD_BUG(one_incarnation_for_all)) links_for(fx).introduce_anew(now, incarnation);
    return;
  }
  fail("this node's disk is older than what the cluster knows of it: " + to_string(from) +
           " has seen its incarnation " + std::to_string(starts_of(incarnation)) +
           ", of which this disk knows nothing. Was its data directory restored from a backup or an image? Empty it to "
           "let it join as a new node",
       fx);
}

}  // namespace sd
