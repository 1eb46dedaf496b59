// The guests of the small data plane (sim/data_plane.hpp): what they ask for, and what answers they may get.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/random.hpp"
#include "core/volume/io.hpp"
#include "sim/device_model.hpp"

namespace sd::sim {

class DataGuests {
 public:
  // Why a guest may see an error.
  struct Excuses {
    bool no_room = false;
    bool lost_blocks = false;  // blocks are damaged, and members with good ones may be away
    bool forgotten = false;    // members remember few writes
    bool damage = false;       // a check may count damaged blocks
  };
  // `objects`: the data objects that are used, in order; `ends`: their last blocks too.
  DataGuests(Vid vid, std::uint64_t seed, std::vector<std::uint32_t> objects, std::uint64_t disk_objects, bool ends,
             const Excuses& excuses, BufferPool& pool);

  struct Asked {
    std::uint64_t ticket = 0;
    IoRequest request;
    std::string text;
  };
  // A new request, which enters at that node.
  Asked ask(NodeId gateway);
  // A read of everything that may have been written, piece by piece.
  std::vector<Asked> ask_all(NodeId gateway);
  Asked ask_flush(NodeId gateway);
  // An answer; empty, or what is wrong with it. `waited`: somebody may have waited for a member in vain.
  std::string answer(const IoDone& done, bool waited);

  // The gateway's process is gone, and with it whoever asked there.
  void gateway_died(NodeId gateway);
  void all_lost_power() { model_.power_lost(); }
  void members_lost_power() { model_.members_lost_power(); }
  // Whoever asked is gone: 0, or the ticket of a request to abandon at the gateway.
  std::uint64_t hang_up(NodeId gateway);

  std::size_t waiting() const { return pending_.size(); }
  std::string waiting_text() const;
  const std::vector<std::uint32_t>& objects() const { return objects_; }
  std::uint64_t answers() const { return answers_; }
  std::uint64_t refusals() const { return refusals_; }
  const DeviceModel& model() const { return model_; }
  // In bytes of an object: what of it guests use.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> used_ranges() const;

 private:
  struct Area {
    std::uint64_t first = 0;
    std::uint32_t count = 0;
  };
  struct Pending {
    NodeId gateway = 0;
    IoRequest::Kind kind{};
    std::vector<OpId> ops;  // one; of a map: one for each area
    // of a map: the bit of each area, and its sectors
    std::vector<std::pair<std::uint32_t, std::uint32_t>> bits;
    std::string text;
  };
  Asked begin(NodeId gateway, IoRequest::Kind kind, Area area, bool fua);
  Asked begin_map(NodeId gateway);
  Asked begin_check(NodeId gateway);
  Area some_area();
  std::vector<Area> areas_of(std::uint32_t object) const;
  std::string judge_error(const Pending& pending, Status status, bool waited);
  void end(const Pending& pending, const IoDone& done);
  std::string judge_check(const IoDone& done) const;

  Vid vid_;
  Random random_;
  std::vector<std::uint32_t> objects_;
  std::uint64_t disk_objects_;
  bool ends_;
  Excuses excuses_;
  BufferPool& pool_;
  DeviceModel model_;
  std::map<std::uint64_t, Pending> pending_;  // by ticket
  std::uint64_t last_ticket_ = 0;
  std::uint64_t answers_ = 0, refusals_ = 0;
};

}  // namespace sd::sim
