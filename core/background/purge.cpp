#include "core/background/purge.hpp"

#include "core/base/sim_bug.hpp"

namespace sd {

void Purge::tick(const cluster::State& state, const std::function<std::vector<Oid>()>& stored,
                 const std::function<bool(Vid)>& busy, std::vector<peer::ObjectRequest>& out) {
  std::erase_if(disks_, [&](const auto& entry) {
    const auto* vdi = state.find(entry.first);
    return !vdi || !vdi->deleting;
  });
  for (const auto& [vid, vdi] : state.vdis) {
    if (!vdi.deleting) continue;
    Disk& disk = disks_[vid];
    if (disk.done) continue;
    if (disk.left.empty() && disk.under_way == 0) {
      if (busy(vid) && !SD_BUG(purge_once)) continue;
      for (const Oid oid : stored())
        if (oid.vid() == vid) disk.left.push_back(oid);
      disk.done = disk.left.empty() || SD_BUG(purge_once);
    }
    while (!disk.left.empty() && disk.under_way < at_once) {
      peer::ObjectRequest& request = out.emplace_back();
      request.op = peer::ObjectRequest::Op::remove;
      request.vid = vid;
      request.generation = state.generation(vid);
      request.oid = disk.left.back();
      disk.left.pop_back();
      ++disk.under_way;
    }
  }
}

void Purge::on_removed(Vid vid) {
  if (const auto at = disks_.find(vid); at != disks_.end() && at->second.under_way > 0) --at->second.under_way;
}

bool Purge::done(Vid vid) const {
  const auto at = disks_.find(vid);
  return at != disks_.end() && at->second.done;
}

std::vector<Vid> Purge::done_disks(std::size_t most) const {
  std::vector<Vid> vids;
  for (const auto& [vid, disk] : disks_)
    if (disk.done && vids.size() < most) vids.push_back(vid);
  return vids;
}

}  // namespace sd
