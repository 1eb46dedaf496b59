#include "core/peer/links.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/limits.hpp"
#include "core/base/sim_bug.hpp"

namespace sd {

namespace {

constexpr Time probe_interval = milliseconds(500);
constexpr Time first_backoff = milliseconds(50), last_backoff = seconds(1);
constexpr std::size_t max_queue = 128u << 20;         // to one node; beyond it messages are dropped and repeated later
constexpr std::size_t max_queue_control = 16u << 20;  // ... that carry no payload
constexpr std::size_t max_queue_dialing = 4u << 20;
constexpr std::size_t max_links = 2 * limits::max_members;

}  // namespace

OutLink* Links::find(const Endpoint& to) {
  const auto at = links_.find(to);
  return at == links_.end() ? nullptr : &at->second;
}

const OutLink* Links::find(const Endpoint& to) const {
  const auto at = links_.find(to);
  return at == links_.end() ? nullptr : &at->second;
}

OutLink* Links::get(const Endpoint& to) {
  if (OutLink* known = find(to)) return known;
  if (links_.size() >= max_links) {
    auto oldest = links_.end();
    for (auto at = links_.begin(); at != links_.end(); ++at)
      if (at->second.state != OutLink::State::up &&
          (oldest == links_.end() || at->second.used_at < oldest->second.used_at))
        oldest = at;
    if (oldest == links_.end()) return nullptr;
    if (oldest->second.state == OutLink::State::dialing) transport_.close(oldest->second.stream);
    links_.erase(oldest);
  }
  return &links_.try_emplace(to, pool_).first->second;
}

void Links::dial(Time now, const Endpoint& to, OutLink& link) {
  link.state = OutLink::State::dialing;
  link.clear();
  link.stream = transport_.dial(to);
  encoded_.clear();
  transport_.hello(link.incarnation_asked_for, encoded_);
  link.queue.append_copy(encoded_);
  link.appended = encoded_.size();
  link.sent = 0;
  link.progress_at = now;
  link.refused = false;
}

void Links::send(Time now, const Endpoint& to, const peer::Message& message) {
  OutLink* link = get(to);
  if (!link) return;
  link->used_at = now;
  if (link->state == OutLink::State::idle) {
    if (now < link->retry_at) return;
    dial(now, to, *link);
  }
  const Payload* payload = peer::payload_of(message);
  const bool bulk = payload || SD_BUG(beats_behind_bulk);
  const bool full = link->state != OutLink::State::up ? link->waiting() > max_queue_dialing
                    : bulk ? link->waiting() + (payload ? total_size(*payload) : 0) > max_queue
                           : link->queue.size() > max_queue_control;
  if (full) return;
  encoded_.clear();
  peer::encode(message, encoded_);
  link->put(encoded_, payload, bulk, ahead_);
  if (link->state == OutLink::State::up) transport_.has_output(link->stream);
}

void Links::lost(Time now, OutLink& link) {
  link.state = OutLink::State::idle;
  link.stream = 0;
  link.clear();
  link.backoff = link.backoff == 0 ? first_backoff : std::min(2 * link.backoff, last_backoff);
  link.retry_at = now + link.backoff;
}

bool Links::on_dialed(Time now, const Endpoint& to, StreamId stream, DialResult result) {
  OutLink* link = find(to);
  if (!link || link->stream != stream) return false;
  link->refused = result == DialResult::refused;
  if (link->refused) link->refused_at = now;
  if (result == DialResult::connected) {
    link->state = OutLink::State::up;
    link->backoff = 0;
    transport_.has_output(stream);
    return false;
  }
  lost(now, *link);
  // A process that is gone stays quickly noticed, and one that comes back quickly found.
  if (link->refused) link->retry_at = now + first_backoff;
  return link->refused;
}

void Links::on_closed(Time now, const Endpoint& to, StreamId stream, bool may_probe) {
  OutLink* link = find(to);
  if (!link || link->stream != stream) return;
  lost(now, *link);
  link->retry_at = now;  // find out at once whether the process is gone
  if (may_probe) probe(now, to);
}

void Links::probe(Time now, const Endpoint& to) {
  OutLink* link = find(to);
  if (!link || link->state != OutLink::State::idle || now - link->probed_at < probe_interval) return;
  link->probed_at = now;
  dial(now, to, *link);
}

OutQueue* Links::output(const Endpoint& to, StreamId stream) {
  OutLink* link = find(to);
  if (!link || link->stream != stream) return nullptr;
  link->fill(ahead_);
  return &link->queue;
}

void Links::drop_stuck(Time now) {
  if (now < looked_at_ + lease_ / 8) return;
  looked_at_ = now;
  for (auto& [to, link] : links_) {
    if (link.state != OutLink::State::up) continue;
    const std::uint64_t sent = link.appended - link.waiting();
    if (link.waiting() == 0 || sent != link.sent) {
      link.sent = sent;
      link.progress_at = now;
    } else if (now - link.progress_at > lease_) {
      transport_.log("the connection to " + to_string(to) + " is stuck; dropped");
      begin_again(now, link);
    }
  }
}

// With an introduction.
void Links::begin_again(Time now, OutLink& link) {
  if (link.state == OutLink::State::idle) return;
  transport_.close(link.stream);
  lost(now, link);
}

bool Links::show(Time now, const Endpoint& to, Incarnation asked_for) {
  OutLink* link = find(to);
  if (!link || link->incarnation_asked_for == asked_for) return false;
  link->incarnation_asked_for = asked_for;
  begin_again(now, *link);
  return true;
}

void Links::introduce_anew(Time now, Incarnation asked_for) {
  for (auto& [to, link] : links_) {
    if (asked_for != 0) link.incarnation_asked_for = asked_for;
    begin_again(now, link);
  }
}

void Links::forget_refusals_before(Time time) {
  for (auto& [to, link] : links_)
    if (link.refused_at < time) link.refused = false;
}

bool Links::refused(const Endpoint& to) const {
  const OutLink* link = find(to);
  return link && link->refused;
}

bool Links::up(const Endpoint& to) const {
  const OutLink* link = find(to);
  return link && link->state == OutLink::State::up;
}

std::string Links::check_state() const {
  if (links_.size() > max_links) return "only so many addresses are known";
  for (const auto& [to, link] : links_) {
    if ((link.state == OutLink::State::idle) != (link.stream == 0)) return "a connection has a stream";
    if (link.state == OutLink::State::idle && link.waiting() > 0) return "nothing is queued for who cannot be reached";
    if (link.bulk.empty() != link.frames.empty()) return "bulk is counted in frames";
    if (link.waiting() > max_queue + max_queue_control) return "only so much is queued for one address";
  }
  return {};
}

}  // namespace sd
