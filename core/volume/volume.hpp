// One virtual disk at its owner: turns the requests of clients into versioned operations on the members of each object.
//
// The problem: copies on several nodes, any of which may die, stall or lose what it had not flushed, must look like one
// disk. Writing to all and reading from any is not enough: a gateway that dies between two sends leaves copies
// different, and then two reads can give two answers. The sketch of the answer:
// - All writes of a disk go through one owner at a time, which numbers each object's writes. Members take them in that
//   order only (core/replication/object_log.hpp).
// - Each change of the owner or of the members begins a new generation. The first time an object is touched in it, the
//   owner finds out which copy counts, and makes the others equal (core/replication/peering.hpp).
// - An object whose index entry was never set was never written: nobody is asked, reads are zeros (index.hpp).
//
// The volume itself cuts requests at the borders of objects, puts the parts' answers together, and hands each input to
// the machine that it belongs to.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/cluster/placement.hpp"
#include "core/peer/message.hpp"
#include "core/replication/object_log.hpp"
#include "core/volume/disk_check.hpp"
#include "core/volume/flushes.hpp"
#include "core/volume/index.hpp"
#include "core/volume/io.hpp"
#include "core/volume/requests.hpp"
#include "core/volume/sweep.hpp"

namespace sd {

struct VolumeEffects {
  std::vector<std::pair<NodeId, peer::ObjectRequest>> requests;  // also to this node itself
  // Status::stale: this node does not own the disk any more; nothing is known of the request's fate, ask the new owner.
  std::vector<IoDone> done;
  std::vector<std::string> notices;
};

class Volume final : private replication::OpOwner, private volume_detail::Index::Waiters {
 public:
  // state and placement are the node's, kept up to date by it; the volume must be told of each change by on_state.
  Volume(Time now, NodeId self, Vid vid, BufferPool& pool, const cluster::State& state,
         const cluster::Placement& placement, const replication::Limits& limits = {});

  // The request must lie inside the disk. Zero lengths are answered at once.
  void submit(Time now, std::uint64_t ticket, IoRequest&& request, VolumeEffects& out);
  void on_reply(Time now, NodeId from, peer::ObjectReply&& reply, VolumeEffects& out);
  // A member says that its copy is not whole any more, or never was.
  void on_lost_copy(Time now, Oid oid, VolumeEffects& out);
  void on_state(Time now, VolumeEffects& out);
  // False while the node holds no lease: reads wait, since another node may serve the disk by now.
  void set_serving(Time now, bool serving, VolumeEffects& out);
  void tick(Time now, VolumeEffects& out);
  Time next_deadline() const;

  // Makes every object redundant in the current generation, `budget` at a time; then it is `recovered`.
  void recover(Time now, std::size_t budget, VolumeEffects& out);
  bool recovered() const { return sweep_.done() && sweep_.generation() == context_.generation; }
  SweepProgress sweep() const;

  bool idle() const { return requests_.size() == 0; }
  std::size_t under_way() const { return requests_.size(); }
  std::uint64_t generation() const { return context_.generation; }
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const { return objects_.check_state(); }

 private:
  template <typename F>
  void enter(Time now, VolumeEffects& out, F&& work);
  // What others tell the volume.
  void finish(std::uint64_t op, Status status, Payload&& payload) override;
  void restored(Oid oid) override { check_.on_restored(oid); }
  void admit(std::uint64_t op) override;
  void answer_map(std::uint64_t io) override;
  void fail_map(std::uint64_t io, Status status) override { finish_part(io, 0, status, {}); }

  void begin(std::uint64_t io, IoRequest&& request);
  void split(std::uint64_t io, IoRequest&& request);
  void finish_part(std::uint64_t io, std::uint32_t part, Status status, Payload&& payload);
  void finish_io(std::uint64_t io);
  void start_flush(std::uint64_t io);
  void run_checks();
  void dispatch(replication::Op& op, NodeId from, peer::ObjectReply&& reply);
  void note_full(NodeId member, bool full);
  void begin_generation(std::uint64_t generation);
  void repeat_operations();
  void sweep_on(std::size_t budget);
  void touch(Oid oid);
  void give_up();

  bool owner_ = true;
  replication::Context context_;
  replication::ObjectLog objects_;
  volume_detail::Index index_;
  volume_detail::Flushes flushes_;
  volume_detail::DiskCheck check_;
  volume_detail::Requests requests_;
  Sweep sweep_;
  Time next_tick_ = never;
  std::vector<IoDone>* done_ = nullptr;  // of the input being handled
};

}  // namespace sd
