#include "core/node/peers.hpp"

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/peer/introduction.hpp"

namespace sd {

namespace {

constexpr Time ignored_for = milliseconds(500);

Endpoint peer_port_of(Endpoint client) {
  ++client.port;
  return client;
}

}  // namespace

// --- Streams

void Peers::open(StreamId stream, StreamEffects&) { in_.try_emplace(stream, pool_); }

std::span<std::byte> Peers::receive_buffer(StreamId stream) {
  if (const auto at = in_.find(stream); at != in_.end()) return at->second.receiver.buffer();
  Dialled& dialled = out_.at(stream);
  if (!dialled.in) dialled.in = std::make_unique<InLink>(pool_);
  return dialled.in->receiver.buffer();
}

OutQueue* Peers::output(StreamId stream) {
  const auto at = out_.find(stream);
  return at == out_.end() ? nullptr : links_.output(at->second.to, stream);
}

void Peers::on_closed(Time now, StreamId stream, StreamEffects& fx) {
  const bool running = control_.running();
  if (const auto out = out_.find(stream); out != out_.end()) {
    links_for(fx).on_closed(now, out->second.to, stream, running);
    out_.erase(out);
  } else if (const auto in = in_.find(stream); in != in_.end()) {
    if (in->second.hello) {
      const auto address = control_.address_of(in->second.hello->node);
      if (address && running) links_for(fx).probe(now, *address);
    }
    in_.erase(in);
  }
}

void Peers::drop(StreamId stream, StreamEffects& fx) {
  fx.close.push_back(stream);
  in_.erase(stream);
  streams_.erase(stream);
}

// --- What this node says

void Peers::on_dialed(Time now, StreamId stream, DialResult result, StreamEffects& fx) {
  const auto at = out_.find(stream);
  if (at == out_.end()) return;
  const Endpoint to = at->second.to;
  const bool gone = links_for(fx).on_dialed(now, to, stream, result);
  if (result != DialResult::connected) {
    out_.erase(stream);
    streams_.erase(stream);
  }
  if (gone) control_.on_gone(now, to);
}

void Peers::flush_outbox(Time now, StreamEffects& fx) {
  for (auto& [to, message] : outbox_.messages) {
    if (to == identity_.id()) continue;
    if (const auto address = control_.address_of(to)) links_for(fx).send(now, *address, message);
  }
  outbox_.messages.clear();
  for (auto& [to, message] : outbox_.by_address) links_for(fx).send(now, to, message);
  outbox_.by_address.clear();
}

StreamId Peers::dial(const Endpoint& to) {
  const StreamId stream = streams_.add(*this);
  out_[stream].to = to;
  fx_->dial.push_back({stream, to});
  return stream;
}

void Peers::close(StreamId stream) {
  fx_->close.push_back(stream);
  out_.erase(stream);
  streams_.erase(stream);
}

void Peers::has_output(StreamId stream) {
  if (fx_->output.empty() || fx_->output.back() != stream) fx_->output.push_back(stream);
}

void Peers::hello(Incarnation asked_for, std::string& out) const {
  peer::encode(peer::Hello{control_.group(), control_.state().replaced_group, identity_.id(), identity_.incarnation(),
                           advertised_, identity_.shown(asked_for)},
               out);
}

void Peers::log(std::string text) { fx_->log.push_back({LogLine::Level::debug, std::move(text)}); }

// --- What others say

void Peers::on_received(Time now, StreamId stream, std::size_t bytes, StreamEffects& fx) {
  const auto at = in_.find(stream);
  if (at == in_.end()) return;
  InLink& in = at->second;
  in.receiver.received(bytes);
  while (auto message = in.receiver.next()) {
    if (!in.hello) {
      if (!introduce(now, stream, in, std::get_if<peer::Hello>(&*message), fx)) return;
      continue;
    }
    if (in.ignored_until != 0 && !std::holds_alternative<peer::KnownIncarnation>(*message)) {
      if (now < in.ignored_until) continue;
      return drop(stream, fx);
    }
    sink_.on_message(now, *in.hello, std::move(*message), fx);
  }
  if (in.receiver.error()) {
    fx.log.push_back({LogLine::Level::warning, "a peer connection sent bad data (" +
                                                   std::string(peer::to_string(*in.receiver.error())) + "); closed"});
    drop(stream, fx);
  }
}

bool Peers::introduce(Time now, StreamId stream, InLink& in, const peer::Hello* hello, StreamEffects& fx) {
  const cluster::State& state = control_.state();
  control::AddressBook& book = control_.book();
  const auto past = hello ? book.past_of(hello->node) : std::vector<Incarnation>{};
  const peer::Listener self{identity_.id(), control_.group(), state.replaced_group,
                            hello ? book.known_incarnation(state, hello->node) : 0, past};
  std::string why;
  const peer::Welcome answer = peer::welcome(self, hello, why);
  if (answer == peer::Welcome::yes) {
    book.introduced(hello->node, hello->earlier);
    in.hello = *hello;
    book.hear(hello->node, hello->address);
    return true;
  }
  fx.log.push_back({LogLine::Level::warning, why});
  // One of the replaced configuration learns of that from our own introduction.
  if (answer == peer::Welcome::no && hello && self.replaced_group != 0 && hello->group == self.replaced_group)
    links_for(fx).send(now, peer_port_of(hello->address), peer::LeaseGrant{});
  if (answer == peer::Welcome::old_disk) {
    turn_away(now, in, *hello);
    return true;
  }
  drop(stream, fx);
  if (answer == peer::Welcome::superseded) fatal_ = why;
  return false;
}

// Nothing more is heard of it, except that it may not welcome this node either: two that both had to leave incarnations
// out of their introductions would otherwise never learn which.
void Peers::turn_away(Time now, InLink& in, const peer::Hello& hello) {
  SD_SOMETIMES(true, old_disk_refused);
  in.hello = hello;
  in.ignored_until = now + ignored_for;
  const Incarnation known = control_.book().known_incarnation(control_.state(), hello.node);
  outbox_.by_address.emplace_back(peer_port_of(hello.address), peer::KnownIncarnation{hello.node, known});
}

void Peers::turn_away_old_disks(Time now) {
  control::AddressBook& book = control_.book();
  for (auto& [stream, in] : in_) {
    if (!in.hello || in.ignored_until != 0) continue;
    const peer::Hello hello = *in.hello;
    if (peer::follows(book.known_incarnation(control_.state(), hello.node), hello.incarnation, hello.earlier)) continue;
    turn_away(now, in, hello);
    book.forget_introduction(hello.node);
  }
}

// An incarnation that this disk has seen, or that is beyond what its list goes back to, will be named to whoever asked
// for it: each other node may go by another one, since their logs are not equally far. Any other incarnation means that
// this disk is older than what was done in it.
void Peers::on_known_incarnation(Time now, Incarnation incarnation, const Endpoint& from, StreamEffects& fx) {
  if (incarnation == 0 || incarnation == identity_.incarnation()) return;
  if (identity_.has_been(incarnation)) {
    identity_.ask_for(incarnation);
    const bool shown = links_for(fx).show(now, peer_port_of(from), incarnation);
    SD_SOMETIMES(shown, old_incarnation_shown);
    if (shown && SD_BUG(one_incarnation_for_all)) links_for(fx).introduce_anew(now, incarnation);
    return;
  }
  fatal_ = "this node's disk is older than what the cluster knows of it: " + to_string(from) +
           " has seen its incarnation " + std::to_string(starts_of(incarnation)) +
           ", of which this disk knows nothing. Was its data directory restored from a backup or an image? Empty it to "
           "let it join as a new node";
}

}  // namespace sd
