// One node alone, step by step.
#include "core/node/node.hpp"

#include <gtest/gtest.h>

#include "core/store/memory_disk.hpp"

namespace sd {
namespace {

// A node of its own cluster on an empty disk, that is told to stop when it has seen `operations` of its disk done.
class Starting {
 public:
  Starting() : node_(options(), pool_, 1) { node_.start(now_, fx_); }

  bool run(std::size_t operations) {
    for (; operations > 0 && step(); --operations) {
    }
    node_.stop(now_, fx_);
    while (!node_.stopped() && step()) {
    }
    // A driver may hand in what was under way before it looks again.
    const bool stopped = node_.stopped();
    submit();
    while (disk_.in_flight() > 0 && step()) {
    }
    return stopped && node_.stopped() && node_.fatal().empty();
  }

 private:
  static NodeOptions options() {
    NodeOptions o;
    o.address = Endpoint::v4(127, 0, 0, 1, 7000);
    o.local_only = true;
    o.journal_bytes = 1u << 20;
    return o;
  }
  void submit() {
    for (DiskOp& op : fx_.disk) disk_.submit(std::move(op));
    fx_.disk.clear();
  }
  bool step() {
    submit();
    if (disk_.in_flight() > 0) {
      node_.on_disk(now_, disk_.complete_any(), fx_);
      return true;
    }
    if (node_.next_deadline() == never) return false;
    now_ = std::max(now_, node_.next_deadline());
    node_.tick(now_, fx_);
    return now_ < seconds(60);
  }

  BufferPool pool_;
  testing::MemoryDisk disk_{pool_, 1};
  Effects fx_;
  Time now_ = seconds(1);
  Node node_;
};

TEST(Node, StopsWheneverItIsToldTo) {
  for (std::size_t operations = 0; operations < 120; ++operations) {
    Starting node;
    EXPECT_TRUE(node.run(operations)) << "told after " << operations << " operations";
  }
}

}  // namespace
}  // namespace sd
