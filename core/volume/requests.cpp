#include "core/volume/requests.hpp"

#include <iterator>

#include "core/base/assert.hpp"

namespace sd::volume_detail {

bool Requests::part_done(Io& io, std::uint32_t part, Status status, Payload&& payload) const {
  if (status != Status::ok && io.status == Status::ok) io.status = status;
  if (io.parts.empty())
    io.payload = std::move(payload);
  else
    io.parts[part] = std::move(payload);
  SD_ASSERT(io.parts_left > 0, "each part of a request ends once");
  return --io.parts_left == 0;
}

IoDone Requests::take_answer(std::uint64_t id) {
  Io& io = *ios_.find(id);
  IoDone done{io.ticket, io.status, {}};
  if (io.status == Status::ok && io.kind == IoRequest::Kind::read) {
    done.payload = std::move(io.payload);
    for (auto& part : io.parts)
      done.payload.insert(done.payload.end(), std::make_move_iterator(part.begin()),
                          std::make_move_iterator(part.end()));
  } else if (io.kind == IoRequest::Kind::map || io.kind == IoRequest::Kind::check) {
    done.payload = std::move(io.payload);
  }
  ios_.erase(id);
  return done;
}

void Requests::drop(Status status, std::vector<IoDone>& done) {
  ios_.each([&](std::uint64_t, Io& io) {
    if (!io.internal) done.push_back({io.ticket, status, {}});
  });
  ios_ = {};
}

}  // namespace sd::volume_detail
