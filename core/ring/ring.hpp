// The consistent-hash ring: which members hold an object.
//
// Every member has `vnodes` points on a circle of 64-bit numbers; an object's copies go to the first members found
// clockwise from the object's own number, one for each zone. A member that joins or leaves moves only the objects next
// to its own points. A pure function of the member list: every node computes the same answer. Copies share the points,
// which never change.
//
// Point and object hashes are the original Sheepdog's (FNV-1a, hashed twice); node seeds hash the member's identity.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <boost/container/small_vector.hpp>

#include "core/base/ids.hpp"

namespace sd {

using ActingSet = boost::container::small_vector<NodeId, 4>;

struct RingNode {
  NodeId id = 0;
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 0;
};

class Ring {
 public:
  Ring() = default;
  explicit Ring(std::span<const RingNode> nodes);

  // The members that hold `oid`, the first being the one to read from by preference: at most `copies`, fewer when there
  // are fewer zones.
  ActingSet locate(Oid oid, std::size_t copies) const;
  bool empty() const { return !points_; }
  std::size_t zones() const { return zones_; }

 private:
  struct Point {
    std::uint64_t hash;
    NodeId id;
    std::uint32_t zone;
  };
  std::shared_ptr<const std::vector<Point>> points_;  // by hash, ties by id; null if there is none
  std::size_t zones_ = 0;
};

}  // namespace sd
