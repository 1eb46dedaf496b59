#include "sim/sector_history.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace sd::sim {

std::string_view to_string(SectorHistory::Verdict verdict) {
  switch (verdict) {
    case SectorHistory::Verdict::ok: return "ok";
    case SectorHistory::Verdict::never_written: return "a value that nobody had written there";
    case SectorHistory::Verdict::stale:
      return "an acknowledged or seen write was lost, undone or not yet visible (no order explains the history)";
    case SectorHistory::Verdict::lost_durable: return "a flushed write is gone after a loss of power";
    case SectorHistory::Verdict::changed_base: return "two different survivors of one loss of power were read";
  }
  return "?";
}

bool SectorHistory::contradict(const Cluster& a, const Cluster& b) {
  if (a.finish == no_tick || b.finish == no_tick) return false;  // may still be placed anywhere later, or never
  const bool a_forward = a.finish < a.start;
  const bool b_forward = b.finish < b.start;
  if (a_forward && b_forward) return std::max(a.finish, b.finish) < std::min(a.start, b.start);
  if (a_forward) return a.finish < b.start && b.finish < a.start;
  if (b_forward) return b.finish < a.start && a.finish < b.start;
  return false;
}

bool SectorHistory::fits(const Cluster& changed) const {
  for (const Cluster& other : clusters_)
    if (other.write != changed.write && contradict(other, changed)) return false;
  return true;
}

SectorHistory::Cluster* SectorHistory::find(OpId write) {
  for (auto at = clusters_.rbegin(); at != clusters_.rend(); ++at)
    if (at->write == write) return &*at;
  return nullptr;
}

// A contradiction may come from a wrong guess about zeros: then the search decides, from now on.
SectorHistory::Verdict SectorHistory::judge(Verdict verdict) {
  if (searching_) return search() ? Verdict::ok : Verdict::stale;
  if (verdict != Verdict::stale || !guessed_) return verdict;
  searching_ = true;
  return search() ? Verdict::ok : verdict;
}

void SectorHistory::begin_write(OpId op, bool zeros, Tick invoked) {
  Cluster cluster;
  cluster.write = op;
  cluster.value = zeros ? 0 : op;
  cluster.invoked = cluster.start = invoked;
  clusters_.push_back(cluster);
}

SectorHistory::Verdict SectorHistory::end_write(OpId op, Tick returned, bool durable) {
  Cluster* cluster = find(op);
  if (!cluster) return Verdict::ok;  // power was lost in between
  cluster->returned = returned;
  cluster->durable = durable;
  cluster->finish = std::min(cluster->finish, returned);
  return judge(fits(*cluster) ? Verdict::ok : Verdict::stale);
}

void SectorHistory::fence(OpId op, Tick now) {
  if (Cluster* cluster = find(op); cluster && cluster->returned == no_tick) cluster->limit = now;
}

bool SectorHistory::base_may_be(OpId value) const {
  return base_.empty() ? value == 0 : std::find(base_.begin(), base_.end(), value) != base_.end();
}

bool SectorHistory::add_read(Cluster& cluster, Tick invoked, Tick returned) {
  const Cluster before = cluster;
  cluster.start = std::max(cluster.start, invoked);
  cluster.finish = std::min({cluster.finish, returned, cluster.limit});
  ++cluster.reads;
  if (fits(cluster)) return true;
  cluster = before;
  return false;
}

SectorHistory::Verdict SectorHistory::read(OpId value, Tick invoked, Tick returned) {
  if (invoked < base_tick_) return Verdict::ok;  // begun before the loss of power: its answer belongs to no period
  reads_.push_back({value, invoked, returned});
  if (value == 0) return judge(read_zeros(invoked, returned));
  Cluster* cluster = find(value);
  if (!cluster) {
    if (base_.empty()) return Verdict::never_written;
    if (!base_may_be(value)) return pinned_ ? Verdict::changed_base : Verdict::lost_durable;
    if (pinned_) {
      cluster = find(0);
    } else {
      pinned_ = true;
      base_present_ = true;
      base_ = {value};
      Cluster base;
      base.value = value;
      base.base = true;
      base.invoked = base.start = base.returned = base.finish = base_tick_;
      cluster = &*clusters_.insert(clusters_.begin(), base);
    }
  }
  if (searching_) return judge(Verdict::ok);
  return judge(add_read(*cluster, invoked, returned) ? Verdict::ok : Verdict::stale);
}

SectorHistory::Verdict SectorHistory::read_zeros(Tick invoked, Tick returned) {
  if (searching_) return Verdict::ok;
  std::size_t writers = base_may_be(0) ? 1 : 0;
  for (const Cluster& cluster : clusters_) writers += !cluster.base && cluster.value == 0;
  if (writers == 0) return base_.empty() || pinned_ ? Verdict::changed_base : Verdict::lost_durable;
  if (writers > 1) guessed_ = true;
  for (auto at = clusters_.rbegin(); at != clusters_.rend(); ++at)
    if (at->value == 0 && add_read(*at, invoked, returned)) return Verdict::ok;
  if (!base_present_ && base_may_be(0)) {
    pinned_ = true;
    base_present_ = true;
    if (!base_.empty()) base_ = {0};
    Cluster base;
    base.base = true;
    base.invoked = base.start = base.returned = base.finish = base_tick_;
    clusters_.insert(clusters_.begin(), base);
    if (add_read(clusters_.front(), invoked, returned)) return Verdict::ok;
  }
  return Verdict::stale;
}

void SectorHistory::lose_power(Tick now, Tick flushed_before, bool all) {
  // Zeros may have been given to the wrong writer, so for them only the write itself counts as evidence.
  const auto finish = [this](const Cluster& c) { return c.value == 0 && guessed_ ? c.returned : c.finish; };
  const auto start = [this](const Cluster& c) { return c.value == 0 && guessed_ ? c.invoked : c.start; };
  const auto durable = [&](const Cluster& c) {
    return !c.base && ((c.durable && c.returned != no_tick) || finish(c) < flushed_before);
  };
  const Cluster* newest = nullptr;  // the durable write known to be the latest, and the next
  const Cluster* second = nullptr;
  for (const Cluster& cluster : clusters_) {
    if (!durable(cluster)) continue;
    if (!newest || start(cluster) > start(*newest))
      second = std::exchange(newest, &cluster);
    else if (!second || start(cluster) > start(*second))
      second = &cluster;
  }
  std::vector<OpId> survivors;
  for (const Cluster& cluster : clusters_) {
    const Cluster* later = newest == &cluster ? second : newest;
    const bool older = later && finish(cluster) != no_tick && finish(cluster) < start(*later);
    if (!cluster.base && !older) survivors.push_back(cluster.value);
  }
  if (!newest) {
    if (base_.empty())
      survivors.push_back(0);
    else
      survivors.insert(survivors.end(), base_.begin(), base_.end());
  }
  std::sort(survivors.begin(), survivors.end());
  survivors.erase(std::unique(survivors.begin(), survivors.end()), survivors.end());
  base_ = std::move(survivors);
  base_tick_ = now;
  pinned_ = base_present_ = guessed_ = searching_ = false;
  // Whether it happened before, or not, or happened and was lost: it may happen now.
  std::erase_if(clusters_,
                [&](const Cluster& c) { return all || c.base || c.returned != no_tick || c.limit != no_tick; });
  for (Cluster& cluster : clusters_) {
    cluster.start = now;
    cluster.finish = no_tick;
    cluster.reads = 0;
  }
  reads_.clear();
}

namespace {

// Wing and Gong's search over one sector, with the states already tried remembered.
struct Search {
  struct Op {
    bool read;
    OpId value;
    Tick invoked, returned;
    bool optional;
  };
  std::vector<Op> ops;  // by invocation
  std::set<std::pair<std::vector<bool>, OpId>> tried;
  std::vector<bool> done;
  std::size_t budget = 100'000;

  bool run(OpId value) {
    if (budget == 0) return true;
    --budget;
    // Reads of the present value can be taken at once: that never spoils a later choice.
    std::vector<std::size_t> taken;
    for (bool again = true; again;) {
      again = false;
      const Tick horizon = earliest_return();
      for (std::size_t i = 0; i < ops.size() && ops[i].invoked < horizon; ++i)
        if (!done[i] && ops[i].read && ops[i].value == value) {
          done[i] = true;
          taken.push_back(i);
          again = true;
        }
    }
    const Tick horizon = earliest_return();
    bool found = horizon == no_tick;
    if (!found && tried.insert({done, value}).second) {
      for (std::size_t i = 0; i < ops.size() && ops[i].invoked < horizon && !found; ++i) {
        if (done[i] || ops[i].read) continue;
        done[i] = true;
        found = run(ops[i].value);
        done[i] = false;
      }
    }
    for (const std::size_t i : taken) done[i] = false;
    return found;
  }
  // Everything that begins after this must wait; no_tick if all that must happen has happened.
  Tick earliest_return() const {
    Tick earliest = no_tick;
    for (std::size_t i = 0; i < ops.size(); ++i)
      if (!done[i] && !ops[i].optional) earliest = std::min(earliest, ops[i].returned);
    return earliest;
  }
};

}  // namespace

bool SectorHistory::search() {
  Search search;
  for (const Cluster& cluster : clusters_) {
    if (cluster.base) continue;
    const bool answered = cluster.returned != no_tick;
    if (!answered && cluster.value != 0 && cluster.reads == 0 &&
        std::none_of(reads_.begin(), reads_.end(), [&](const Read& r) { return r.value == cluster.value; }))
      continue;
    search.ops.push_back(
        {false, cluster.value, cluster.invoked, answered ? cluster.returned : cluster.limit, !answered});
  }
  for (const Read& read : reads_) search.ops.push_back({true, read.value, read.invoked, read.returned, false});
  std::sort(search.ops.begin(), search.ops.end(), [](const auto& a, const auto& b) { return a.invoked < b.invoked; });
  search.done.assign(search.ops.size(), false);
  std::vector<OpId> first = base_;
  if (first.empty()) first.push_back(0);
  for (const OpId value : first) {
    if (search.run(value)) {
      if (search.budget == 0) ++inconclusive_;
      return true;
    }
  }
  return false;
}

}  // namespace sd::sim
