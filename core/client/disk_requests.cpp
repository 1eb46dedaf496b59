#include "core/client/disk_requests.hpp"

#include <utility>

#include "core/client/cluster_view.hpp"
#include "core/cluster/vdi_name.hpp"

namespace sd::client {

void DiskRequests::on(NewVdi& request) {
  if (request.base_vid != 0 || request.snap_id > live_snap_id) return call_.unsupported("clones and snapshots");
  if (request.copy_policy != 0) return call_.unsupported("erasure coding");
  create(request.name, request.vdi_size, request.copies);
}

void DiskRequests::on(VdiCreate& request) { create(request.name, request.size, request.copies); }

void DiskRequests::on(DelVdi& request) {
  // A request that names a snapshot must not delete the disk.
  if (live_version({}, request.snap_id)) remove(request.name);
}

void DiskRequests::on(VdiDelete& request) { remove(request.name); }

void DiskRequests::on(VdiResize& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi || !sized_well(request.size)) return;
  if (request.size < vdi->size)
    return call_.fail(SdError::invalid_parms, "VDI " + quoted(request.name) + " holds " + std::to_string(vdi->size) +
                                                  " bytes, and a VDI only grows");
  Waiting waiting;
  waiting.what = "resize VDI " + quoted(request.name);
  call_.propose(cluster::ResizeVdi{vdi->disk(), request.size}, std::move(waiting));
}

void DiskRequests::on(LockVdi& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi) return;
  if (!call_.locks().take(vdi->vid, request.lock_type, call_.backend.state()))
    return call_.fail(SdError::vdi_locked, "VDI " + quoted(request.name) + " is locked");
  call_.done(VdiId{vdi->vid, 0, vdi->copies});
}

void DiskRequests::on(ReleaseVdi& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi) return;
  call_.locks().release(vdi->vid);
  call_.done(Success{});
}

void DiskRequests::on(GetVdiInfo& request) {
  if (!call_.usable() || !live_version(request.tag, request.snap_id)) return;
  if (const cluster::Vdi* vdi = call_.live(request.name)) call_.done(VdiId{vdi->vid, 0, vdi->copies});
}

void DiskRequests::on(ReadVdis&) {
  if (!call_.usable()) return;
  std::vector<Vid> in_use;
  for (const auto& [vid, vdi] : call_.backend.state().vdis)
    if (!vdi.deleting) in_use.push_back(vid);
  call_.done_data({call_.pool().copy_of(vdi_bitmap(in_use))});
}

void DiskRequests::on(VdiList& request) {
  const cluster::State& state = call_.backend.state();
  if (!state.formatted && !call_.usable()) return;
  VdiPage page;
  const auto add = [&](const cluster::Vdi& vdi) {
    const cluster::Member* owner = state.member(vdi.owner);
    const std::string address = owner ? to_string(owner->address) : std::string();
    page.vdis.push_back({vdi.vid, vdi.name, vdi.size, vdi.copies, vdi.owner, address, vdi.deleting});
  };
  if (!request.name.empty()) {
    if (const cluster::Vdi* vdi = state.find(std::string_view(request.name)); vdi && vdi->vid >= request.first_vid)
      add(*vdi);
  } else {
    for (auto at = state.vdis.lower_bound(request.first_vid); at != state.vdis.end(); ++at) {
      if (page.vdis.size() == max_listed_vdis) {
        page.next_vid = at->first;
        break;
      }
      add(at->second);
    }
  }
  call_.done(Data{bincode::to_bytes(page)});
}

void DiskRequests::create(const std::string& name, std::uint64_t size, std::uint8_t copies) {
  if (!call_.usable() || !named_well(name) || !sized_well(size)) return;
  if (copies > limits::max_copies)
    return call_.fail(SdError::invalid_parms, "at most " + std::to_string(limits::max_copies) + " copies are possible");
  if (call_.backend.state().find(std::string_view(name)))
    return call_.fail(SdError::vdi_exist, "a VDI called " + quoted(name) + " exists already");
  const std::size_t zones = storing_zones(call_.backend.state(), true);
  if (copies > zones) {
    if (call_.own())
      return call_.fail(SdError::halt, std::to_string(copies) +
                                           " copies need nodes in as many zones, and the cluster has nodes in " +
                                           std::to_string(zones) + "; start more nodes or ask for fewer copies");
    copies = 0;  // the reference's `dog` asks for three on any cluster; the answer tells what it got
  }
  Waiting waiting;
  waiting.answer = Waiting::Answer::vdi;
  waiting.copies = copies;
  waiting.what = "create VDI " + quoted(name);
  call_.propose(cluster::CreateVdi{name, size, copies}, std::move(waiting));
}

void DiskRequests::remove(const std::string& name) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(name);
  if (!vdi) return;
  call_.locks().release(vdi->vid);
  Waiting waiting;
  waiting.what = "delete VDI " + quoted(name);
  call_.propose(cluster::DeleteVdi{vdi->disk()}, std::move(waiting));
}

bool DiskRequests::named_well(const std::string& name) {
  const std::string problem = cluster::name_problem(name);
  if (!problem.empty()) call_.fail(SdError::invalid_parms, problem);
  return problem.empty();
}

bool DiskRequests::sized_well(std::uint64_t size) {
  if (size > 0 && size <= limits::max_vdi_size && size % limits::sector_size == 0) return true;
  call_.fail(SdError::invalid_parms, "the size must be a multiple of 512, above 0 and at most 16 PiB");
  return false;
}

bool DiskRequests::live_version(const std::string& tag, std::uint32_t snap_id) {
  if (tag.empty() && snap_id <= live_snap_id) return true;
  call_.fail(SdError::no_tag, "this version has no snapshots");
  return false;
}

}  // namespace sd::client
