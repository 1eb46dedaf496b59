#include "core/cluster/voters.hpp"

#include <algorithm>

namespace sd::cluster {

namespace {

bool fit(const VoterCandidate& m) { return m.up && !m.draining; }

// How many voters each zone has that are to stay.
std::size_t voters_in(std::span<const VoterCandidate> members, std::uint32_t zone) {
  return static_cast<std::size_t>(std::ranges::count_if(
      members, [&](const auto& m) { return m.voter && m.zone == zone && !m.gone && !m.draining; }));
}

const VoterCandidate* best_learner(std::span<const VoterCandidate> members) {
  const VoterCandidate* best = nullptr;
  for (const VoterCandidate& m : members)
    if (!m.voter && fit(m) && m.ready && (!best || voters_in(members, m.zone) < voters_in(members, best->zone)))
      best = &m;
  return best;
}

template <typename F>
const VoterCandidate* first_voter(std::span<const VoterCandidate> members, F matches) {
  const auto at = std::ranges::find_if(members, [&](const auto& m) { return m.voter && !m.leads && matches(m); });
  return at == members.end() ? nullptr : &*at;
}

// One of the zone that has the most.
const VoterCandidate* crowded_voter(std::span<const VoterCandidate> members) {
  const VoterCandidate* found = nullptr;
  for (const VoterCandidate& m : members)
    if (m.voter && !m.leads && (!found || voters_in(members, m.zone) >= voters_in(members, found->zone))) found = &m;
  return found;
}

VoterChange promote(const VoterCandidate* m) { return {m->id, true}; }
VoterChange put_out(const VoterCandidate* m) { return {m->id, false}; }

// What would be best; it may ask for too much.
std::optional<VoterChange> best_change(std::span<const VoterCandidate> members) {
  const auto voters = static_cast<std::size_t>(std::ranges::count_if(members, &VoterCandidate::voter));
  const auto live =
      static_cast<std::size_t>(std::ranges::count_if(members, [](const auto& m) { return m.voter && m.up; }));
  std::size_t wanted = std::min(static_cast<std::size_t>(std::ranges::count_if(members, fit)), most_voters);
  if (wanted > 2 && wanted % 2 == 0) --wanted;
  const VoterCandidate* learner = best_learner(members);
  const VoterCandidate* gone = first_voter(members, [](const auto& m) { return m.gone; });
  const VoterCandidate* draining = first_voter(members, [](const auto& m) { return m.draining; });
  // One that works may go only if the others are a majority without it.
  const bool can_spare = live >= (voters - 1) / 2 + 2;
  // With room, the successor first: no moment with one voter fewer.
  const auto replace = [&](const VoterCandidate* m) -> std::optional<VoterChange> {
    if (voters < most_voters) return promote(learner);
    if (can_spare || !m->up) return put_out(m);
    return {};
  };

  if (learner && voters < wanted) return promote(learner);
  if (gone && learner) return put_out(gone);
  if (draining && learner && voters <= std::max<std::size_t>(wanted, 2)) return replace(draining);
  if (gone && voters > 3 && live <= voters / 2 + 1) return put_out(gone);
  if (voters % 2 == 0 && voters > wanted) {
    if (gone && voters > 2) return put_out(gone);
    if (draining && (can_spare || !draining->up)) return put_out(draining);
    if (voters == 2) return {};
    const VoterCandidate* down = first_voter(members, [](const auto& m) { return !m.up; });
    const VoterCandidate* one = down ? down : crowded_voter(members);
    if (one && (can_spare || !one->up)) return put_out(one);
    return {};
  }
  // All is well but for the spread.
  if (learner && voters == wanted && live == voters && !draining) {
    const VoterCandidate* crowded = crowded_voter(members);
    if (crowded && voters_in(members, crowded->zone) >= voters_in(members, learner->zone) + 2) return replace(crowded);
  }
  return {};
}

}  // namespace

std::optional<VoterChange> next_voter_change(std::span<const VoterCandidate> members) {
  const auto change = best_change(members);
  if (!change) return {};
  std::size_t voters = 0, live = 0;
  for (const VoterCandidate& m : members) {
    if (m.id == change->id ? !change->promote : !m.voter) continue;
    ++voters;
    live += m.up;
  }
  return live > voters / 2 ? change : std::nullopt;
}

}  // namespace sd::cluster
