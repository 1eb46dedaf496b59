// The operator at the start of a run, as `dog` would do it: waits until every node is up, formats the cluster and makes the VDIs. Asks
// any node, and asks again until it is done.
#pragma once
#include <optional>
#include <string>

#include "core/base/out_queue.hpp"
#include "core/client/protocol.hpp"
#include "sim/network.hpp"

namespace sd::sim {

class World;

class Admin final : public Host {
 public:
  Admin(World& world, MachineId id);
  void start();
  void on_timer();
  // Asks a node (or any) for this until one has answered. `done` again from then on, and `reply` is what it said.
  void order(const client::SdRequest& request, std::optional<MachineId> node);
  const std::optional<client::SdResponse>& reply() const { return reply_; }
  bool done() const { return done_; }
  const std::string& trouble() const { return trouble_; }

  // Host
  StreamId accept(Service) override { return 0; }
  void dialed(StreamId stream, DialResult result) override;
  std::span<std::byte> receive_buffer(StreamId stream) override;
  void received(StreamId stream, std::size_t bytes) override;
  OutQueue* output(StreamId stream) override;
  void drained(StreamId) override {}
  void closed(StreamId stream) override;

 private:
  void ask(const client::SdRequest& request);
  void answer(const client::SdResponse& response);
  void decide(const client::ClusterReport& report);
  void again(Time pause);

  World& world_;
  MachineId id_;
  OutQueue out_;
  StreamId stream_ = 0;
  StreamId last_stream_ = 0;
  Time wake_at_ = 0;
  Time asked_at_ = 0;
  client::SdRequest next_ = client::ClusterStatus{};
  std::string in_;
  std::vector<std::byte> buffer_;
  std::string trouble_;
  std::uint32_t made_ = 0;
  bool done_ = false;
  bool ordered_ = false;
  std::optional<MachineId> node_;  // the one to ask; nothing: any
  std::optional<client::SdResponse> reply_;
};

}  // namespace sd::sim
