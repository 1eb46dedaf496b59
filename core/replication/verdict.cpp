#include "core/replication/verdict.hpp"

#include <algorithm>
#include <functional>
#include <optional>

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/replication/member_set.hpp"

namespace sd::replication {

using member_set::contains;

namespace {

// True if this member still has everything that it held in that period. A restart may lose what was not flushed. And a
// copy that a pull left half-way holds nothing for sure: what it held was found to be superseded.
bool kept_since(const Period& period, const Answer& answer) {
  return !answer.incomplete && contains(period.acting, answer.from) && !contains(period.restarted, answer.from);
}

// True if the answers are sure to include every acknowledged write of the period.
bool covered(const Period& period, const Question& q) {
  const auto expected = static_cast<std::size_t>(
      std::ranges::count_if(period.acting, [&](NodeId m) { return !contains(period.given_up, m); }));
  if (expected == 0) return true;
  bool kept = false;
  std::size_t answered = 0;
  for (const Answer& answer : q.answers) {
    if (!contains(period.acting, answer.from)) continue;
    ++answered;
    kept = kept || kept_since(period, answer);
  }
  if (SD_BUG(forget_incarnation) && answered > 0) kept = true;
  SD_SOMETIMES(!kept && answered > 0 && answered < expected && q.patience_over, peering_patience_over);
  return kept || (answered > 0 && (answered >= expected || q.patience_over));
}

// The current epoch is left out: nothing was written in it yet.
bool all_covered(const Question& q) {
  for (std::size_t i = 0; i + 1 < q.periods.size(); ++i) {
    if (q.periods[i + 1].log_index <= q.created_index) continue;  // over before the disk existed
    if (!covered(q.periods[i], q)) return false;
  }
  return true;
}

// True if this version was acknowledged to nobody: see the head of the header.
bool never_acknowledged(const Question& q, Version version) {
  const auto after =
      std::ranges::find_if(q.periods, [&](const Period& p) { return p.log_index > version.log_index(); });
  if (after == q.periods.begin() || after == q.periods.end() || SD_BUG(keep_unacknowledged)) return false;
  const Period& period = *(after - 1);
  bool lacking = false;
  for (const Answer& answer : q.answers) {
    if (!kept_since(period, answer)) continue;
    if (answer.version >= version) return false;
    lacking = true;
  }
  return lacking;
}

bool everybody_given_up(const Period& period) {
  return !period.acting.empty() &&
         std::ranges::all_of(period.acting, [&](NodeId m) { return contains(period.given_up, m); });
}

// The newest version that `needed` members hold, or have held on their way to a newer one. Nothing if there is none.
std::optional<Version> newest(const Question& q, bool with_unacknowledged) {
  std::vector<Version> held;
  for (const Answer& answer : q.answers)
    if (!answer.incomplete && (with_unacknowledged || !never_acknowledged(q, answer.version)))
      held.push_back(answer.version);
  if (held.size() < q.needed) return {};
  std::ranges::sort(held, std::ranges::greater());
  return held[q.needed - 1];
}

// True if a member that will not be made equal has a copy from before the winner.
bool lacking_outside(const Question& q, Version winner) {
  return std::ranges::any_of(q.answers, [&](const Answer& answer) {
    return !answer.incomplete && answer.version < winner && !contains(q.acting, answer.from);
  });
}

void choose_source(const Question& q, Verdict& verdict) {
  NodeId any = 0;
  for (const Answer& answer : q.answers) {
    const bool equal = !answer.incomplete && answer.version == verdict.winner;
    const bool damaged = contains(q.damaged, answer.from);
    if (equal && any == 0) any = answer.from;
    if (equal && !damaged && !contains(q.bad_sources, answer.from) && (verdict.source == 0 || answer.from == q.self))
      verdict.source = answer.from;
    if (contains(q.acting, answer.from) && (!equal || damaged)) verdict.laggards.push_back(answer.from);
  }
  // What is damaged there is looked for block by block at all who answered.
  verdict.only_damaged = verdict.source == 0;
  if (verdict.only_damaged) verdict.source = any;
}

}  // namespace

std::vector<Period> periods_of(const cluster::State& state, const cluster::Placement& placement, Oid oid,
                               std::size_t copies) {
  std::vector<Period> periods;
  periods.reserve(placement.periods().size());
  for (const auto& past : placement.periods()) {
    Period& period = periods.emplace_back();
    period.log_index = past.record.log_index;
    period.acting = SD_BUG(down_counts_as_up) ? past.ring.locate(oid, copies) : past.acting(oid, copies);
    for (const NodeId member : period.acting) {
      const auto* m = state.member(member);
      if (!m || m->incarnation != past.incarnation(member)) period.restarted.push_back(member);
      if (past.given_up(member)) period.given_up.push_back(member);
    }
  }
  return periods;
}

Verdict judge(const Question& q) {
  Verdict verdict;
  const auto newest_of_all = newest(q, true);
  if (!newest_of_all) return verdict;
  const auto acknowledged = newest(q, false);
  // A first write is kept all the same: there is no copy without it that all could be given.
  verdict.winner = acknowledged && *acknowledged != Version{} ? *acknowledged : *newest_of_all;
  verdict.dropped = verdict.winner < *newest_of_all;
  if (!all_covered(q) && !SD_BUG(skip_peering)) {
    verdict.outcome = Verdict::Outcome::waits_for_members;
    return verdict;
  }
  if (verdict.winner == Version{} && std::ranges::any_of(q.periods, everybody_given_up)) {
    verdict.outcome = Verdict::Outcome::given_up;
    return verdict;
  }
  verdict.outcome = Verdict::Outcome::decided;
  choose_source(q, verdict);
  verdict.final = all_heard(q.periods, q.answers) && !verdict.dropped &&
                  (!lacking_outside(q, verdict.winner) || SD_BUG(adopt_unwritten));
  if (SD_BUG(skip_peering)) verdict.laggards.clear();
  // Nothing to copy: the first write makes half-made copies void.
  if (verdict.winner == Version{}) verdict.laggards.clear();
  return verdict;
}

bool all_heard(const std::vector<Period>& periods, const std::vector<Answer>& answers) {
  return std::ranges::all_of(periods, [&](const Period& period) {
    return std::ranges::all_of(period.acting,
                               [&](NodeId m) { return std::ranges::find(answers, m, &Answer::from) != answers.end(); });
  });
}

}  // namespace sd::replication
