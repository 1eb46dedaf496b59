// A run as one web page without anything outside it: time downwards, a lane for each node and guest, marks for what
// happens, lines for bytes that travel; it can be filtered by words and zoomed.
#pragma once
#include <string>
#include <vector>

#include "sim/world.hpp"

namespace sd::sim {

class TracePage final : public TraceSink {
 public:
  void line(Time at, std::string_view lane, std::string_view text) override;
  void message(MachineId from, MachineId to, Time sent, Time arrived, std::size_t bytes) override;
  std::string html(const std::string& title, const Report& report) const;

 private:
  struct Mark {
    Time at;
    std::uint32_t lane;
    std::string text;
  };
  struct Message {
    MachineId from, to;
    Time sent, arrived;
    std::size_t bytes;
  };
  std::uint32_t lane_number(std::string_view lane);

  std::vector<std::string> lanes_;
  std::vector<Mark> marks_;
  std::vector<Message> messages_;
};

}  // namespace sd::sim
