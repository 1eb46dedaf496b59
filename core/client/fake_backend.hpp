// A node without a cluster, for tests and fuzzing: a real replicated state, disks in memory, and tickets that are
// answered when told to.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/client/service.hpp"

namespace sd::client {

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(BufferPool& pool) : pool_(pool) {
    status_.id = 1;
    status_.open = status_.member = status_.has_lease = status_.serving = true;
    status_.leader_id = 1;
    status_.space_total = 1000;
    status_.space_free = 600;
  }

  void join(NodeId id, std::uint32_t zone, bool up = true) {
    cluster::Member member;
    member.id = id;
    member.incarnation = 1;
    member.address = Endpoint::v4(10, 0, 0, static_cast<std::uint8_t>(id), 7000);
    member.zone = zone;
    member.vnodes = 128;
    apply(cluster::Join{member});
    if (!up) apply(cluster::Remove{id, 1, false});
  }
  cluster::Result apply(cluster::CommandBody body) {
    return state_.apply(state_.applied + 1, {0, 0, 0, std::move(body)});
  }

  bool is_current(Time) override { return current; }
  bool current = true;

  // Performs what was asked for so far.
  void work(Service& service, ServiceEffects& effects) {
    for (auto& [ticket, body] : std::exchange(proposed, {})) {
      const auto result = refuse_with != Status::ok ? cluster::Result{refuse_with} : apply(std::move(body));
      service.on_proposed(ticket, result, *this, effects);
    }
    for (auto& [ticket, request] : std::exchange(requested, {})) {
      done.push_back(request);
      done.back().data.clear();
      Payload data;
      if (refuse_with == Status::ok) perform(request, data);
      service.on_io(ticket, refuse_with, std::move(data), *this, effects);
    }
  }

  const cluster::State& state() const override { return state_; }
  NodeStatus status() const override { return status_; }
  std::uint8_t default_copies() const override { return 0; }
  std::uint64_t propose(cluster::CommandBody body) override {
    if (busy) return 0;
    proposed.emplace_back(++last_ticket_, std::move(body));
    return last_ticket_;
  }
  std::uint64_t io(IoRequest request) override {
    if (busy) return 0;
    requested.emplace_back(++last_ticket_, std::move(request));
    return last_ticket_;
  }
  Random& random() override { return random_; }

  bool busy = false;
  Status refuse_with = Status::ok;
  void forget_proposal(std::uint64_t ticket) override {
    std::erase_if(proposed, [&](const auto& proposal) { return proposal.first == ticket; });
  }
  std::vector<std::pair<std::uint64_t, cluster::CommandBody>> proposed;
  std::vector<std::pair<std::uint64_t, IoRequest>> requested;
  std::vector<IoRequest> done;  // without data
  std::string check_answer;     // to every check
  NodeStatus status_;
  cluster::State state_;

 private:
  // Bytes are kept by address; what was never written is zero.
  void perform(const IoRequest& request, Payload& data) {
    auto& disk = disks_[request.vid];
    switch (request.kind) {
      case IoRequest::Kind::check: data.push_back(pool_.copy_of(check_answer)); break;
      case IoRequest::Kind::read: {
        Slice slice = pool_.zeros(request.length);
        for (auto at = disk.lower_bound(request.offset);
             at != disk.end() && at->first < request.offset + request.length; ++at)
          slice.mutable_data()[at->first - request.offset] = at->second;
        data.push_back(std::move(slice));
        break;
      }
      case IoRequest::Kind::write: {
        std::uint64_t at = request.offset;
        for (const Slice& slice : request.data)
          for (const std::byte byte : slice.bytes()) {
            if (disk.size() < 4096) disk[at] = byte;
            ++at;
          }
        break;
      }
      case IoRequest::Kind::zero:
        disk.erase(disk.lower_bound(request.offset), disk.lower_bound(request.offset + request.length));
        break;
      case IoRequest::Kind::flush: break;
    }
  }

  BufferPool& pool_;
  Random random_{7};
  std::uint64_t last_ticket_ = 0;
  std::map<Vid, std::map<std::uint64_t, std::byte>> disks_;
};

}  // namespace sd::client
