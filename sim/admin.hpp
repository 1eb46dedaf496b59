// The operator, as `dog` would do it. At the start of a run: waits until every node is up, formats the cluster and
// makes the VDIs. In some runs checks the disks from then on. Asks any node, and asks again until it is done.
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
  void join();  // as one who only does what it is ordered
  void on_timer();
  // Asks a node (or any) for this until one has answered. `done` again from then on, and `reply` is what it said.
  void order(const client::SdRequest& request, std::optional<MachineId> node);
  // Checks all disks again and again from now on, and never is done.
  void keep_checking();
  std::uint64_t passes() const { return passes_; }  // over all disks, that left nothing wrong
  const std::optional<client::SdResponse>& reply() const { return reply_; }
  // The last order was carried out once at most: it was not asked for again.
  bool asked_once() const { return asks_ == 1; }
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
  void on_checked(const client::SdResponse& response);
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
  bool checks_ = false;
  std::uint32_t asks_ = 0;     // for this order
  std::uint32_t checked_ = 0;  // disks, in this pass
  bool all_well_ = true;       // likewise
  std::uint64_t passes_ = 0;
  std::optional<MachineId> node_;  // the one to ask; nothing: any
  std::optional<client::SdResponse> reply_;
};

}  // namespace sd::sim
