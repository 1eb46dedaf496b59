#include "core/background/scrub.hpp"

#include <algorithm>

namespace sd {

namespace {
constexpr Time patience = seconds(60);  // an answer may be lost with a generation; the next pass comes by again
}  // namespace

std::optional<Oid> Scrub::next(Time now, const std::function<std::vector<Oid>()>& stored,
                               const std::function<bool(Oid)>& wanted, std::uint64_t bytes_read) {
  if (rate_ == 0 || now < next_at_) return {};
  if (under_way_) {
    if (now - object_began_ < patience) return {};
    under_way_ = false;
  }
  if (left_.empty()) {
    if (pass_began_ && now - *pass_began_ < every_) return {};
    pass_began_ = now;
    left_ = stored();
    std::ranges::reverse(left_);
    if (left_.empty()) ++passes_;
  }
  while (!left_.empty()) {
    const Oid oid = left_.back();
    left_.pop_back();
    if (!wanted(oid)) continue;
    under_way_ = true;
    object_began_ = now;
    bytes_before_ = bytes_read;
    return oid;
  }
  ++passes_;
  return {};
}

void Scrub::on_read(Status status, std::uint64_t bytes_read) {
  if (!under_way_) return;
  under_way_ = false;
  if (status == Status::ok || status == Status::damaged) ++objects_;
  next_at_ = object_began_ + (bytes_read - bytes_before_) * seconds(1) / rate_;
  if (left_.empty()) ++passes_;
}

}  // namespace sd
