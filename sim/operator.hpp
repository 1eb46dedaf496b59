// An operator at work while other things go wrong: makes a disk, lets a guest use it, grows it, deletes it under the
// guest, makes it anew under the same name, and switches recovery off and on. A new disk reads as zeros, whatever was
// there before; what was written to it is there in the end.
#pragma once
#include <memory>
#include <vector>

#include "sim/admin.hpp"
#include "sim/guest.hpp"

namespace sd::sim {

class Operator {
 public:
  Operator(World& world, MachineId admin, MachineId guest);
  ~Operator();

  void begin();   // the cluster is ready
  void poll();    // every 20 ms or so
  void finish();  // nothing goes wrong any more: comes to an end
  bool idle() const { return step_ == Step::off || step_ == Step::over; }
  std::string waiting_for() const;
  // Of its own machines; false if it is none of them.
  bool on_timer(MachineId machine);
  Guest* guest() { return guest_.get(); }

 private:
  enum class Step : std::uint8_t { off, waiting, creating, working, growing, deleting, reading, over };
  struct Written {
    std::uint64_t first = 0;
    std::uint32_t count = 0;
  };

  std::uint64_t choose(std::uint64_t bound);
  void enter(Step step, Time length = 0);
  void order(const client::SdRequest& request);
  void create();
  void grow();
  void remove();
  void work();
  void read_back();
  void after_order();
  bool answered() const;  // every request of the guest
  void switch_recovery();

  World& world_;
  MachineId admin_id_, guest_id_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<Guest> guest_;
  Step step_ = Step::off;
  Time until_ = 0, next_ask_ = 0, next_switch_ = 0;
  bool finishing_ = false;
  bool deleted_ = true;   // there is no disk now
  bool doubtful_ = true;  // an order for a disk of this name may be carried out later
  std::string name_;
  std::uint32_t names_ = 0;
  std::uint64_t size_ = 0;
  std::vector<Written> written_;
  std::vector<std::size_t> asked_;
};

}  // namespace sd::sim
