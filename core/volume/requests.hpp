// What clients asked for: each request is answered once, when all its parts are done.
#pragma once
#include <string>
#include <vector>

#include "core/base/slot_table.hpp"
#include "core/volume/io.hpp"

namespace sd::volume_detail {

// A client's request, or a flush of recovery.
struct Io {
  std::uint64_t ticket = 0;
  IoRequest::Kind kind{};
  bool fua = false;       // a flush is still to follow
  bool internal = false;  // nobody to answer
  std::uint32_t parts_left = 0;
  Status status = Status::ok;            // the first that was not ok
  std::vector<Payload> parts;            // of a read over several objects, in order
  Payload payload;                       // of a read of one object
  std::uint64_t offset = 0, length = 0;  // of a map
};

class Requests {
 public:
  std::uint64_t insert(Io io) { return ios_.insert(std::move(io)); }
  Io* find(std::uint64_t id) { return ios_.find(id); }
  std::size_t size() const { return ios_.size(); }
  // True if that was the last part, and the request is to be finished or flushed.
  bool part_done(Io& io, std::uint32_t part, Status status, Payload&& payload) const;
  // The answer, and the end of the request.
  IoDone take_answer(std::uint64_t id);
  void erase(std::uint64_t id) { ios_.erase(id); }
  // Every request is answered with this; nothing is left.
  void drop(Status status, std::vector<IoDone>& done);

 private:
  SlotTable<Io> ios_;
};

}  // namespace sd::volume_detail
