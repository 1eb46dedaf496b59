#include "core/background/collector.hpp"

#include <algorithm>

#include "core/base/codec.hpp"
#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"

namespace sd {

namespace {
constexpr std::size_t max_candidates = 16;
constexpr std::size_t looks_per_tick = 4096;
constexpr unsigned max_repairs = 3;
constexpr unsigned max_fruitless = 3;  // passes: what cannot be read here either is no reason to keep a copy for ever
constexpr Time repeat_after = seconds(1);
constexpr Time pass_every = seconds(3600);
constexpr Time pass_again = seconds(5);
}  // namespace

bool Collector::still_valid() const {
  return !state_.epochs.empty() && (state_.epochs.size() == 1 || SD_BUG(collect_early)) &&
         state_.epochs.back().log_index == pass_index_ && !placement_.empty() &&
         placement_.current().record.log_index == pass_index_;
}

void Collector::begin(Time) {
  running_ = true;
  if (pass_index_ != state_.epochs.back().log_index) fruitless_.clear();
  pass_index_ = state_.epochs.back().log_index;
  waiting_ = store_.objects();
  next_ = 0;
  page_ = {};
  candidates_.clear();
  stats_.kept = 0;
  again_ = false;
}

void Collector::tick(Time now, bool may, Requests& out) {
  if (running_ && (!may || !still_valid())) {
    running_ = false;
    waiting_.clear();
    candidates_.clear();
  }
  if (!running_) {
    if (!may || placement_.empty() || (state_.epochs.size() != 1 && !SD_BUG(collect_early))) return;
    if (done_index_ == state_.epochs.back().log_index && now - pass_done_at_ < (again_ ? pass_again : pass_every))
      return;
    if (placement_.current().record.log_index != state_.epochs.back().log_index) return;
    begin(now);
  }
  for (auto& [id, candidate] : candidates_)
    if (now - candidate.asked_at >= repeat_after) ask(now, id, candidate, out);
  if (page_.id != 0 && !page_.loaded && now - page_.asked_at >= repeat_after) ask_page(now, out);
  advance(now, out);
}

void Collector::advance(Time now, Requests& out) {
  for (std::size_t looks = 0; next_ < waiting_.size() && looks < looks_per_tick && candidates_.size() < max_candidates;
       ++looks) {
    if (!look_at(now, waiting_[next_], out)) return;
    ++next_;
  }
  if (next_ < waiting_.size() || !candidates_.empty()) return;
  running_ = false;
  waiting_.clear();
  done_index_ = pass_index_;
  pass_done_at_ = now;
}

// False if that needs a page of the index that is on its way.
bool Collector::look_at(Time now, Oid oid, Requests& out) {
  if (SD_BUG(collect_nothing)) return true;
  const cluster::Vdi* vdi = state_.find(oid.vid());
  Candidate candidate;
  candidate.oid = oid;
  if (!vdi) {
    candidate.why = Why::leftover;
  } else {
    if (vdi->deleting) return true;  // being purged
    const bool index = oid == Oid::index_object(oid.vid(), oid.index());
    if (!oid.is_data() && !index) return true;
    const ActingSet acting = placement_.acting(oid, vdi->copies);
    if (oid.is_data()) {
      const std::uint32_t number = oid.index() / page_entries;
      if (page_.id == 0 || page_.vid != vdi->vid || page_.number != number) {
        page_ = {};
        page_.vid = vdi->vid;
        page_.number = number;
        page_.id = ++last_number_;
        page_.set.resize(page_entries);
        page_.left =
            placement_.acting(Oid::index_object(vdi->vid, oid.index() / limits::index_entries_per_object), vdi->copies);
        if (page_.left.empty()) return false;
        ask_page(now, out);
      }
      if (!page_.loaded) return false;
      if (page_.set[oid.index() % page_entries] == 0) candidate.why = Why::orphan;
    }
    if (candidate.why != Why::orphan) {
      if (std::ranges::find(acting, self_) != acting.end()) return true;
      candidate.why = Why::elsewhere;
      candidate.left = acting;
      if (acting.size() < vdi->copies && !SD_BUG(collect_early)) {  // not redundant without this one
        ++stats_.kept;
        return true;
      }
    }
  }
  const std::uint64_t id = ++last_number_;
  ask(now, id, candidates_.emplace(id, std::move(candidate)).first->second, out);
  return true;
}

peer::ObjectRequest Collector::page_request(peer::ObjectRequest::Op op) const {
  constexpr std::uint32_t pages_per_object = limits::index_entries_per_object / page_entries;
  peer::ObjectRequest request;
  request.asker = peer::Asker::collector;
  request.op = op;
  request.vid = page_.vid;
  request.generation = state_.generation(page_.vid);
  request.oid = Oid::index_object(page_.vid, page_.number / pages_per_object);
  request.offset = page_.number % pages_per_object * limits::block_size;
  request.length = limits::block_size;
  return request;
}

void Collector::ask_page(Time now, Requests& out) {
  page_.asked_at = now;
  peer::ObjectRequest request = page_request(peer::ObjectRequest::Op::read);
  request.id = page_.id;
  out.emplace_back(page_.left.back(), std::move(request));
}

void Collector::repair_page(Requests& out) {
  peer::ObjectRequest request = page_request(peer::ObjectRequest::Op::repair);
  for (const NodeId member : placement_.acting(request.oid, state_.find(page_.vid)->copies))
    if (member != page_.left.back()) request.helpers.push_back(member);
  out.emplace_back(page_.left.back(), std::move(request));
}

void Collector::ask(Time now, std::uint64_t id, Candidate& candidate, Requests& out) {
  candidate.asked_at = now;
  peer::ObjectRequest request;
  request.id = id;
  request.asker = peer::Asker::collector;
  request.vid = candidate.oid.vid();
  request.generation = state_.generation(request.vid);
  request.oid = candidate.oid;
  request.op = peer::ObjectRequest::Op::query;
  if (candidate.step == Candidate::Step::collect) {
    request.op = peer::ObjectRequest::Op::collect;
    request.version = candidate.info.version;
  } else if (candidate.step == Candidate::Step::repair) {
    request.op = peer::ObjectRequest::Op::repair;
    request.length = limits::object_size;
    request.helpers = {self_};
  }
  out.emplace_back(asked(candidate), std::move(request));
}

NodeId Collector::asked(const Candidate& candidate) const {
  return candidate.step == Candidate::Step::verify || candidate.step == Candidate::Step::repair ? candidate.left.back()
                                                                                                : self_;
}

void Collector::on_reply(Time now, NodeId from, peer::ObjectReply&& reply, Requests& out) {
  if (!running_ || !still_valid()) return;
  if (reply.id == page_.id) {
    if (page_.loaded || page_.left.empty() || page_.left.back() != from ||
        reply.generation != state_.generation(page_.vid))
      return;
    if (reply.status == Status::ok && total_size(reply.payload) == limits::block_size) {
      std::string bytes;
      for (const Slice& slice : reply.payload) bytes.append(slice.text());
      Reader entries(bytes);
      for (auto& entry : page_.set) entry = static_cast<std::uint8_t>(entry | (entries.u32() != 0));
    } else if (reply.status == Status::damaged && page_.damaged++ < max_repairs) {
      repair_page(out);
      return;  // asked again
    } else if (reply.status == Status::damaged) {
      std::ranges::fill(page_.set, std::uint8_t{1});  // what it named nobody knows
    } else if (reply.status != Status::not_found) {
      return;
    }
    page_.left.pop_back();
    if (page_.left.empty())
      page_.loaded = true;
    else
      ask_page(now, out);
    advance(now, out);
    return;
  }
  const auto at = candidates_.find(reply.id);
  if (at == candidates_.end()) return;
  Candidate candidate = std::move(at->second);
  const Oid oid = candidate.oid;
  const bool current = reply.generation == state_.generation(oid.vid());
  const bool answered = reply.status == Status::ok || candidate.step == Candidate::Step::collect ||
                        (candidate.step == Candidate::Step::repair && reply.status == Status::damaged);
  if (!current || from != asked(candidate) || !answered) {
    at->second = std::move(candidate);
    return;
  }
  candidates_.erase(at);
  const auto proceed = [&](Candidate::Step step) {
    candidate.step = step;
    const std::uint64_t id = ++last_number_;
    ask(now, id, candidates_.emplace(id, std::move(candidate)).first->second, out);
  };
  switch (candidate.step) {
    case Candidate::Step::look:
      if (!reply.exists) break;
      candidate.info.version = reply.version;
      candidate.info.incomplete = reply.incomplete;
      proceed(candidate.why == Why::elsewhere && !SD_BUG(collect_early) ? Candidate::Step::verify
                                                                        : Candidate::Step::collect);
      break;
    case Candidate::Step::verify:
      if (!reply.exists || reply.incomplete || reply.version < candidate.info.version) {
        ++stats_.kept;
        again_ = true;
        break;
      }
      if (const auto tried = fruitless_.find(oid);
          reply.lossy && (tried == fruitless_.end() || tried->second < max_fruitless) && !SD_BUG(collect_unread)) {
        proceed(Candidate::Step::repair);
        break;
      }
      candidate.left.pop_back();
      proceed(candidate.left.empty() ? Candidate::Step::collect : Candidate::Step::verify);
      break;
    case Candidate::Step::repair:
      SD_SOMETIMES(reply.status == Status::ok, repaired_by_leftover);
      if (reply.status != Status::ok) {
        ++fruitless_[oid];
        ++stats_.kept;
        again_ = true;
        break;
      }
      candidate.left.pop_back();
      proceed(candidate.left.empty() ? Candidate::Step::collect : Candidate::Step::verify);
      break;
    case Candidate::Step::collect:
      if (reply.status != Status::ok) {  // changed meanwhile
        again_ = true;
        break;
      }
      ++(candidate.why == Why::elsewhere  ? stats_.removed
         : candidate.why == Why::leftover ? stats_.leftovers
                                          : stats_.orphans);
      break;
  }
  advance(now, out);
}

std::string Collector::check_state() const {
  if (running_ && next_ > waiting_.size()) return "the collector looks at what it has found only";
  if (candidates_.size() > max_candidates) return "only so many candidates are looked at";
  if (!running_ && !candidates_.empty()) return "outside of a pass nothing is a candidate";
  for (const auto& [id, candidate] : candidates_) {
    if (id == 0 || id > last_number_) return "a candidate's request is known by its number";
    if (candidate.step != Candidate::Step::look && candidate.why == Why::elsewhere &&
        candidate.info.version == Version{})
      return "what is verified was found here";
  }
  return {};
}

}  // namespace sd
