#include "core/replication/peering.hpp"

#include <algorithm>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/object_log.hpp"

namespace sd::replication {

using member_set::add_sorted;
using member_set::contains;
using member_set::take;
using Request = peer::ObjectRequest;
using Reply = peer::ObjectReply;
using Next = Peering::Next;

namespace {
constexpr Time pull_patience = seconds(6);
constexpr Time patience = seconds(30);  // for members that are away and may hold what those that restarted have lost
}  // namespace

Peering::Peering(Context& context, Object& object) : context_(context), object_(object) {
  ActingSet asked;
  if (SD_BUG(skip_peering) && contains(object.acting, context.self))
    asked.push_back(context.self);
  else
    asked = context.members_to_ask(object.oid);
  begin(Op::Kind::query, asked);
  for (const NodeId member : asked) context_.send(member, query());
}

Peering::~Peering() { context_.ops.erase(op_); }

// The next question. Answers to the one before have nothing more to say.
std::uint64_t Peering::begin(Op::Kind kind, ActingSet waiting_for) {
  context_.ops.erase(op_);
  Op op;
  op.kind = kind;
  op.object = &object_;
  op.sent = context_.now;
  op.waiting_for = std::move(waiting_for);
  return op_ = context_.ops.insert(std::move(op));
}

Next Peering::on_reply(Op& op, NodeId from, Reply&& reply) {
  if (reply.generation != context_.generation) return {};
  switch (stage_) {
    case Stage::querying: return on_query_reply(op, from, std::move(reply));
    case Stage::pulling: return on_pull_reply(op, from, std::move(reply));
    case Stage::establishing: return on_establish_reply(op, from, reply);
  }
  return {};
}

void Peering::repeat(Op& op) {
  if (stage_ == Stage::pulling) return;
  op.sent = context_.now;
  for (const NodeId member : op.waiting_for)
    context_.send(member, stage_ == Stage::querying ? query() : establishing_write());
}

bool Peering::stalled() const {
  const Op* op = stage_ == Stage::pulling ? context_.ops.find(op_) : nullptr;
  return op && context_.now - op->sent >= pull_patience;
}

void Peering::take_known(std::vector<Origin>& known, std::vector<Origin>& forgotten) const {
  for (const Answer& answer : answers_) {
    // others may hold writes that were discarded
    if (answer.reply.incomplete || answer.reply.version != winner_) continue;
    known.insert(known.end(), answer.reply.recent.last.begin(), answer.reply.recent.last.end());
    for (const Origin& origin : answer.reply.recent.forgotten) sd::forget(forgotten, origin);
  }
  std::ranges::sort(known);
  known.erase(std::ranges::unique(known).begin(), known.end());
}

// --- Which copy counts

// The version of a query carries the round that it opens: the member then refuses writes of earlier ones.
Request Peering::query() const {
  Request request = context_.make(Request::Op::query, op_, object_.oid);
  request.version.generation = Version::generation_of(context_.generation, object_.round);
  return request;
}

Next Peering::on_query_reply(Op& op, NodeId from, Reply&& reply) {
  if (reply.status != Status::ok) return {};  // asked again
  take(op.waiting_for, from);
  answers_.push_back({from, std::move(reply)});
  return op.waiting_for.empty() ? decide() : Next{};
}

Question Peering::question() const {
  Question question;
  question.periods = periods_of(context_.state, context_.placement, object_.oid, context_.copies);
  question.answers.reserve(answers_.size());
  for (const Answer& answer : answers_)
    question.answers.push_back({answer.from, answer.reply.version, answer.reply.incomplete});
  question.acting = object_.acting;
  question.damaged = object_.damaged;
  question.bad_sources = object_.doubts.bad_sources;
  question.self = context_.self;
  question.created_index = context_.state.find(context_.vid)->created_index;
  question.patience_over = context_.now - context_.generation_since >= patience;
  return question;
}

Next Peering::decide() {
  const Verdict verdict = judge(question());
  switch (verdict.outcome) {
    case Verdict::Outcome::no_whole_copy: return wait_for_members(": waits for a member with a whole copy");
    case Verdict::Outcome::waits_for_members:
      SD_SOMETIMES(true, peering_waits_for_members);
      return wait_for_members(": waits for members that may hold newer data");
    case Verdict::Outcome::given_up:
      context_.notice("object " + to_string(object_.oid) +
                      ": every copy was on nodes that were given up; requests for it fail");
      return {Next::Kind::fail, Status::io_error};
    case Verdict::Outcome::decided: break;
  }
  final_ = verdict.final;
  winner_ = adopted_ = verdict.winner;
  for (const auto& [version, stands_for] : object_.doubts.established)
    if (version == verdict.winner && !SD_BUG(newer_means_done)) adopted_ = stands_for;
  if (verdict.only_damaged) {
    SD_SOMETIMES(true, peering_only_damaged);
    object_.doubts.bad_sources.clear();
  }
  if (verdict.laggards.empty()) return establish();
  source_ = verdict.source;
  pull(verdict.laggards);
  return {};
}

// Until one of them is back, but not for ever: somebody should know.
Next Peering::wait_for_members(const char* why) {
  if (!std::exchange(object_.doubts.waits, true)) context_.notice("object " + to_string(object_.oid) + why);
  const bool patience_over = context_.now - context_.generation_since >= patience;
  SD_SOMETIMES(patience_over && !object_.waiting.empty(), peering_fails_waiting);
  return patience_over ? Next{Next::Kind::fail, Status::io_error} : Next{Next::Kind::again};
}

// --- Making the others equal

void Peering::pull(const ActingSet& laggards) {
  SD_SOMETIMES(true, peering_pulls);
  stage_ = Stage::pulling;
  begin(Op::Kind::pull, laggards);
  background_ = object_.oid.is_data() && object_.waiting.empty() && object_.writes.empty();
  for (const NodeId member : laggards) context_.send(member, pull_request(member));
}

Request Peering::pull_request(NodeId member) const {
  Request request = context_.make(Request::Op::pull, op_, object_.oid);
  request.version = winner_;
  const auto answer = std::ranges::find(answers_, member, &Answer::from);
  if (answer != answers_.end()) request.previous = answer->reply.version;
  request.source = source_;
  request.helpers = helpers_for(member);
  request.damaged = contains(object_.damaged, member);
  request.background = background_;
  return request;
}

void Peering::hurry() {
  if (stage_ != Stage::pulling || !std::exchange(background_, false)) return;
  for (const NodeId member : context_.ops.find(op_)->waiting_for) context_.send(member, pull_request(member));
}

// All others that answered, whatever their version: a block's checksum tells whether theirs is the one.
std::vector<NodeId> Peering::helpers_for(NodeId member) const {
  std::vector<NodeId> helpers;
  for (const Answer& answer : answers_)
    if (answer.from != member && answer.from != source_ && answer.reply.exists && helpers.size() < peer::max_helpers)
      helpers.push_back(answer.from);
  return helpers;
}

Next Peering::on_pull_reply(Op& op, NodeId from, Reply&& reply) {
  op.sent = context_.now;
  // Some of its blocks nobody has. Reads there fail; the rest of the object is served.
  if (reply.status == Status::damaged && contains(object_.damaged, from)) reply.status = Status::ok;
  if (reply.status == Status::no_space && SD_BUG(full_counts_as_copy)) reply.status = Status::ok;
  if (reply.status == Status::no_space && reply.incomplete) {
    SD_SOMETIMES(true, pull_without_space);
    without_room_.push_back(from);
    take(op.waiting_for, from);
    return op.waiting_for.empty() ? serve_reads_only() : Next{};
  }
  if (reply.status != Status::ok) return pull_failed(reply.status);
  add_sorted(context_.dirty, from);
  if (!take(object_.damaged, from)) context_.owner.restored(object_.oid);
  take(op.waiting_for, from);
  if (!op.waiting_for.empty()) return {};
  return without_room_.empty() ? establish() : serve_reads_only();
}

Next Peering::pull_failed(Status status) {
  if (status == Status::io_error && !contains(object_.doubts.bad_sources, source_))
    object_.doubts.bad_sources.push_back(source_);
  SD_SOMETIMES(status == Status::no_space, pull_without_space);
  return status == Status::no_space ? Next{Next::Kind::fail, status} : Next{Next::Kind::again};
}

// Some members cannot take their copy. All others have theirs, and those that cannot will never pass off what they have
// as one: so nothing that is read now can be undone by them later. It could by a member that was away, if what was
// decided here cannot be written down.
Next Peering::serve_reads_only() {
  ActingSet& readable = object_.doubts.readable;
  readable.clear();
  if (final_)
    for (const NodeId member : object_.acting)
      if (!contains(without_room_, member)) readable.push_back(member);
  for (const NodeId member : without_room_) tell_without_room(member);
  SD_SOMETIMES(!readable.empty(), reads_without_full_member);
  for (const NodeId member : readable) add_sorted(context_.dirty, member);
  return readable.empty() ? Next{Next::Kind::fail, Status::no_space} : Next{Next::Kind::reads_only};
}

void Peering::tell_without_room(NodeId member) {
  if (contains(context_.told_without_room, member)) return;
  add_sorted(context_.told_without_room, member);
  const auto* m = context_.state.member(member);
  context_.notice((m ? to_string(m->address) : std::to_string(member)) + " has no room for its copy of object " +
                  to_string(object_.oid) +
                  " and maybe others: they are read from the other copies, and writes to them are refused");
}

// --- Writing the decision down

Next Peering::establish() {
  if (winner_ == Version{} || final_ || SD_BUG(skip_peering) || SD_BUG(skip_establish)) return {Next::Kind::ready};
  SD_SOMETIMES(true, establishes);
  SD_SOMETIMES(!object_.doubts.established.empty(), establishes_twice);
  stage_ = Stage::establishing;
  begin(Op::Kind::establish, object_.acting);
  object_.doubts.established.emplace_back(establishing_write().version, adopted_);
  object_.round_used = true;
  for (const NodeId member : object_.acting) context_.send(member, establishing_write());
  return {};
}

// Changes the version and nothing else.
Request Peering::establishing_write() const {
  Request request = context_.make(Request::Op::write, op_, object_.oid);
  request.version = {Version::generation_of(context_.generation, object_.round), winner_.sequence + 1};
  request.previous = winner_;
  return request;
}

Next Peering::on_establish_reply(Op& op, NodeId from, const Reply& reply) {
  if (reply.status == Status::stale) return {};
  if (reply.status != Status::ok) return {Next::Kind::again};
  add_sorted(context_.dirty, from);
  take(op.waiting_for, from);
  if (!op.waiting_for.empty()) return {};
  // The answers named the winner by its old version; from here on it has this one.
  const Version written = establishing_write().version;
  for (Answer& answer : answers_)
    if (!answer.reply.incomplete && answer.reply.version == winner_) answer.reply.version = written;
  winner_ = written;
  return {Next::Kind::ready};
}

}  // namespace sd::replication
