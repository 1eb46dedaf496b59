#include "core/client/service.hpp"

#include <algorithm>
#include <utility>

#include "core/base/assert.hpp"
#include "core/client/service_call.hpp"
#include "core/volume/check.hpp"

namespace sd::client {

void Service::open(StreamId stream) {
  const bool fresh = sessions_.try_emplace(stream, pool_).second;
  SD_ASSERT(fresh, "a stream is opened once");
}

bool Service::readable(const Open& open) const {
  return !open.closing && open.session.ready() && (open.session.in_frame() || open_bytes_ < max_open_bytes);
}

std::span<std::byte> Service::receive_buffer(StreamId stream) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end() || !readable(found->second)) return {};
  return found->second.session.receive_buffer();
}

OutQueue* Service::output(StreamId stream) {
  const auto found = sessions_.find(stream);
  return found == sessions_.end() ? nullptr : &found->second.session.output();
}

void Service::account(Open& open) {
  open_bytes_ += open.session.open_bytes();
  open_bytes_ -= open.counted_bytes;
  open.counted_bytes = open.session.open_bytes();
}

void Service::settle(StreamId stream, Open& open, ServiceEffects& effects) {
  if (open.closing) return;
  if (open.session.broken()) {
    open.closing = true;
    effects.close.push_back(stream);
    return;
  }
  if (!readable(open)) {
    open.stalled = true;
    if (open_bytes_ >= max_open_bytes) full_ = true;
  } else if (open.stalled) {
    open.stalled = false;
    effects.resume.push_back(stream);
  }
}

void Service::wake(ServiceEffects& effects) {
  if (!full_ || open_bytes_ >= max_open_bytes) return;
  full_ = false;
  for (auto& [stream, open] : sessions_)
    if (open.stalled) settle(stream, open, effects);
}

void Service::on_received(Time, StreamId stream, std::size_t n, Backend& backend, ServiceEffects& effects) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end() || found->second.closing) return;
  Open& open = found->second;
  if (auto request = open.session.on_received(n)) {
    Call call{*this, backend, effects, open.session, stream, request->slot, request->header};
    call.run(*request);
    account(open);
  }
  settle(stream, open, effects);
}

void Service::on_drained(StreamId stream, ServiceEffects& effects) {
  if (const auto found = sessions_.find(stream); found != sessions_.end()) settle(stream, found->second, effects);
}

void Service::on_closed(StreamId stream, ServiceEffects& effects) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return;
  open_bytes_ -= found->second.counted_bytes;
  sessions_.erase(found);
  const auto of_stream = [&](const auto& entry) { return entry.second.stream == stream; };
  std::erase_if(proposals_, of_stream);
  std::erase_if(ios_, of_stream);
  wake(effects);
}

void Service::answer(StreamId stream, Session::Slot slot, const ResponseResult& result, ServiceEffects& effects) {
  Open& open = sessions_.at(stream);
  open.session.reply(slot, result);
  account(open);
  effects.output.push_back(stream);
}

void Service::answer_data(StreamId stream, Session::Slot slot, Payload data, ServiceEffects& effects) {
  Open& open = sessions_.at(stream);
  open.session.reply_data(slot, std::move(data));
  account(open);
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
  settle(waiting.stream, sessions_.at(waiting.stream), effects);
  wake(effects);
}

void Service::on_io(std::uint64_t ticket, Status status, Payload data, Backend& backend, ServiceEffects& effects) {
  auto node = ios_.extract(ticket);
  if (node.empty()) return;
  Waiting& waiting = node.mapped();
  if (status == Status::ok && waiting.rest_length > 0) {
    IoRequest next = waiting.rest;
    next.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(waiting.rest_length, Call::zero_step));
    waiting.rest.offset += next.length;
    waiting.rest_length -= next.length;
    if (const std::uint64_t again = backend.io(std::move(next))) {
      SD_ASSERT(!ios_.contains(again), "a ticket names one request");
      node.key() = again;
      ios_.insert(std::move(node));
      return;
    }
    status = Status::busy;
  }
  if (status != Status::ok) {
    std::string message = waiting.what + ": " + std::string(to_string(status));
    if (const NodeStatus node_status = backend.status(); !node_status.serving && !node_status.trouble.empty())
      message += " (" + node_status.trouble + ")";
    fail(waiting.stream, waiting.slot, to_error(status), message, effects);
  } else {
    switch (waiting.answer) {
      case Waiting::Answer::data:
        SD_ASSERT(total_size(data) == waiting.length, "a read gives as many bytes as it asked for");
        if (waiting.padding > 0) data.push_back(pool_.zeros(waiting.padding));
        answer_data(waiting.stream, waiting.slot, std::move(data), effects);
        break;
      case Waiting::Answer::check: {
        std::string bytes;
        for (const Slice& slice : data) bytes.append(slice.text());
        const auto found = decode_check_answer(bytes);
        if (!found) {
          fail(waiting.stream, waiting.slot, SdError::system_error,
               waiting.what + ": the disk's owner gave an answer that makes no sense", effects);
          break;
        }
        const VdiCheckReport report{found->counts, std::min(found->next, waiting.objects), waiting.objects};
        answer(waiting.stream, waiting.slot, Data{bincode::to_bytes(report)}, effects);
        break;
      }
      case Waiting::Answer::obj:
        answer(waiting.stream, waiting.slot, Obj{waiting.copies, waiting.offset}, effects);
        break;
      case Waiting::Answer::success:
      case Waiting::Answer::vdi: answer(waiting.stream, waiting.slot, Success{}, effects); break;
    }
  }
  settle(waiting.stream, sessions_.at(waiting.stream), effects);
  wake(effects);
}

void Service::check_invariants() const {
  std::size_t bytes = 0;
  std::map<StreamId, std::size_t> waiting;
  for (const auto* tickets : {&proposals_, &ios_})
    for (const auto& [ticket, entry] : *tickets) ++waiting[entry.stream];
  for (const auto& [stream, open] : sessions_) {
    SD_ASSERT(open.counted_bytes == open.session.open_bytes(), "the open bytes of every session are counted");
    bytes += open.counted_bytes;
    const auto found = waiting.find(stream);
    SD_ASSERT(open.session.open_requests() == (found == waiting.end() ? 0 : found->second),
              "every open request waits for one ticket");
    if (found != waiting.end()) waiting.erase(found);
  }
  SD_ASSERT(waiting.empty(), "no ticket belongs to a closed stream");
  SD_ASSERT(bytes == open_bytes_, "the sum of open bytes is right");
}

}  // namespace sd::client
