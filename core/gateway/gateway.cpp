#include "core/gateway/gateway.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/volume/check.hpp"

namespace sd {

namespace {
constexpr Time tick_interval = milliseconds(250);
constexpr Time repeat_after = seconds(2);
constexpr Time ask_again_after = seconds(1);

bool counts_objects(IoRequest::Kind kind) { return kind == IoRequest::Kind::map || kind == IoRequest::Kind::check; }
}  // namespace

Gateway::Gateway(NodeId self, Incarnation incarnation, BufferPool& pool, const cluster::State& state,
                 const cluster::Placement& placement, const replication::Limits& limits)
    : self_(self),
      pool_(pool),
      state_(state),
      placement_(placement),
      limits_(limits),
      next_number_(starts_of(incarnation) << 40 | 1) {}

void Gateway::submit(Time now, std::uint64_t ticket, IoRequest&& request, GatewayEffects& out) {
  Pending pending;
  pending.ticket = ticket;
  pending.request = std::move(request);
  pending.request.origin = {self_, next_number_++};
  route(now, pending_.insert(std::move(pending)), out);
  collect(now, out);
}

Volume& Gateway::volume(Time now, Vid vid, GatewayEffects& out) {
  auto& slot = volumes_[vid];
  if (!slot) {
    slot = std::make_unique<Volume>(now, self_, vid, pool_, state_, placement_, limits_);
    slot->set_serving(now, serving_, out.volume);
  }
  return *slot;
}

void Gateway::route(Time now, std::uint64_t id, GatewayEffects& out) {
  Pending& p = *pending_.find(id);
  const IoRequest& r = p.request;
  const auto* vdi = state_.find(r.vid);
  if (!vdi || vdi->deleting || (vdi->created_index != r.created_index && !SD_BUG(number_is_disk))) {
    // A gateway that sends a request on knows the disk. This node may have started a moment ago, and have yet to learn
    // what its log says: the gateway asks again, and finds out by itself if the disk is gone.
    SD_SOMETIMES(p.from != 0, forward_before_log);
    finish(now, id, p.from == 0 || SD_BUG(deny_before_log) ? Status::not_found : Status::stale, {}, out);
    return;
  }
  const std::uint64_t span = counts_objects(r.kind) ? 0 : r.length;
  if (r.offset > vdi->size || span > vdi->size - r.offset) {
    // A gateway that sends such a request on knows more of the log, in which the disk has grown: it asks again.
    SD_SOMETIMES(p.from != 0, forward_behind_end);
    finish(now, id, p.from == 0 ? Status::invalid : Status::stale, {}, out);
    return;
  }
  p.where = Pending::Where::waiting;
  if (p.from != 0 && (!serving_ || vdi->owner != self_)) {
    // Its gateway has to find the owner. Kept here it could be carried out much later, after it was given to another.
    finish(now, id, Status::stale, {}, out);
    return;
  }
  if (serving_) {
    const auto* owner = state_.member(vdi->owner);
    if (vdi->owner == self_) {
      p.where = Pending::Where::volume;
      waiting_.erase(id);
      IoRequest copy = r;
      volume(now, r.vid, out).submit(now, id, std::move(copy), out.volume);
      return;
    }
    if (owner && owner->up) {
      waiting_.erase(id);
      forward(now, id, p, vdi->owner, out);
      return;
    }
    auto& asked = asked_[r.vid];
    if (asked == 0 || now - asked >= ask_again_after) {
      asked = now;
      out.proposals.push_back(
          cluster::TakeOwnership{r.vid, self_, state_.member(self_)->incarnation, vdi->owner_index});
    }
  }
  waiting_.insert(id);
}

void Gateway::forward(Time now, std::uint64_t id, Pending& p, NodeId owner, GatewayEffects& out) {
  if (p.number == 0) {
    p.number = next_number_++;
    forwarded_[p.number] = id;
  }
  p.where = Pending::Where::forwarded;
  p.sent_to = owner;
  p.sent = now;
  peer::GatewayRequest message;
  message.id = p.number;
  message.oldest = p.number;
  for (const auto& [number, other] : forwarded_)
    if (pending_.find(other)->sent_to == owner) {
      message.oldest = number;
      break;
    }
  message.origin = p.request.origin.number;
  message.vid = p.request.vid;
  message.created_index = p.request.created_index;
  message.offset = p.request.offset;
  message.length = static_cast<std::uint32_t>(p.request.length);
  message.fua = p.request.fua;
  message.keep_allocated = p.request.keep_allocated;
  message.op = static_cast<peer::GatewayRequest::Op>(p.request.kind);
  message.payload = p.request.payload;
  out.messages.emplace_back(owner, std::move(message));
}

void Gateway::on_request(Time now, NodeId from, peer::GatewayRequest&& message, GatewayEffects& out) {
  Forwarder& forwarder = forwarders_[from];
  if (message.id < forwarder.oldest) return;  // late: its sender no longer waits for it
  forwarder.oldest = std::max(forwarder.oldest, message.oldest);
  forwarder.known.erase(forwarder.known.begin(), forwarder.known.lower_bound(forwarder.oldest));
  const auto [at, fresh] = forwarder.known.try_emplace(message.id, false, Status::ok);
  SD_SOMETIMES(!fresh, forward_repeated);
  if (!fresh) {
    if (at->second.first) out.messages.emplace_back(from, peer::GatewayReply{message.id, at->second.second, {}});
    return;
  }
  Pending pending;
  pending.from = from;
  pending.from_id = message.id;
  pending.request.kind = static_cast<IoRequest::Kind>(message.op);
  pending.request.vid = message.vid;
  pending.request.created_index = message.created_index;
  pending.request.offset = message.offset;
  pending.request.length = message.length;
  pending.request.fua = message.fua;
  pending.request.origin = {from, message.origin};
  pending.request.keep_allocated = message.keep_allocated && pending.request.kind == IoRequest::Kind::zero;
  pending.request.payload = std::move(message.payload);
  const bool bad =
      (pending.request.kind == IoRequest::Kind::write && total_size(pending.request.payload) != message.length) ||
      (counts_objects(pending.request.kind) &&
       (message.length > max_checked_objects || message.offset % limits::object_size != 0));
  const std::uint64_t id = pending_.insert(std::move(pending));
  if (bad)
    finish(now, id, Status::invalid, {}, out);
  else
    route(now, id, out);
  collect(now, out);
}

void Gateway::finish(Time, std::uint64_t id, Status status, Payload&& payload, GatewayEffects& out) {
  Pending& p = *pending_.find(id);
  if (p.from == 0) {
    out.done.push_back({p.ticket, status, std::move(payload)});
  } else {
    if (auto& known = forwarders_[p.from].known; known.contains(p.from_id)) {
      // A refusal is no effect: the same request may come again when this node owns the disk.
      // And what changes nothing may be done again.
      const bool changes = p.request.kind == IoRequest::Kind::write || p.request.kind == IoRequest::Kind::zero;
      if (status == Status::stale || !changes)
        known.erase(p.from_id);
      else
        known[p.from_id] = {true, status};
    }
    out.messages.emplace_back(p.from, peer::GatewayReply{p.from_id, status, std::move(payload)});
  }
  if (p.number != 0) forwarded_.erase(p.number);
  waiting_.erase(id);
  pending_.erase(id);
}

void Gateway::on_reply(Time now, NodeId from, peer::GatewayReply&& reply, GatewayEffects& out) {
  const auto at = forwarded_.find(reply.id);
  if (at == forwarded_.end()) return;
  const std::uint64_t id = at->second;
  Pending& p = *pending_.find(id);
  if (p.where != Pending::Where::forwarded || p.sent_to != from) return;
  if (reply.status == Status::stale || reply.status == Status::unavailable) {
    // It does not own the disk (any more, or yet): try again soon, when this node or that one knows better.
    p.sent = now - repeat_after + tick_interval;
    return;
  }
  // What is shorter or longer than asked for is no answer.
  const bool is_map = p.request.kind == IoRequest::Kind::map;
  const std::uint64_t expected = is_map ? (p.request.length + 7) / 8 : p.request.length;
  if ((is_map || p.request.kind == IoRequest::Kind::read) && reply.status == Status::ok &&
      total_size(reply.payload) != expected)
    return;
  finish(now, id, reply.status, std::move(reply.payload), out);
}

void Gateway::on_object_reply(Time now, NodeId from, peer::ObjectReply&& reply, GatewayEffects& out) {
  const auto at = volumes_.find(reply.vid);
  if (at == volumes_.end()) return;
  at->second->on_reply(now, from, std::move(reply), out.volume);
  collect(now, out);
}

void Gateway::on_lost_copy(Time now, const peer::ObjectRequest& request, GatewayEffects& out) {
  const auto at = volumes_.find(request.vid);
  if (at == volumes_.end() || at->second->generation() != request.generation) return;
  at->second->on_lost_copy(now, request.oid, out.volume);
  collect(now, out);
}

// Answers of volumes: to whoever asked, or back in line if the volume lost its disk.
void Gateway::collect(Time now, GatewayEffects& out) {
  while (!out.volume.done.empty()) {
    std::swap(batch_, out.volume.done);
    auto batch = std::move(batch_);
    for (IoDone& done : batch) {
      if (done.status == Status::stale) {
        if (Pending* p = pending_.find(done.ticket); p && p->from != 0)
          finish(now, done.ticket, Status::stale, {}, out);
        else if (p && p->abandoned)
          finish(now, done.ticket, Status::unavailable, {}, out);
        else if (p) {
          p->where = Pending::Where::waiting;
          waiting_.insert(done.ticket);
        }
        continue;
      }
      SD_ASSERT(pending_.find(done.ticket), "a volume answers each request once");
      finish(now, done.ticket, done.status, std::move(done.payload), out);
    }
    batch.clear();
    batch_ = std::move(batch);
  }
}

void Gateway::abandon(std::uint64_t ticket, GatewayEffects& out) {
  std::vector<std::uint64_t> waiting;
  pending_.each([&](std::uint64_t id, Pending& p) {
    if (p.from != 0 || p.ticket != ticket) return;
    p.abandoned = !SD_BUG(forget_silently);
    if (waiting_.contains(id)) waiting.push_back(id);
  });
  for (const std::uint64_t id : waiting) finish(0, id, Status::unavailable, {}, out);
}

void Gateway::route_waiting(Time now, GatewayEffects& out) {
  if (waiting_.empty()) return;
  for (const std::uint64_t id : std::vector(waiting_.begin(), waiting_.end()))
    if (pending_.find(id)) route(now, id, out);
}

void Gateway::on_state(Time now, GatewayEffects& out) {
  for (auto& [vid, volume] : volumes_) volume->on_state(now, out.volume);
  collect(now, out);
  std::erase_if(volumes_, [&](const auto& entry) {
    const auto* vdi = state_.find(entry.first);
    return !vdi || vdi->deleting || vdi->owner != self_;
  });
  // Forwarded to a node that is not the owner now.
  std::vector<std::uint64_t> lost;
  for (const auto& [number, id] : forwarded_) {
    const Pending& p = *pending_.find(id);
    const auto* vdi = state_.find(p.request.vid);
    const auto* owner = state_.member(p.sent_to);
    if (!vdi || vdi->owner != p.sent_to || !owner || !owner->up) lost.push_back(id);
  }
  for (const std::uint64_t id : lost) {
    Pending& p = *pending_.find(id);
    if (p.abandoned) {
      finish(now, id, Status::unavailable, {}, out);
      continue;
    }
    forwarded_.erase(std::exchange(p.number, 0));
    p.where = Pending::Where::waiting;
    waiting_.insert(id);
  }
  std::erase_if(asked_, [&](const auto& entry) {
    const auto* vdi = state_.find(entry.first);
    return !vdi || vdi->owner == self_;
  });
  route_waiting(now, out);
  collect(now, out);
}

void Gateway::set_serving(Time now, bool serving, GatewayEffects& out) {
  if (serving == serving_) return;
  serving_ = serving;
  for (auto& [vid, volume] : volumes_) volume->set_serving(now, serving, out.volume);
  if (serving) route_waiting(now, out);
  collect(now, out);
}

Time Gateway::next_deadline() const {
  Time next = waiting_.empty() && forwarded_.empty() ? never : next_tick_;
  for (const auto& [vid, volume] : volumes_) next = std::min(next, volume->next_deadline());
  return next;
}

void Gateway::tick(Time now, GatewayEffects& out) {
  for (auto& [vid, volume] : volumes_) volume->tick(now, out.volume);
  collect(now, out);
  if (now < next_tick_) return;
  next_tick_ = now + tick_interval;
  std::vector<std::uint64_t> late;
  for (const auto& [number, id] : forwarded_)
    if (now - pending_.find(id)->sent >= repeat_after) late.push_back(id);
  for (const std::uint64_t id : late) {
    Pending& p = *pending_.find(id);
    if (p.where == Pending::Where::forwarded) forward(now, id, p, p.sent_to, out);
  }
  route_waiting(now, out);
  collect(now, out);
}

bool Gateway::recover(Time now, std::size_t budget, bool adopt, GatewayEffects& out) {
  if (!serving_) return false;
  bool complete = true;
  for (const auto& [vid, vdi] : state_.vdis) {
    if (vdi.deleting || vdi.owner == 0) continue;  // never owned: never written
    const auto* owner = state_.member(vdi.owner);
    if (vdi.owner == self_) {
      Volume& v = volume(now, vid, out);
      v.recover(now, budget, out.volume);
      if (!v.recovered()) complete = false;
    } else if (adopt && (!owner || !owner->up)) {
      auto& asked = asked_[vid];
      if (asked == 0 || now - asked >= ask_again_after) {
        asked = now;
        out.proposals.push_back(cluster::TakeOwnership{vid, self_, state_.member(self_)->incarnation, vdi.owner_index});
      }
    }
  }
  collect(now, out);
  return complete;
}

SweepProgress Gateway::sweep() const {
  SweepProgress sum;
  for (const auto& [vid, volume] : volumes_) {
    const auto one = volume->sweep();
    sum.found += one.found;
    sum.open += one.open;
    sum.at += one.at;
    sum.end += one.end;
  }
  return sum;
}

std::string Gateway::check_state() const {
  for (const auto& [vid, volume] : volumes_)
    if (std::string broken = volume->check_state(); !broken.empty()) return broken;
  if (waiting_.size() + forwarded_.size() > pending_.size()) return "a request is in one place";
  for (const std::uint64_t id : waiting_) {
    const Pending* pending = pending_.find(id);
    if (!pending || pending->where != Pending::Where::waiting) return "what waits is a request that waits";
  }
  for (const auto& [number, id] : forwarded_) {
    const Pending* pending = pending_.find(id);
    if (!pending || pending->where != Pending::Where::forwarded || pending->number != number)
      return "what was forwarded is a request under that number";
    if (number >= next_number_) return "a number is given out before it is used";
  }
  return {};
}

}  // namespace sd
