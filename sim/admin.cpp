#include "sim/admin.hpp"

#include "sim/world.hpp"

namespace sd::sim {

namespace {
constexpr Time pause = milliseconds(50);
constexpr Time between_checks = milliseconds(700);

// A step of a check may take longer than anything else.
Time patience_for(const client::SdRequest& request) {
  return std::holds_alternative<client::VdiCheck>(request) ? seconds(20) : seconds(5);
}
}  // namespace

Admin::Admin(World& world, MachineId id) : world_(world), id_(id), out_(world.pool), buffer_(4096) {}

void Admin::start() {
  world_.network.process_started(id_, this);
  again(pause);
}

void Admin::join() {
  world_.network.process_started(id_, this);
  done_ = true;
}

void Admin::again(Time wait) {
  if (stream_ != 0) world_.network.close(id_, std::exchange(stream_, 0));
  out_.clear();
  in_.clear();
  wake_at_ = world_.now + wait;
  if (!done_) world_.wake_client(id_, wake_at_);
}

void Admin::on_timer() {
  if (done_ || world_.now < wake_at_) return;
  if (stream_ == 0)
    ask(next_);
  else if (world_.now >= asked_at_ + patience_for(next_))
    again(pause);
}

void Admin::keep_checking() {
  checks_ = true;
  done_ = false;
  next_ = client::VdiCheck{"vol0", 0};
  again(pause);
}

void Admin::on_checked(const client::SdResponse& response) {
  const auto* data = std::get_if<client::Data>(&response.result);
  if (!data) return again(pause);
  const auto report = client::bincode::from_bytes<client::VdiCheckReport>(data->bytes);
  auto& asked = std::get<client::VdiCheck>(next_);
  if (!report || report->next > report->end || !report->gets_on_from(asked.first)) {
    world_.fail(Violation::Class::safety, "a check of a disk does not get on");
    return;
  }
  all_well_ = all_well_ && report->lost == 0 && report->unchecked == 0;
  asked.first = report->next;
  if (report->next < report->end) return again(1);
  world_.trace("admin", "checked " + asked.name);
  if (++checked_ == world_.config.vdis) {
    passes_ += all_well_;
    all_well_ = true;
    checked_ = 0;
  }
  asked = {"vol" + std::to_string(checked_), 0};
  again(checked_ == 0 ? between_checks : pause);
}

void Admin::order(const client::SdRequest& request, std::optional<MachineId> node) {
  next_ = request;
  node_ = node;
  ordered_ = true;
  asks_ = 0;
  done_ = false;
  reply_.reset();
  again(1);
}

void Admin::ask(const client::SdRequest& request) {
  client::RequestHeader header;
  header.id = ++last_stream_;
  ++asks_;
  out_.append_copy(client::frame(client::encode_request(header, request)));
  stream_ = last_stream_;
  asked_at_ = world_.now;
  const auto any = static_cast<MachineId>(world_.decisions.choose(Site::admin, world_.nodes.size()));
  world_.network.dial(id_, stream_, node_.value_or(any), Service::client);
  wake_at_ = world_.now + patience_for(next_);
  world_.wake_client(id_, wake_at_);
}

void Admin::decide(const client::ClusterReport& report) {
  std::uint32_t up = 0;
  for (const client::NodeEntry& node : report.nodes) up += node.up;
  next_ = client::ClusterStatus{};
  trouble_ = "nodes up: " + std::to_string(up) + "; " + report.trouble;
  if (up < world_.config.nodes) return;
  if (!report.formatted) {
    next_ = client::MakeFs{static_cast<std::uint8_t>(world_.config.copies), 0, 0, "plain"};
  } else if (made_ < world_.config.vdis) {
    client::VdiCreate create;
    create.name = "vol" + std::to_string(made_);
    create.size = world_.config.workload.vdi_sectors * 512;
    next_ = create;
  } else if (report.serving) {
    done_ = true;
    world_.trace("admin", "the cluster is ready");
  }
}

void Admin::answer(const client::SdResponse& response) {
  if (checks_) return on_checked(response);
  if (ordered_) {
    reply_ = response;
    done_ = true;
    return again(0);
  }
  if (const auto* failure = std::get_if<client::Failure>(&response.result)) {
    trouble_ = failure->message;
    // (A format may find that there is one, too: the node asked before had not heard of it.)
    if (failure->error == client::SdError::vdi_exist && std::holds_alternative<client::VdiCreate>(next_)) ++made_;
    next_ = client::ClusterStatus{};
    return again(pause);
  }
  if (std::holds_alternative<client::VdiId>(response.result)) {
    ++made_;
    next_ = client::ClusterStatus{};
    return again(1);
  }
  if (const auto* data = std::get_if<client::Data>(&response.result)) {
    const auto report = client::bincode::from_bytes<client::ClusterReport>(data->bytes);
    if (!report) {
      world_.fail(Violation::Class::safety, "a cluster report cannot be read");
      return;
    }
    decide(*report);
    return again(std::holds_alternative<client::ClusterStatus>(next_) ? pause : 1);
  }
  next_ = client::ClusterStatus{};
  again(1);
}

void Admin::dialed(StreamId stream, DialResult result) {
  if (stream != stream_ || result == DialResult::connected) return;
  stream_ = 0;
  again(pause);
}

std::span<std::byte> Admin::receive_buffer(StreamId) { return buffer_; }

void Admin::received(StreamId stream, std::size_t bytes) {
  if (stream != stream_) return;
  in_.append(reinterpret_cast<const char*>(buffer_.data()), bytes);
  if (in_.size() < 4) return;
  BigEndianReader reader(in_);
  const std::uint32_t size = reader.u32();
  if (in_.size() < 4 + std::size_t{size}) return;
  const auto response = client::decode_response(std::string_view(in_).substr(4, size));
  if (!response) {
    world_.fail(Violation::Class::safety, "a node answers the operator with bytes that cannot be read");
    return;
  }
  answer(*response);
}

OutQueue* Admin::output(StreamId stream) { return stream == stream_ ? &out_ : nullptr; }

void Admin::closed(StreamId stream) {
  if (stream != stream_) return;
  stream_ = 0;
  again(pause);
}

}  // namespace sd::sim
