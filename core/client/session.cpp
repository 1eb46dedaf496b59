#include "core/client/session.hpp"

#include <algorithm>
#include <utility>

#include "core/base/assert.hpp"

namespace sd::client {

namespace {
constexpr std::size_t prefix = 4;  // of a frame: its length
constexpr std::size_t first_slice = 64u << 10;
constexpr std::size_t max_slice = limits::object_size;
}  // namespace

bool Session::ready() const {
  if (broken_) return false;
  if (in_frame()) return state_ != State::wait;  // a frame that has begun is received to its end
  return open_count_ < max_requests;
}

std::span<std::byte> Session::receive_buffer() {
  if (!ready()) return {};
  switch (state_) {
    case State::head: return std::span(head_).subspan(head_have_);
    case State::wait: return {};
    case State::data: return {data_.back().mutable_data() + slice_have_, data_.back().size() - slice_have_};
    case State::skip: return std::span(head_).first(std::min(left_, head_.size()));
  }
  return {};
}

std::optional<Session::Request> Session::on_received(std::size_t n) {
  SD_ASSERT(n <= receive_buffer().size(), "no more bytes are received than there is room for");
  if (n == 0) return std::nullopt;
  received_ += n;
  switch (state_) {
    case State::head: head_have_ += n; return examine();
    case State::wait: return std::nullopt;
    case State::data:
      slice_have_ += n;
      left_ -= n;
      if (left_ == 0) return finish(false);
      if (slice_have_ == data_.back().size()) next_slice();
      return std::nullopt;
    case State::skip:
      left_ -= n;
      if (left_ == 0) return finish(!unsupported_);
      return std::nullopt;
  }
  return std::nullopt;
}

// Called with new bytes in the head. A frame's first read asks for its length and the shortest body there is; a shorter
// frame shows by its length as soon as that is here.
std::optional<Session::Request> Session::examine() {
  if (head_have_ < prefix) return std::nullopt;
  BigEndianReader length(std::span<const std::byte>(head_).first(prefix));
  body_size_ = length.u32();
  if (body_size_ < min_body || body_size_ > limits::max_client_frame) {
    broken_ = true;
    return std::nullopt;
  }
  if (head_have_ < head_.size()) return std::nullopt;
  const auto body = std::span<const std::byte>(head_).subspan(prefix);
  const HeadPlan plan = plan_head(body, body_size_);
  left_ = body_size_ - body.size();
  switch (plan.kind) {
    case HeadPlan::Kind::need: head_.resize(prefix + plan.size); return std::nullopt;
    case HeadPlan::Kind::whole: return finish(false);
    case HeadPlan::Kind::data:
      if (left_ == 0) return finish(false);
      state_ = State::wait;
      return std::nullopt;
    case HeadPlan::Kind::unsupported:
    case HeadPlan::Kind::malformed:
      unsupported_ = plan.kind == HeadPlan::Kind::unsupported;
      state_ = State::skip;
      skipped_header_ = decode_header(body);
      skipped_variant_ = Reader(body.subspan(header_size)).u32();
      if (left_ == 0) return finish(!unsupported_);
      head_.resize(std::min(left_, max_plain_body));
      return std::nullopt;
  }
  return std::nullopt;
}

void Session::admit() {
  SD_ASSERT(state_ == State::wait, "a frame is admitted that waits");
  frame_bytes_ = left_;
  state_ = State::data;
  next_slice();
}

void Session::next_slice() {
  proven_ = std::clamp(std::max(proven_, total_size(data_)), first_slice, max_slice);
  data_.push_back(pool_.allocate(std::min(left_, proven_)));
  slice_have_ = 0;
}

std::optional<Session::Request> Session::finish(bool malformed) {
  Request request;
  if (state_ == State::skip) {
    request.header = *skipped_header_;
    request.request = Unsupported{skipped_variant_};
    request.malformed = malformed;
  } else {
    const auto head = std::span<const std::byte>(head_).subspan(prefix);
    request.header = decode_header(head);
    request.malformed = malformed;
    if (!malformed) {
      proven_ = std::clamp(std::max(proven_, total_size(data_)), first_slice, max_slice);
      auto decoded = decode_request(head, std::move(data_));
      if (decoded)
        request.request = std::move(decoded->request);
      else
        request.malformed = true;
    }
  }
  const auto slot = static_cast<Slot>(std::ranges::find(open_, false, &Open::used) - open_.begin());
  SD_ASSERT(slot < max_requests, "a frame begins only while a slot is free");
  open_[slot] = {true, request.header, 0};
  ++open_count_;
  reserve(slot, frame_bytes_);
  request.slot = slot;
  begin_frame();
  return request;
}

void Session::begin_frame() {
  state_ = State::head;
  unsupported_ = false;
  skipped_header_.reset();
  head_.resize(prefix + min_body);
  head_have_ = 0;
  left_ = 0;
  frame_bytes_ = 0;
  data_.clear();
  slice_have_ = 0;
}

const RequestHeader& Session::header(Slot slot) const {
  SD_ASSERT(slot < max_requests && open_[slot].used, "a slot holds an open request");
  return open_[slot].header;
}

void Session::reserve(Slot slot, std::size_t bytes) {
  SD_ASSERT(slot < max_requests && open_[slot].used, "a slot holds an open request");
  open_[slot].bytes += bytes;
  open_bytes_ += bytes;
}

std::size_t Session::reserved(Slot slot) const {
  SD_ASSERT(slot < max_requests && open_[slot].used, "a slot holds an open request");
  return open_[slot].bytes;
}

void Session::close_slot(Slot slot) {
  open_bytes_ -= open_[slot].bytes;
  open_[slot] = {};
  --open_count_;
}

void Session::reply(Slot slot, const ResponseResult& result) {
  const RequestHeader& to = header(slot);
  const std::string answer = frame(encode_response({to.proto_ver, to.epoch, to.id, result}));
  out_.append_copy(answer);
  queued_ += answer.size();
  close_slot(slot);
}

void Session::reply_data(Slot slot, Payload data) {
  const RequestHeader& to = header(slot);
  const std::size_t size = total_size(data);
  const std::string head = encode_data_head(to.proto_ver, to.epoch, to.id, size);
  SD_ASSERT(head.size() + size <= limits::max_client_frame, "an answer fits into a frame");
  std::string length;
  BigEndianWriter(length).u32(static_cast<std::uint32_t>(head.size() + size));
  out_.append_copy(length);
  out_.append_copy(head);
  for (Slice& slice : data) out_.append(std::move(slice));
  queued_ += length.size() + head.size() + size;
  close_slot(slot);
}

}  // namespace sd::client
