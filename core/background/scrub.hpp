// Reads every object of a node, one after the other, pass after pass, so that damage is found while others have good
// blocks. The replica repairs what is damaged; this class chooses the next object and keeps the rate.
//
// The rate is kept from object to object: after one of so many bytes comes a pause as long as these may take.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/status.hpp"
#include "core/base/time.hpp"

namespace sd {

class Scrub {
 public:
  // Bytes per second, 0 for no scrub; and from the beginning of one pass to that of the next.
  Scrub(std::uint64_t rate, Time every) : rate_(rate), every_(every) {}

  // The object that is to be read now, if any; its answer is awaited from then on. `stored`: the objects of this node,
  // in ascending order, asked for once for each pass. `wanted`: false for objects of disks that are gone. `bytes_read`:
  // by all scrubbing so far.
  std::optional<Oid> next(Time now, const std::function<std::vector<Oid>()>& stored,
                          const std::function<bool(Oid)>& wanted, std::uint64_t bytes_read);
  void on_read(Status status, std::uint64_t bytes_read);

  std::uint64_t passes() const { return passes_; }
  std::uint64_t objects() const { return objects_; }                // read
  std::uint64_t left() const { return left_.size() + under_way_; }  // of the pass

 private:
  std::uint64_t rate_;
  Time every_;
  std::vector<Oid> left_;  // of the pass, in descending order
  bool under_way_ = false;
  Time next_at_ = 0, object_began_ = 0;
  std::optional<Time> pass_began_;
  std::uint64_t bytes_before_ = 0;
  std::uint64_t passes_ = 0, objects_ = 0;
};

}  // namespace sd
