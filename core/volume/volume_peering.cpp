// Peering: which copy of an object counts, and making the others equal to it.
#include <algorithm>

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/member_set.hpp"
#include "core/volume/volume.hpp"

namespace sd {

using member_set::add_sorted;
using member_set::contains;
using member_set::take;

namespace {
constexpr Time retry_after = milliseconds(200);
constexpr Time patience = seconds(30);  // for members that are away and may hold what those that restarted have lost
}  // namespace

void Volume::end_peering(Object& object) {
  if (object.peering) ops_.erase(object.peering->op);
  object.peering.reset();
}

void Volume::demote(Time now, Object& object, VolumeEffects& out) {
  end_peering(object);
  object.ready = false;
  object.doubts.retry_at = never;
  peer(now, object, out);
}

// Of an object that is not ready the members are asked anyway.
void Volume::on_lost_copy(Time now, Oid oid, VolumeEffects& out) {
  if (!owner_ || oid.vid() != vid_ || (!oid.is_data() && oid != Oid::index_object(vid_, oid.index()))) return;
  Object& object = object_for(oid);
  if (object.ready)
    demote(now, object, out);
  else if (object.unpeered() && object.doubts.retry_at == never)
    peer(now, object, out);
}

void Volume::postpone(Time now, Object& object) {
  end_peering(object);
  object.ready = false;
  object.doubts.retry_at = now + retry_after;
  if (next_tick_ == never || next_tick_ > object.doubts.retry_at) next_tick_ = object.doubts.retry_at;
}

// Who may hold the object by any epoch that still counts, and is up.
ActingSet Volume::members_to_ask(Oid oid) const {
  ActingSet members;
  for (const auto& period : placement_.periods())
    for (const NodeId member : period.acting(oid, copies_)) {
      const auto* m = state_.member(member);
      if (m && m->up && !contains(members, member)) members.push_back(member);
    }
  return members;
}

void Volume::peer(Time now, Object& object, VolumeEffects& out) {
  end_peering(object);
  object.known.clear();
  object.forgotten.clear();
  object.doubts.retry_at = never;
  object.acting = placement_.acting(object.oid, copies_);
  if (object.acting.empty()) {
    // All its members are down, and others have yet to take its place.
    postpone(now, object);
    if (now - generation_since_ >= patience) fail_waiting(now, object, Status::io_error, out);
    return;
  }
  Op op;
  if (object.round_used && object.round + 1 >= 1u << Version::round_bits) {
    out.notices.push_back("object " + to_string(object.oid) +
                          ": its members failed too often; requests for it fail until the next epoch");
    postpone(now, object);
    fail_waiting(now, object, Status::io_error, out);
    return;
  }
  SD_SOMETIMES(object.round_used, peering_asks_again);
  if (object.round_used) {
    ++object.round;
    object.round_used = false;
  }
  op.kind = Op::Kind::query;
  op.object = &object;
  op.sent = now;
  if (SD_BUG(skip_peering) && contains(object.acting, self_)) {
    op.waiting_for.push_back(self_);
  } else {
    op.waiting_for = members_to_ask(object.oid);
  }
  const ActingSet asked = op.waiting_for;
  object.ready = false;
  object.peering = std::make_unique<Peering>();
  object.peering->op = ops_.insert(std::move(op));
  for (const NodeId member : asked) out.requests.emplace_back(member, query_of(object));
}

// The version of a query carries the round that it opens: the member then refuses writes of earlier ones.
Volume::Request Volume::query_of(const Object& object) const {
  Request request = make(Request::Op::query, object.peering->op, object.oid);
  request.version.generation = Version::generation_of(generation_, object.round);
  return request;
}

void Volume::on_query_reply(Time now, std::uint64_t, Op& op, NodeId from, Reply&& reply, VolumeEffects& out) {
  Object& object = *op.object;
  if (reply.status != Status::ok || reply.generation != generation_) return;  // repeated by tick
  take(op.waiting_for, from);
  object.peering->answers.push_back({from, std::move(reply)});
  if (op.waiting_for.empty()) decide(now, object, out);
}

replication::Question Volume::question(Time now, const Object& object) const {
  replication::Question question;
  question.periods = replication::periods_of(state_, placement_, object.oid, copies_);
  question.answers = heard(object);
  question.acting = object.acting;
  question.damaged = object.damaged;
  question.bad_sources = object.doubts.bad_sources;
  question.self = self_;
  question.created_index = state_.find(vid_)->created_index;
  question.patience_over = now - generation_since_ >= patience;
  return question;
}

std::vector<replication::Answer> Volume::heard(const Object& object) {
  std::vector<replication::Answer> answers;
  answers.reserve(object.peering->answers.size());
  for (const Answer& answer : object.peering->answers)
    answers.push_back({answer.from, answer.reply.version, answer.reply.incomplete});
  return answers;
}

void Volume::decide(Time now, Object& object, VolumeEffects& out) {
  using Outcome = replication::Verdict::Outcome;
  const replication::Verdict verdict = replication::judge(question(now, object));
  switch (verdict.outcome) {
    case Outcome::no_whole_copy: wait_for_members(now, object, ": waits for a member with a whole copy", out); return;
    case Outcome::waits_for_members:
      SD_SOMETIMES(true, peering_waits_for_members);
      wait_for_members(now, object, ": waits for members that may hold newer data", out);
      return;
    case Outcome::given_up:
      out.notices.push_back("object " + to_string(object.oid) +
                            ": every copy was on nodes that were given up; requests for it fail");
      postpone(now, object);
      fail_waiting(now, object, Status::io_error, out);
      return;
    case Outcome::decided: break;
  }
  Peering& peering = *object.peering;
  peering.final = verdict.final;
  peering.winner = verdict.winner;
  peering.adopted = verdict.winner;
  for (const auto& [version, stands_for] : object.doubts.established)
    if (version == verdict.winner && !SD_BUG(newer_means_done)) peering.adopted = stands_for;
  if (verdict.only_damaged) {
    SD_SOMETIMES(true, peering_only_damaged);
    object.doubts.bad_sources.clear();
  }
  if (verdict.laggards.empty())
    establish(now, object, out);
  else
    pull(now, object, verdict.source, verdict.laggards, out);
}

// Until one of them is back, but not for ever: somebody should know.
void Volume::wait_for_members(Time now, Object& object, const char* why, VolumeEffects& out) {
  if (!std::exchange(object.doubts.waits, true)) {
    out.notices.push_back("object " + to_string(object.oid) + why);
  }
  const bool patience_over = now - generation_since_ >= patience;
  SD_SOMETIMES(patience_over && !object.waiting.empty(), peering_fails_waiting);
  postpone(now, object);
  if (patience_over) fail_waiting(now, object, Status::io_error, out);
}

void Volume::pull(Time now, Object& object, NodeId source, const ActingSet& laggards, VolumeEffects& out) {
  ops_.erase(object.peering->op);  // the answers are kept until the object is ready
  Op op;
  SD_SOMETIMES(true, peering_pulls);
  op.kind = Op::Kind::pull;
  op.object = &object;
  op.sent = now;
  op.waiting_for = laggards;
  object.peering->stage = Peering::Stage::pulling;
  object.peering->source = source;
  object.peering->op = ops_.insert(std::move(op));
  object.peering->background = object.oid.is_data() && object.waiting.empty() && object.writes.empty();
  for (const NodeId member : laggards) out.requests.emplace_back(member, pull_request(object, member));
}

Volume::Request Volume::pull_request(const Object& object, NodeId member) const {
  const Peering& peering = *object.peering;
  Request request = make(Request::Op::pull, peering.op, object.oid);
  request.version = peering.winner;
  const auto answer = std::ranges::find(peering.answers, member, &Answer::from);
  if (answer != peering.answers.end()) request.previous = answer->reply.version;
  request.source = peering.source;
  request.helpers = helpers_for(peering, member);
  request.incomplete = contains(object.damaged, member);
  request.background = peering.background;
  return request;
}

// A client wants an object that recovery is copying at its leisure.
void Volume::hurry(Object& object, VolumeEffects& out) {
  if (!object.pulling() || !std::exchange(object.peering->background, false)) return;
  for (const NodeId member : ops_.find(object.peering->op)->waiting_for)
    out.requests.emplace_back(member, pull_request(object, member));
}

// All others that answered, whatever their version: a block's checksum tells whether theirs is the one.
std::vector<NodeId> Volume::helpers_for(const Peering& peering, NodeId member) {
  std::vector<NodeId> helpers;
  for (const Answer& answer : peering.answers)
    if (answer.from != member && answer.from != peering.source && answer.reply.exists &&
        helpers.size() < peer::max_helpers)
      helpers.push_back(answer.from);
  return helpers;
}

void Volume::on_pull_reply(Time now, std::uint64_t, Op& op, NodeId from, Reply&& reply, VolumeEffects& out) {
  Object& object = *op.object;
  if (reply.generation != generation_) return;
  op.sent = now;
  if (reply.status == Status::damaged && contains(object.damaged, from)) {
    // Some of its blocks nobody has. Reads there fail; the rest of the object is served.
    reply.status = Status::ok;
  }
  if (reply.status == Status::no_space && SD_BUG(full_counts_as_copy)) reply.status = Status::ok;
  if (reply.status == Status::no_space && reply.incomplete) {
    SD_SOMETIMES(true, pull_without_space);
    object.peering->without_room.push_back(from);
    take(op.waiting_for, from);
    if (op.waiting_for.empty()) serve_reads_only(now, object, out);
    return;
  }
  if (reply.status != Status::ok) {
    if (reply.status == Status::io_error && !contains(object.doubts.bad_sources, object.peering->source))
      object.doubts.bad_sources.push_back(object.peering->source);
    SD_SOMETIMES(reply.status == Status::no_space, pull_without_space);
    postpone(now, object);
    if (reply.status == Status::no_space) fail_waiting(now, object, Status::no_space, out);
    return;
  }
  add_sorted(dirty_, from);
  if (!take(object.damaged, from)) count_restored(now, object.oid);
  take(op.waiting_for, from);
  if (!op.waiting_for.empty()) return;
  if (object.peering->without_room.empty())
    establish(now, object, out);
  else
    serve_reads_only(now, object, out);
}

// Some members cannot take their copy. All others have theirs, and those that cannot will never pass off what they have
// as one: so nothing that is read now can be undone by them later. It could by a member that was away, if what was
// decided here cannot be written down.
void Volume::serve_reads_only(Time now, Object& object, VolumeEffects& out) {
  ActingSet& readable = object.doubts.readable;
  readable.clear();
  if (object.peering->final)
    for (const NodeId member : object.acting)
      if (!contains(object.peering->without_room, member)) readable.push_back(member);
  for (const NodeId member : object.peering->without_room) {
    if (contains(told_without_room_, member)) continue;
    add_sorted(told_without_room_, member);
    const auto* m = state_.member(member);
    out.notices.push_back((m ? to_string(m->address) : std::to_string(member)) +
                          " has no room for its copy of object " + to_string(object.oid) +
                          " and maybe others: they are read from the other copies, and writes to them are refused");
  }
  SD_SOMETIMES(!readable.empty(), reads_without_full_member);
  for (const NodeId member : readable) add_sorted(dirty_, member);
  postpone(now, object);
  if (readable.empty())
    fail_waiting(now, object, Status::no_space, out);
  else
    pump_reads(now, object, out);
}

// In order of arrival; a write would have to be taken by all.
void Volume::pump_reads(Time now, Object& object, VolumeEffects& out) {
  if (object.ready) return;
  while (!object.doubts.readable.empty() && !object.waiting.empty()) {
    const std::uint64_t id = object.waiting.front();
    if (ops_.find(id)->kind == Op::Kind::read) {
      if (!serving_ && !SD_BUG(serve_without_lease)) return;
      object.waiting.pop_front();
      start_read(now, object, id, out);
    } else {
      object.waiting.pop_front();
      finish_op(now, id, Status::no_space, {}, out);
    }
  }
}

void Volume::establish(Time now, Object& object, VolumeEffects& out) {
  Peering& peering = *object.peering;
  if (peering.winner == Version{} || peering.final || SD_BUG(skip_peering) || SD_BUG(skip_establish)) {
    ready(now, object, out);
    return;
  }
  ops_.erase(peering.op);
  Op op;
  SD_SOMETIMES(true, establishes);
  SD_SOMETIMES(!object.doubts.established.empty(), establishes_twice);
  op.kind = Op::Kind::establish;
  op.object = &object;
  op.sent = now;
  op.waiting_for = object.acting;
  peering.stage = Peering::Stage::establishing;
  object.doubts.established.emplace_back(
      Version{Version::generation_of(generation_, object.round), peering.winner.sequence + 1}, peering.adopted);
  object.round_used = true;
  peering.op = ops_.insert(std::move(op));
  for (const NodeId member : object.acting) out.requests.emplace_back(member, establishing_write(object));
}

// Changes the version and nothing else.
Volume::Request Volume::establishing_write(const Object& object) const {
  const Peering& peering = *object.peering;
  Request request = make(Request::Op::write, peering.op, object.oid);
  request.version = {Version::generation_of(generation_, object.round), peering.winner.sequence + 1};
  request.previous = peering.winner;
  return request;
}

void Volume::on_establish_reply(Time now, Op& op, NodeId from, Reply&& reply, VolumeEffects& out) {
  Object& object = *op.object;
  if (reply.generation != generation_ || reply.status == Status::stale) return;
  if (reply.status != Status::ok) {
    postpone(now, object);
    return;
  }
  add_sorted(dirty_, from);
  take(op.waiting_for, from);
  if (!op.waiting_for.empty()) return;
  // The answers named the winner by its old version; from here on it has this one.
  Peering& peering = *object.peering;
  const Version written = establishing_write(object).version;
  for (Answer& answer : peering.answers)
    if (!answer.reply.incomplete && answer.reply.version == peering.winner) answer.reply.version = written;
  peering.winner = written;
  ready(now, object, out);
}

// Nothing can be promised while a member cannot take its copy; better an error that the client sees than a disk that
// hangs.
void Volume::fail_waiting(Time now, Object& object, Status status, VolumeEffects& out) {
  for (const std::uint64_t id : std::exchange(object.waiting, {})) finish_op(now, id, status, {}, out);
}

void Volume::ready(Time now, Object& object, VolumeEffects& out) {
  const Version winner = object.peering->winner, adopted = object.peering->adopted;
  object.version = winner;
  for (const Answer& answer : object.peering->answers)
    // others may hold writes that were discarded
    if (!answer.reply.incomplete && answer.reply.version == winner) {
      object.known.insert(object.known.end(), answer.reply.recent.last.begin(), answer.reply.recent.last.end());
      for (const Origin& origin : answer.reply.recent.forgotten) peer::forget(object.forgotten, origin);
    }
  std::ranges::sort(object.known);
  object.known.erase(std::ranges::unique(object.known).begin(), object.known.end());
  if (winner.log_index() == generation_) object.round = std::max(object.round, winner.round());
  end_peering(object);
  object.doubts = {};
  object.ready = true;
  // Writes that were under way: the members hold them, or they are sent again as writes of this generation.
  std::deque<std::uint64_t> under_way = std::exchange(object.writes, {});
  std::vector<std::uint64_t> done;
  for (const std::uint64_t id : under_way) {
    Op& op = *ops_.find(id);
    SD_SOMETIMES(op.version <= adopted, write_found_done);
    SD_SOMETIMES(op.version > adopted, write_sent_again);
    if (op.version <= adopted)
      done.push_back(id);
    else
      start_write(now, object, id, out);
  }
  if (!done.empty())
    for (const NodeId member : object.acting) add_sorted(dirty_, member);
  for (const std::uint64_t id : done) {
    ops_.find(id)->waiting_for.clear();  // late answers have nothing more to say
    finish_op(now, id, Status::ok, {}, out);
  }
  pump(now, object, out);
}

// --- Recovery

void Volume::recover(Time now, std::size_t budget, VolumeEffects& out) {
  if (!owner_ || recovered() || sweep_.flushing()) return;
  if (sweep_.generation() != generation_) sweep_ = Sweep(generation_);
  sweep_.close_if([&](Oid oid) {
    const auto at = objects_.find(oid);
    return at == objects_.end() || at->second->ready;
  });
  const auto touch = [&](Oid oid) {
    Object& object = object_for(oid);
    sweep_.found();
    if (object.ready) return;
    sweep_.open(oid);
    if (object.unpeered() && object.doubts.retry_at == never) peer(now, object, out);
  };
  const std::uint64_t objects = state_.find(vid_)->objects();
  for (std::size_t steps = 0; sweep_.next() < objects && sweep_.open_objects() < budget && steps < 4096; ++steps) {
    const auto index = static_cast<std::uint32_t>(sweep_.next());
    if (index % limits::index_entries_per_object == 0)
      touch(Oid::index_object(vid_, index / limits::index_entries_per_object));
    if (!load_page(now, ObjectMap::page_of(index), out)) return;
    if (map_.exists(index)) touch(Oid::data(vid_, index));
    sweep_.advance();
  }
  if (sweep_.next() < objects || sweep_.open_objects() > 0) return;
  Io io;
  io.kind = IoRequest::Kind::flush;
  io.internal = true;
  const std::uint64_t request = ios_.insert(std::move(io));
  sweep_.begin_flush(request);
  for (const auto& m : placement_.current().record.members) add_sorted(dirty_, m.id);
  start_flush(now, request, out);
}

SweepProgress Volume::sweep() const {
  const auto* vdi = state_.find(vid_);
  const std::uint64_t objects = vdi ? vdi->objects() : 0;
  if (sweep_.generation() != generation_) return {0, 0, 0, objects};
  return sweep_.progress(objects);
}

}  // namespace sd
