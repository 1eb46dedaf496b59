#include "core/client/service.hpp"

#include <algorithm>
#include <utility>

#include "core/base/assert.hpp"
#include "core/client/answer_size.hpp"
#include "core/client/named_disks.hpp"
#include "core/client/requests.hpp"
#include "core/volume/check.hpp"

namespace sd::client {

namespace {
constexpr Time look_interval = seconds(1), longest_look = seconds(2);
}  // namespace

void Service::open(StreamId stream) {
  const bool fresh = sessions_.try_emplace(stream, pool_).second;
  SD_ASSERT(fresh, "a stream is opened once");
  budget_.open(stream);
}

bool Service::readable(StreamId stream, const Open& open) const {
  if (open.closing || open.doubtful || open.parked || !open.session.ready()) return false;
  return open.session.in_frame() || budget_.may_begin(stream);
}

// The driver asks again only after a resume: whoever is told not to read must be remembered.
std::span<std::byte> Service::receive_buffer(StreamId stream) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return {};
  Open& open = found->second;
  if (readable(stream, open)) return open.session.receive_buffer();
  open.stalled = true;
  full_ = full_ || budget_.full();
  return {};
}

OutQueue* Service::output(StreamId stream) {
  const auto found = sessions_.find(stream);
  return found == sessions_.end() ? nullptr : &found->second.session.output();
}

void Service::account(StreamId stream, const Open& open) { budget_.hold(stream, open.session.held()); }

void Service::close(StreamId stream, Open& open, ServiceEffects& effects) {
  open.closing = true;
  budget_.withdraw(stream);
  effects.close.push_back(stream);
}

void Service::settle(StreamId stream, Open& open, ServiceEffects& effects) {
  if (open.closing) return;
  if (open.session.broken()) return close(stream, open, effects);
  if (!readable(stream, open)) {
    open.stalled = true;
    full_ = full_ || budget_.full();
  } else if (open.stalled) {
    open.stalled = false;
    effects.resume.push_back(stream);
  }
}

void Service::serve(ServiceEffects& effects) {
  while (const auto served = budget_.next()) {
    Open& open = sessions_.at(served->stream);
    if (open.parked) {
      Parked parked = std::move(*open.parked);
      open.parked.reset();
      open.session.reserve(parked.request.slot, served->bytes);
      begin(served->stream, parked.request, *parked.backend, effects);
    } else {
      open.session.admit();
    }
    account(served->stream, open);
    settle(served->stream, open, effects);
  }
  if (!full_ || budget_.full()) return;
  full_ = false;
  for (auto& [stream, open] : sessions_)
    if (open.stalled) settle(stream, open, effects);
}

void Service::begin(StreamId stream, Session::Request& request, Backend& backend, ServiceEffects& effects) {
  Call call{*this, backend, effects, stream, request.slot, request.header};
  perform(call, request);
}

void Service::on_received(Time now, StreamId stream, std::size_t n, Backend& backend, ServiceEffects& effects) {
  on_time(now, effects);
  const auto found = sessions_.find(stream);
  if (found == sessions_.end() || found->second.closing) return;
  Open& open = found->second;
  account(stream, open);
  if (auto request = open.session.on_received(n)) {
    if (names_disks(request->request) && !backend.is_current(now)) {
      open.doubtful.emplace(std::move(*request), &backend, now);
      ++doubtful_;
    } else {
      go_on(stream, open, std::move(*request), backend, effects);
    }
  } else if (const std::size_t bytes = open.session.wanted(); bytes > 0) {
    budget_.want(stream, bytes);
  }
  account(stream, open);
  serve(effects);
  settle(stream, open, effects);
}

void Service::go_on(StreamId stream, Open& open, Session::Request&& request, Backend& backend,
                    ServiceEffects& effects) {
  if (const std::size_t bytes = answer_size(request.request, backend.state()); bytes > 0) {
    open.parked.emplace(std::move(request), &backend);
    budget_.want(stream, bytes);
  } else {
    begin(stream, request, backend, effects);
  }
}

void Service::look_again(Time now, ServiceEffects& effects) {
  if (doubtful_ == 0) return;
  for (auto& [stream, open] : sessions_) {
    if (!open.doubtful || open.closing) continue;
    Doubtful& waiting = *open.doubtful;
    if (now < waiting.since + doubt_patience && !waiting.backend->is_current(waiting.since)) continue;
    Doubtful ended = std::move(waiting);
    open.doubtful.reset();
    --doubtful_;
    if (ended.backend->is_current(ended.since) || only_asks(ended.request.request))
      go_on(stream, open, std::move(ended.request), *ended.backend, effects);
    else
      fail(stream, ended.request.slot, SdError::halt,
           "this node cannot find out which disks there are: the cluster's leader does not answer it; try again, or "
           "ask another node",
           effects);
    account(stream, open);
    settle(stream, open, effects);
  }
  serve(effects);
}

void Service::on_drained(StreamId stream, ServiceEffects& effects) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return;
  account(stream, found->second);
  serve(effects);
  settle(stream, found->second, effects);
}

// The clock of each session starts when somebody begins to wait: until then nobody minds what it holds. Between two
// looks that are far apart a client may have been waiting for us, so such a time counts only in part.
void Service::on_time(Time now, ServiceEffects& effects) {
  const bool fresh = !std::exchange(watching_, budget_.short_of_room());
  if (!watching_) return;
  const Time passed = fresh ? 0 : now - last_look_;
  if (!fresh && passed < look_interval) return;
  last_look_ = now;
  for (auto& [stream, open] : sessions_) {
    account(stream, open);
    const std::uint64_t moved = open.session.moved();
    if (fresh || !open.session.awaits_client() || moved - open.moved >= least_progress) {
      open.moved = moved;
      open.idle = 0;
      continue;
    }
    open.idle += std::min(passed, longest_look);
    if (!open.closing && open.idle >= patience) close(stream, open, effects);
  }
  serve(effects);
}

void Service::on_closed(StreamId stream, Backend& backend, ServiceEffects& effects) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return;
  // What the backend works on takes memory until it is done.
  std::size_t left_behind = 0;
  std::erase_if(ios_, [&](const auto& entry) {
    if (entry.second.stream != stream) return false;
    const std::size_t bytes = found->second.session.reserved(entry.second.slot);
    left_behind += bytes;
    abandoned_ios_.emplace(entry.first, bytes);
    return true;
  });
  std::erase_if(proposals_, [&](const auto& entry) {
    if (entry.second.stream != stream) return false;
    backend.forget_proposal(entry.first);
    return true;
  });
  if (found->second.doubtful) --doubtful_;
  budget_.close(stream, left_behind);
  sessions_.erase(found);
  serve(effects);
}

void Service::answer(StreamId stream, Session::Slot slot, const ResponseResult& result, ServiceEffects& effects) {
  Open& open = sessions_.at(stream);
  open.session.reply(slot, result);
  account(stream, open);
  effects.output.push_back(stream);
}

void Service::answer_data(StreamId stream, Session::Slot slot, Payload data, ServiceEffects& effects) {
  Open& open = sessions_.at(stream);
  open.session.reply_data(slot, std::move(data));
  account(stream, open);
  effects.output.push_back(stream);
}

void Service::fail(StreamId stream, Session::Slot slot, SdError error, const std::string& message,
                   ServiceEffects& effects) {
  const bool own = sessions_.at(stream).session.header(slot).proto_ver >= own_version;
  if (own)
    answer(stream, slot, Failure{error, message.substr(0, bincode::max_string)}, effects);
  else
    answer(stream, slot, Error{error}, effects);
}

void Service::on_proposed(std::uint64_t ticket, const cluster::Result& result, Backend& backend,
                          ServiceEffects& effects) {
  auto node = proposals_.extract(ticket);
  if (node.empty()) return;
  const Waiting& waiting = node.mapped();
  if (result.status != Status::ok) {
    fail(waiting.stream, waiting.slot, to_error(result.status),
         waiting.what + ": " + std::string(to_string(result.status)), effects);
  } else if (waiting.answer == Waiting::Answer::vdi) {
    const cluster::Vdi* vdi = backend.state().find(result.vid);
    answer(waiting.stream, waiting.slot, VdiId{result.vid, 0, vdi ? vdi->copies : waiting.copies}, effects);
  } else {
    answer(waiting.stream, waiting.slot, Success{}, effects);
  }
  serve(effects);
  settle(waiting.stream, sessions_.at(waiting.stream), effects);
}

void Service::on_io(std::uint64_t ticket, Status status, Payload data, Backend& backend, ServiceEffects& effects) {
  if (const auto abandoned = abandoned_ios_.find(ticket); abandoned != abandoned_ios_.end()) {
    data.clear();
    budget_.release(abandoned->second);
    abandoned_ios_.erase(abandoned);
    return serve(effects);
  }
  auto node = ios_.extract(ticket);
  if (node.empty()) return;
  Waiting& waiting = node.mapped();
  if (status == Status::ok && waiting.rest_length > 0) {
    if (const std::uint64_t again = zero_on(waiting, backend)) {
      SD_ASSERT(!ios_.contains(again), "a ticket names one request");
      node.key() = again;
      ios_.insert(std::move(node));
      return;
    }
    status = Status::busy;
  }
  if (status == Status::ok) {
    answer_io(waiting, std::move(data), effects);
  } else {
    std::string message = waiting.what + ": " + std::string(to_string(status));
    if (const NodeStatus node_status = backend.status(); !node_status.serving && !node_status.trouble.empty())
      message += " (" + node_status.trouble + ")";
    fail(waiting.stream, waiting.slot, to_error(status), message, effects);
  }
  serve(effects);
  settle(waiting.stream, sessions_.at(waiting.stream), effects);
}

std::uint64_t Service::zero_on(Waiting& waiting, Backend& backend) {
  IoRequest next = waiting.rest;
  next.length = static_cast<std::uint32_t>(std::min(waiting.rest_length, zero_step));
  waiting.rest.offset += next.length;
  waiting.rest_length -= next.length;
  return backend.io(std::move(next));
}

void Service::answer_io(const Waiting& waiting, Payload data, ServiceEffects& effects) {
  switch (waiting.answer) {
    case Waiting::Answer::data:
      SD_ASSERT(total_size(data) == waiting.length, "a read gives as many bytes as it asked for");
      if (waiting.padding > 0) data.push_back(pool_.zeros(waiting.padding));
      answer_data(waiting.stream, waiting.slot, std::move(data), effects);
      break;
    case Waiting::Answer::check: answer_check(waiting, data, effects); break;
    case Waiting::Answer::obj:
      answer(waiting.stream, waiting.slot, Obj{waiting.copies, waiting.offset}, effects);
      break;
    case Waiting::Answer::success:
    case Waiting::Answer::vdi: answer(waiting.stream, waiting.slot, Success{}, effects); break;
  }
}

void Service::answer_check(const Waiting& waiting, const Payload& data, ServiceEffects& effects) {
  std::string bytes;
  for (const Slice& slice : data) bytes.append(slice.text());
  const auto found = decode_check_answer(bytes);
  if (!found)
    return fail(waiting.stream, waiting.slot, SdError::system_error,
                waiting.what + ": the disk's owner gave an answer that makes no sense", effects);
  const VdiCheckReport report{found->counts, std::min(found->next, waiting.objects), waiting.objects};
  answer(waiting.stream, waiting.slot, Data{bincode::to_bytes(report)}, effects);
}

void Service::check_invariants() const {
  budget_.check_invariants();
  SD_ASSERT(static_cast<std::size_t>(std::ranges::count_if(
                sessions_, [](const auto& entry) { return entry.second.doubtful.has_value(); })) == doubtful_,
            "requests that wait for what the node knows are counted");
  std::map<StreamId, std::size_t> waiting;
  for (const auto* tickets : {&proposals_, &ios_})
    for (const auto& [ticket, entry] : *tickets) ++waiting[entry.stream];
  for (const auto& [stream, open] : sessions_) {
    // Sent bytes are noticed late.
    SD_ASSERT(budget_.held(stream) >= open.session.held(), "what every session holds is counted");
    SD_ASSERT(open.closing || budget_.waits(stream) == (open.parked || open.session.wanted() > 0),
              "whoever waits for memory is in the queue");
    const auto found = waiting.find(stream);
    const std::size_t tickets = found == waiting.end() ? 0 : found->second;
    SD_ASSERT(open.session.open_requests() == tickets + (open.parked || open.doubtful ? 1 : 0),
              "every open request waits for one ticket or for memory");
    if (found != waiting.end()) waiting.erase(found);
  }
  SD_ASSERT(waiting.empty(), "no ticket belongs to a closed stream");
}

}  // namespace sd::client
