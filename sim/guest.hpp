// A virtual machine's view of one VDI: a disk behind NBD, used hard. Several requests in flight over few hot regions,
// so that they collide; when the connection fails, or an answer takes too long, it goes on through another node.
// Everything it does and sees is told to the VDI's model.
#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/nbd/client.hpp"
#include "sim/config.hpp"
#include "sim/device_model.hpp"
#include "sim/network.hpp"

namespace sd::sim {

class World;

class Guest final : public Host {
 public:
  Guest(World& world, MachineId id, std::uint32_t number, std::uint32_t vdi, DeviceModel& model,
        std::optional<Site> site = {});

  void start();
  void on_timer();
  void stop_new_work() { working_ = false; }
  // Reads every region once, and again what failed, until all of it was answered.
  void begin_read_back();
  void begin_flush();  // likewise one flush
  bool idle() const { return open_.empty() && script_.empty() && asks_.empty() && (!working_ || issued_ >= quota_); }
  void change_gateway();  // drops the connection, whatever is in flight
  void change_gateway(MachineId to);
  void take_nothing(bool on);  // of what is sent to it, while on

  // --- For scripts: this guest does nothing by itself
  // Speaks with this node only, of the disk of that name, whatever happens.
  void start_at(MachineId node);
  void pin(MachineId node);                        // likewise from now on, with another node
  void judge_asks(bool on) { judges_asks_ = on; }  // errors of what it is asked for count as those of its own work
  void attach(std::string export_name, DeviceModel& model);
  bool started() const { return pinned_.has_value(); }
  // Asks once, when it is connected; the number is for `answer`. Not repeated if the connection ends.
  std::size_t ask(OpClass kind, std::uint64_t first, std::uint32_t count);
  enum class Answer : std::uint8_t {
    pending,
    ok,
    error,    // the other side said so
    unknown,  // the connection ended first
  };
  Answer answer(std::size_t number) const { return answers_[number]; }
  // Of the last block status that was asked for so and answered.
  const std::vector<nbd::Extent>& extents() const { return extents_; }

  const std::string& name() const { return name_; }
  MachineId id() const { return id_; }
  std::string waiting_for() const;  // in words
  std::uint64_t operations() const { return operations_; }
  std::uint64_t errors() const { return errors_; }

  // Host
  StreamId accept(Service) override { return 0; }
  void dialed(StreamId stream, DialResult result) override;
  std::span<std::byte> receive_buffer(StreamId stream) override;
  void received(StreamId stream, std::size_t bytes) override;
  OutQueue* output(StreamId stream) override;
  void drained(StreamId) override {}
  void closed(StreamId stream) override;

 private:
  struct Op {
    std::uint64_t handle = 0;
    OpId id = 0;
    OpClass kind{};
    std::uint64_t first = 0;
    std::uint32_t count = 0;
    bool scripted = false;
    Time began = 0;
    std::size_t asked = no_ask;
  };
  struct Task {
    OpClass kind{};
    std::uint64_t first = 0;
    std::uint32_t count = 0;
    std::size_t asked = no_ask;
  };
  static constexpr std::size_t no_ask = SIZE_MAX;
  static constexpr std::uint32_t read_back_piece = 256, least_piece = 8;  // sectors

  std::uint64_t choose(std::uint64_t bound);
  void connect();
  void drop(const char* why);
  void work();
  void issue(Task task, bool scripted);
  void ask_for_less();
  Task draw_task();
  void take(nbd::ClientEffects& effects);
  void complete(nbd::Completion& completion);
  void wake(Time at);

  World& world_;
  MachineId id_;
  std::uint32_t number_;
  std::string export_name_;
  std::string name_;
  DeviceModel* model_;
  Site site_;
  std::unique_ptr<nbd::Client> client_;
  nbd::ClientEffects effects_;
  StreamId stream_ = 0;  // 0: not connected
  StreamId last_stream_ = 0;
  Time connecting_since_ = 0;
  Time retry_at_ = 0;
  Time next_issue_ = 0;
  Time wake_at_ = never;
  MachineId gateway_ = 0;
  bool working_ = true;
  bool takes_nothing_ = false;
  bool judges_asks_ = false;
  std::uint32_t quota_;
  std::uint32_t issued_ = 0;
  std::vector<Op> open_;
  std::vector<Task> script_;                                     // from the back ...
  std::uint32_t script_piece_ = read_back_piece, script_depth_;  // ... in such pieces, so many at once
  std::deque<Task> asks_;
  std::vector<Answer> answers_;
  std::vector<nbd::Extent> extents_;
  std::optional<MachineId> pinned_;
  std::uint64_t operations_ = 0, errors_ = 0;
};

}  // namespace sd::sim
