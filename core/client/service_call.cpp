#include "core/client/service_call.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "core/base/assert.hpp"
#include "core/cluster/vdi_name.hpp"
#include "core/volume/check.hpp"

namespace sd::client {

namespace {

constexpr const char* store_name = "plain";
// The number that clients of the reference give to a disk that is not a snapshot; 0 means the same.
constexpr std::uint32_t live_snap_id = 1;

std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

std::size_t storing_zones(const cluster::State& state, bool also_down) {
  std::set<std::uint32_t> zones;
  for (const auto& [id, member] : state.members)
    if (member.vnodes > 0 && (member.up || also_down)) zones.insert(member.zone);
  return zones.size();
}

std::vector<SdNode> node_list(const cluster::State& state, const NodeStatus& status) {
  std::vector<SdNode> nodes;
  for (const auto& [id, member] : state.members)
    if (member.up)
      nodes.push_back({member.address, member.vnodes, member.zone, id == status.id ? status.space_total : 0, {}});
  return nodes;
}

// Addresses of those without whom the cluster, or some of its data, cannot go on.
std::vector<std::string> waits_for(const Backend& backend) {
  std::vector<NodeId> ids = backend.unreachable_voters();
  if (ids.empty()) ids = backend.state().missing();
  std::vector<std::string> addresses;
  for (const NodeId id : ids) {
    const cluster::Member* member = backend.state().member(id);
    addresses.push_back(member ? to_string(member->address) : backend.name_of(id));
  }
  return addresses;
}

std::size_t members_up(const cluster::State& state) {
  return static_cast<std::size_t>(
      std::ranges::count_if(state.members, [](const auto& entry) { return entry.second.up; }));
}

}  // namespace

// What fails, and what is answered from the state, may need less: it is given back with the answer.
std::size_t answer_size(const SdRequest& request, const cluster::State& state) {
  constexpr std::size_t max_inode = max_inline_objects * 4 + 1024;
  if (const auto* read = std::get_if<VdiRead>(&request)) return read->length <= max_io ? read->length : 0;
  if (const auto* read = std::get_if<ReadObj>(&request)) {
    const std::size_t whole = (read->oid & Oid::inode_bit) != 0 ? max_inode : limits::object_size;
    return read->length == 0 ? whole : std::min<std::size_t>(read->length, whole);
  }
  if (std::holds_alternative<ReadVdis>(request)) return (std::size_t{max_vid} + 1) / 8;
  if (const auto* list = std::get_if<VdiList>(&request); list && list->name.empty()) {
    constexpr std::size_t rest_of_entry = 96;  // numbers and an address
    std::size_t bytes = 0, entries = 0;
    for (auto at = state.vdis.lower_bound(list->first_vid); at != state.vdis.end() && entries < max_listed_vdis; ++at) {
      bytes += rest_of_entry + at->second.name.size();
      ++entries;
    }
    return bytes;
  }
  return 0;
}

// --- Helpers

void Service::Call::run(Session::Request& request) {
  if (header.proto_ver > own_version)
    return fail(SdError::ver_mismatch, "this daemon speaks protocol versions up to 16; update it");
  if (request.malformed) return fail(SdError::invalid_parms, "the request is malformed");
  std::visit(
      [&]<typename T>(T& body) {
        if (T::number >= first_own_variant && !own() && !std::is_same_v<T, Unsupported>)
          fail(SdError::no_support, {});
        else
          on(body);
      },
      request.request);
}

void Service::Call::unsupported(const char* what) {
  fail(SdError::no_support, std::string(what) + ": not supported by this version");
}

bool Service::Call::usable() {
  if (!backend.state().formatted) {
    // After a start nothing of the log is known to be committed before there is a leader.
    if (backend.status().leader_id == 0)
      fail(SdError::again, "the node has reached no majority since it started, and cannot know what the cluster holds");
    else
      fail(SdError::wait_for_format, "the cluster is not formatted; run `dog cluster format`");
    return false;
  }
  if (backend.state().shut_down) {
    fail(SdError::shutdown, "the cluster is shut down; start its sheep again");
    return false;
  }
  return true;
}

const cluster::Vdi* Service::Call::live(Vid vid) {
  const cluster::Vdi* vdi = backend.state().find(vid);
  if (vdi && !vdi->deleting) return vdi;
  fail(SdError::no_vdi, "no VDI has number " + std::to_string(vid));
  return nullptr;
}

const cluster::Vdi* Service::Call::live(const std::string& name) {
  const cluster::Vdi* vdi = backend.state().find(std::string_view(name));
  if (!vdi) fail(SdError::no_vdi, "no VDI is called " + quoted(name) + "; `dog vdi list` shows those there are");
  return vdi;
}

bool Service::Call::named_well(const std::string& name) {
  const std::string problem = cluster::name_problem(name);
  if (!problem.empty()) fail(SdError::invalid_parms, problem);
  return problem.empty();
}

bool Service::Call::in_range(const cluster::Vdi& vdi, std::uint64_t offset, std::uint64_t length) {
  if (offset <= vdi.size && length <= vdi.size - offset) return true;
  fail(SdError::invalid_parms, "the range ends behind the VDI, which holds " + std::to_string(vdi.size) + " bytes");
  return false;
}

bool Service::Call::live_version(const std::string& tag, std::uint32_t snap_id) {
  if (tag.empty() && snap_id <= live_snap_id) return true;
  fail(SdError::no_tag, "this version has no snapshots");
  return false;
}

void Service::Call::propose(cluster::CommandBody body, Waiting waiting) {
  waiting.stream = stream;
  waiting.slot = slot;
  const std::uint64_t ticket = backend.propose(std::move(body));
  if (ticket == 0) return fail(SdError::again, waiting.what + ": " + std::string(to_string(Status::busy)));
  const bool fresh = service.proposals_.emplace(ticket, std::move(waiting)).second;
  SD_ASSERT(fresh, "a ticket names one proposal");
}

void Service::Call::io(IoRequest request, Waiting waiting) {
  waiting.stream = stream;
  waiting.slot = slot;
  const std::uint64_t ticket = backend.io(std::move(request));
  if (ticket == 0) return fail(SdError::again, waiting.what + ": " + std::string(to_string(Status::busy)));
  const bool fresh = service.ios_.emplace(ticket, std::move(waiting)).second;
  SD_ASSERT(fresh, "a ticket names one request");
}

// --- Objects

void Service::Call::write_object(std::uint64_t value, std::uint32_t offset, Payload data) {
  const Oid oid{value};
  const std::size_t length = total_size(data);
  if (!usable()) return;
  // Inodes are made from the cluster's state here; clients have no say in them.
  if (!oid.is_data()) return fail(SdError::read_only, "clients write data objects only");
  const cluster::Vdi* vdi = live(oid.vid());
  if (!vdi) return;
  const std::uint64_t start = std::uint64_t{oid.index()} * limits::object_size + offset;
  if (offset > limits::object_size || length > limits::object_size - offset)
    return fail(SdError::invalid_parms, "the range crosses objects");
  if (!in_range(*vdi, start, length)) return;
  if (length == 0) return done(Obj{vdi->copies, offset});
  IoRequest request{IoRequest::Kind::write, vdi->vid, start, static_cast<std::uint32_t>(length), false,
                    std::move(data)};
  Waiting waiting;
  waiting.answer = Waiting::Answer::obj;
  waiting.copies = vdi->copies;
  waiting.offset = offset;
  waiting.what = "write to VDI " + quoted(vdi->name);
  io(std::move(request), std::move(waiting));
}

void Service::Call::zero_object(std::uint64_t value, std::uint32_t offset, std::uint32_t length, Waiting waiting) {
  const Oid oid{value};
  if (!usable()) return;
  if (!oid.is_data()) return fail(SdError::read_only, "clients change data objects only");
  const cluster::Vdi* vdi = live(oid.vid());
  if (!vdi) return;
  const std::uint64_t base = std::uint64_t{oid.index()} * limits::object_size;
  if (offset > limits::object_size || length > limits::object_size - offset)
    return fail(SdError::invalid_parms, "the range crosses objects");
  if (base >= vdi->size) return fail(SdError::no_obj, "the object lies behind the end of the VDI");
  waiting.copies = vdi->copies;
  waiting.offset = offset;
  waiting.what = "discard in VDI " + quoted(vdi->name);
  const std::uint64_t inside =
      std::min<std::uint64_t>(length, vdi->size - base > offset ? vdi->size - base - offset : 0);
  if (inside == 0)
    return done(waiting.answer == Waiting::Answer::obj ? ResponseResult(Obj{vdi->copies, offset})
                                                       : ResponseResult(Success{}));
  io({IoRequest::Kind::zero, vdi->vid, base + offset, static_cast<std::uint32_t>(inside), false, {}},
     std::move(waiting));
}

void Service::Call::on(CreateAndWriteObj& request) {
  if (request.cow_oid != 0) return unsupported("copy on write");
  if (request.copy_policy != 0) return unsupported("erasure coding");
  write_object(request.oid, request.offset, std::move(request.data));
}

void Service::Call::on(WriteObj& request) { write_object(request.oid, request.offset, std::move(request.data)); }

void Service::Call::on(RemoveObj& request) { zero_object(request.oid, 0, limits::object_size, {}); }

void Service::Call::on(DiscardObj& request) {
  Waiting waiting;
  waiting.answer = Waiting::Answer::obj;
  zero_object(request.oid, request.offset, request.length, std::move(waiting));
}

void Service::Call::on(ReadObj& request) {
  const Oid oid{request.oid};
  if (!usable()) return;
  if ((oid.value & Oid::type_bits) == Oid::inode_bit) return read_inode(oid, request.offset, request.length);
  if (!oid.is_data()) return fail(SdError::no_obj, "no such object");
  const cluster::Vdi* vdi = live(oid.vid());
  if (!vdi) return;
  const std::uint64_t base = std::uint64_t{oid.index()} * limits::object_size;
  if (base >= vdi->size) return fail(SdError::no_obj, "the object lies behind the end of the VDI");
  if (request.offset > limits::object_size || request.length > limits::object_size - request.offset)
    return fail(SdError::invalid_parms, "the range crosses objects");
  const std::uint32_t wanted = request.length == 0 ? limits::object_size - request.offset : request.length;
  // An object is 4 MB to its readers even if the VDI ends inside it.
  const std::uint64_t after = vdi->size - base;
  const auto inside =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, after > request.offset ? after - request.offset : 0));
  if (inside == 0)
    return service.answer_data(stream, slot, wanted == 0 ? Payload{} : Payload{service.pool_.zeros(wanted)}, effects);
  Waiting waiting;
  waiting.answer = Waiting::Answer::data;
  waiting.length = inside;
  waiting.padding = wanted - inside;
  waiting.what = "read from VDI " + quoted(vdi->name);
  io({IoRequest::Kind::read, vdi->vid, base + request.offset, inside, false, {}}, std::move(waiting));
}

void Service::Call::read_inode(Oid oid, std::uint32_t offset, std::uint32_t length) {
  const cluster::Vdi* vdi = live(oid.vid());
  if (!vdi) return;
  ReferenceInode inode;
  inode.name = vdi->name;
  inode.vdi_size = vdi->size;
  inode.nr_copies = vdi->copies;
  inode.snap_id = live_snap_id;
  inode.vdi_id = vdi->vid;
  inode.mapped = std::min(vdi->objects(), max_inline_objects);
  const std::string bytes = encode(inode);
  if (offset > bytes.size()) return fail(SdError::invalid_parms, "the range lies behind the inode");
  // Like the reference: as much as there is, if more is asked for.
  const std::size_t size = length == 0 ? bytes.size() - offset : std::min<std::size_t>(length, bytes.size() - offset);
  Payload data;
  if (size > 0) data.push_back(service.pool_.copy_of(std::string_view(bytes).substr(offset, size)));
  service.answer_data(stream, slot, std::move(data), effects);
}

// --- VDIs

bool Service::Call::sized_well(std::uint64_t size) {
  if (size > 0 && size <= limits::max_vdi_size && size % limits::sector_size == 0) return true;
  fail(SdError::invalid_parms, "the size must be a multiple of 512, above 0 and at most 16 PiB");
  return false;
}

void Service::Call::create(const std::string& name, std::uint64_t size, std::uint8_t copies) {
  if (!usable() || !named_well(name) || !sized_well(size)) return;
  if (copies > limits::max_copies)
    return fail(SdError::invalid_parms, "at most " + std::to_string(limits::max_copies) + " copies are possible");
  if (backend.state().find(std::string_view(name)))
    return fail(SdError::vdi_exist, "a VDI called " + quoted(name) + " exists already");
  const std::size_t zones = storing_zones(backend.state(), true);
  if (copies > zones) {
    if (own())
      return fail(SdError::halt, std::to_string(copies) +
                                     " copies need nodes in as many zones, and the cluster has nodes in " +
                                     std::to_string(zones) + "; start more nodes or ask for fewer copies");
    copies = 0;  // the reference's `dog` asks for three on any cluster; the answer tells what it got
  }
  Waiting waiting;
  waiting.answer = Waiting::Answer::vdi;
  waiting.copies = copies;
  waiting.what = "create VDI " + quoted(name);
  propose(cluster::CreateVdi{name, size, copies}, std::move(waiting));
}

void Service::Call::remove(const std::string& name) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(name);
  if (!vdi) return;
  service.locks_.erase(vdi->vid);
  Waiting waiting;
  waiting.what = "delete VDI " + quoted(name);
  propose(cluster::DeleteVdi{vdi->vid}, std::move(waiting));
}

void Service::Call::on(NewVdi& request) {
  if (request.base_vid != 0 || request.snap_id > live_snap_id) return unsupported("clones and snapshots");
  if (request.copy_policy != 0) return unsupported("erasure coding");
  create(request.name, request.vdi_size, request.copies);
}

void Service::Call::on(VdiCreate& request) { create(request.name, request.size, request.copies); }

void Service::Call::on(DelVdi& request) {
  // A request that names a snapshot must not delete the disk.
  if (live_version({}, request.snap_id)) remove(request.name);
}

void Service::Call::on(VdiDelete& request) { remove(request.name); }

void Service::Call::on(VdiResize& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi || !sized_well(request.size)) return;
  if (request.size < vdi->size)
    return fail(SdError::invalid_parms,
                "VDI " + quoted(request.name) + " holds " + std::to_string(vdi->size) + " bytes, and a VDI only grows");
  Waiting waiting;
  waiting.what = "resize VDI " + quoted(request.name);
  propose(cluster::ResizeVdi{vdi->vid, request.size}, std::move(waiting));
}

void Service::Call::on(LockVdi& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi) return;
  std::erase_if(service.locks_, [&](const auto& lock) {
    const cluster::Vdi* locked = backend.state().find(lock.first);
    return !locked || locked->deleting;
  });
  const auto [lock, fresh] = service.locks_.try_emplace(vdi->vid, request.lock_type);
  if (!fresh && (lock->second == 0 || request.lock_type == 0))
    return fail(SdError::vdi_locked, "VDI " + quoted(request.name) + " is locked");
  done(VdiId{vdi->vid, 0, vdi->copies});
}

void Service::Call::on(ReleaseVdi& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi) return;
  service.locks_.erase(vdi->vid);
  done(Success{});
}

void Service::Call::on(GetVdiInfo& request) {
  if (!usable() || !live_version(request.tag, request.snap_id)) return;
  if (const cluster::Vdi* vdi = live(request.name)) done(VdiId{vdi->vid, 0, vdi->copies});
}

void Service::Call::on(ReadVdis&) {
  if (!usable()) return;
  std::vector<Vid> in_use;
  for (const auto& [vid, vdi] : backend.state().vdis)
    if (!vdi.deleting) in_use.push_back(vid);
  service.answer_data(stream, slot, {service.pool_.copy_of(vdi_bitmap(in_use))}, effects);
}

void Service::Call::on(FlushVdi& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.vid);
  if (!vdi) return;
  Waiting waiting;
  waiting.what = "flush VDI " + quoted(vdi->name);
  io({IoRequest::Kind::flush, vdi->vid, 0, 0, false, {}}, std::move(waiting));
}

void Service::Call::on(VdiFlush& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi) return;
  FlushVdi by_number{vdi->vid};
  on(by_number);
}

void Service::Call::on(VdiRead& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi) return;
  if (request.length > max_io) return fail(SdError::invalid_parms, "one request reads at most 32 MB");
  if (!in_range(*vdi, request.offset, request.length)) return;
  if (request.length == 0) return done(Data{});
  Waiting waiting;
  waiting.answer = Waiting::Answer::data;
  waiting.length = request.length;
  waiting.what = "read from VDI " + quoted(request.name);
  io({IoRequest::Kind::read, vdi->vid, request.offset, request.length, false, {}}, std::move(waiting));
}

void Service::Call::on(VdiWrite& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi) return;
  const std::size_t length = total_size(request.data);
  if (length > max_io) return fail(SdError::invalid_parms, "one request writes at most 32 MB");
  if (!in_range(*vdi, request.offset, length)) return;
  if (length == 0) return done(Success{});
  Waiting waiting;
  waiting.what = "write to VDI " + quoted(request.name);
  io({IoRequest::Kind::write, vdi->vid, request.offset, static_cast<std::uint32_t>(length), request.fua,
      std::move(request.data)},
     std::move(waiting));
}

void Service::Call::on(VdiCheck& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi) return;
  Waiting waiting;
  waiting.answer = Waiting::Answer::check;
  waiting.objects = vdi->objects();
  waiting.what = "check of VDI " + quoted(request.name);
  if (request.first > waiting.objects)
    return fail(SdError::invalid_parms, "the VDI has no more than " + std::to_string(waiting.objects) + " objects");
  if (request.first == waiting.objects || vdi->owner == 0) {  // nobody ever served it, so nothing was written
    VdiCheckReport report;
    report.next = report.end = waiting.objects;
    return done(Data{bincode::to_bytes(report)});
  }
  const auto length =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(waiting.objects - request.first, max_checked_objects));
  io({IoRequest::Kind::check, vdi->vid, request.first * limits::object_size, length, false, {}}, std::move(waiting));
}

void Service::Call::on(VdiDiscard& request) {
  if (!usable()) return;
  const cluster::Vdi* vdi = live(request.name);
  if (!vdi || !in_range(*vdi, request.offset, request.length)) return;
  if (request.length == 0) return done(Success{});
  IoRequest first{IoRequest::Kind::zero,
                  vdi->vid,
                  request.offset,
                  static_cast<std::uint32_t>(std::min(request.length, zero_step)),
                  false,
                  {}};
  Waiting waiting;
  waiting.rest = first;
  waiting.rest.offset += first.length;
  waiting.rest_length = request.length - first.length;
  waiting.what = "discard in VDI " + quoted(request.name);
  io(std::move(first), std::move(waiting));
}

void Service::Call::on(VdiList& request) {
  const cluster::State& state = backend.state();
  if (!state.formatted && !usable()) return;
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
  done(Data{bincode::to_bytes(page)});
}

// --- The cluster and its nodes

void Service::Call::on(MakeFs& request) {
  const cluster::State& state = backend.state();
  const bool force = own() && (request.flags & format_force) != 0;
  if (state.formatted && !force)
    return fail(SdError::invalid_parms,
                "the cluster is formatted already; --force formats it again, and loses every VDI");
  if (request.copy_policy != 0) return unsupported("erasure coding");
  if ((request.flags & static_cast<std::uint16_t>(~format_force)) != 0 || (request.flags != 0 && !own()))
    return unsupported("flags of format");
  if (!request.store.empty() && request.store != store_name)
    return fail(SdError::no_store, "the only store is called 'plain'");
  const std::uint8_t copies = request.copies == 0 ? backend.default_copies() : request.copies;
  if (copies > limits::max_copies)
    return fail(SdError::invalid_parms, "at most " + std::to_string(limits::max_copies) + " copies are possible");
  const std::size_t zones = storing_zones(state, false);
  if (zones == 0)
    return fail(SdError::halt, "no node that stores data is up; start some, or wait until they have joined");
  if (copies > zones)
    return fail(SdError::halt, std::to_string(copies) + " copies need nodes in as many zones, and nodes in " +
                                   std::to_string(zones) + " are up; start more nodes or ask for fewer copies");
  Waiting waiting;
  waiting.what = "format";
  const std::uint64_t uuid = backend.random().next();
  propose(cluster::Format{uuid, copies, force}, std::move(waiting));
}

void Service::Call::on(ShutdownCluster&) {
  Waiting waiting;
  waiting.what = "shutdown";
  propose(cluster::Shutdown{}, std::move(waiting));
}

void Service::Call::on(GetNodeList&) { done(NodeList{node_list(backend.state(), backend.status())}); }

void Service::Call::on(StatSheep&) {
  const NodeStatus status = backend.status();
  done(NodeInfo{static_cast<std::uint32_t>(members_up(backend.state())), status.space_total, status.space_free});
}

void Service::Call::on(Stat&) {
  StatSheep same;
  on(same);
}

void Service::Call::on(StatCluster&) {
  using State = ReferenceClusterInfo::State;
  const cluster::State& state = backend.state();
  ReferenceClusterInfo info;
  info.epoch = state.epoch();
  info.nr_copies = state.copies;
  info.status = !state.formatted             ? State::wait_for_format
                : state.shut_down            ? State::shutdown
                : waits_for(backend).empty() ? State::ok
                                             : State::wait_for_join;
  info.default_store = store_name;
  info.nodes = node_list(state, backend.status());
  done(Data{encode(info)});
}

void Service::Call::on(GetClusterInfo&) {
  StatCluster same;
  on(same);
}

void Service::Call::on(GetStoreList&) { done(Data{bincode::to_bytes(std::vector<std::string>{store_name})}); }
// The store leaves nothing behind that would need it.
void Service::Call::on(Cleanup&) { done(Success{}); }

void Service::Call::on(GetRecovery&) {
  const cluster::State& state = backend.state();
  const std::uint32_t recovering = state.formatted && state.epochs.size() > 1 ? state.epoch() : 0;
  done(Data{bincode::to_bytes(recovering)});
}

void Service::Call::on(EnableRecover&) { switch_recovery(true); }
void Service::Call::on(DisableRecover&) { switch_recovery(false); }
void Service::Call::switch_recovery(bool enabled) {
  if (!usable()) return;
  Waiting waiting;
  waiting.what = enabled ? "switching recovery on" : "switching recovery off";
  propose(cluster::SwitchRecovery{enabled}, std::move(waiting));
}

void Service::Call::on(SetThrottle& request) { set_throttle({request.busy, request.idle}); }
// The reference counts objects of 4 MB in an interval of milliseconds, whether clients work or not.
void Service::Call::on(SetRecovery& request) {
  const std::uint64_t interval = std::max<std::uint64_t>(request.queue_work_interval, 1);
  const std::uint64_t rate =
      request.throttling
          ? std::max<std::uint64_t>(1, std::uint64_t{request.max_exec_count} * limits::object_size * 1000 / interval)
          : 0;
  set_throttle({rate, rate});
}
void Service::Call::set_throttle(cluster::RecoveryRates rates) {
  if (!usable()) return;
  Waiting waiting;
  waiting.what = "set the throttle of recovery";
  propose(cluster::SetThrottle{rates}, std::move(waiting));
}

void Service::Call::on(NodeRecovery&) {
  const NodeStatus status = backend.status();
  const RecoveryStatus& r = status.recovery;
  const cluster::State& state = backend.state();
  RecoveryReport report;
  report.id = status.id;
  report.epoch = state.epoch();
  report.clean_epoch = state.epochs.empty() ? 0 : state.epochs.front().epoch;
  report.enabled = r.enabled;
  report.sweeping = r.sweeping;
  report.collected = r.collected;
  report.busy = r.busy;
  report.found = r.found;
  report.open = r.open;
  report.at = r.at;
  report.end = r.end;
  report.pulls = r.pulls;
  report.pulled_objects = r.pulled_objects;
  report.pulled_bytes = r.pulled_bytes;
  report.repaired_blocks = r.repaired_blocks;
  report.lost_blocks = r.lost_blocks;
  report.removed = r.removed;
  report.leftovers = r.leftovers;
  report.orphans = r.orphans;
  report.kept = r.kept;
  report.scrub_passes = r.scrub_passes;
  report.scrubbed_objects = r.scrubbed_objects;
  report.scrubbed_bytes = r.scrubbed_bytes;
  report.scrub_left = r.scrub_left;
  report.unreadable_objects = r.unreadable_objects;
  report.rate_busy = r.rates.busy;
  report.rate_idle = r.rates.idle;
  done(Data{bincode::to_bytes(report)});
}
// There is no object cache: it is always empty.
void Service::Call::on(FlushDelCache&) { done(Success{}); }
void Service::Call::on(DeleteCache&) { done(Success{}); }
void Service::Call::on(CachePurge&) { done(Success{}); }
void Service::Call::on(GetCacheInfo&) { done(Data{}); }
// No disks but the data directory's.
void Service::Call::on(MdInfo&) { done(Data{std::string(8, '\0')}); }

void Service::Call::on(Unsupported& request) {
  fail(SdError::no_support, "request " + std::to_string(request.variant) + ": not supported by this version");
}
void Service::Call::on(Snapshot&) { unsupported("snapshots"); }
void Service::Call::on(KillNode&) { unsupported("stopping a node from afar"); }
void Service::Call::on(AlterClusterCopy&) { unsupported("changing the number of copies"); }
void Service::Call::on(AlterVdiCopy&) { unsupported("changing the number of copies"); }
void Service::Call::on(CompleteRecovery&) { unsupported("ending recovery by hand"); }
void Service::Call::on(MdPlug&) { unsupported("several disks in one node"); }
void Service::Call::on(MdUnplug&) { unsupported("several disks in one node"); }
void Service::Call::on(Reweight&) { unsupported("reweighting"); }
void Service::Call::on(GetLogLevel&) { unsupported("log levels"); }
void Service::Call::on(SetLogLevel&) { unsupported("log levels"); }

void Service::Call::on(ClusterStatus&) {
  const cluster::State& state = backend.state();
  const NodeStatus status = backend.status();
  ClusterReport report;
  report.formatted = state.formatted;
  report.shut_down = state.shut_down;
  report.uuid = state.uuid;
  report.copies = state.copies;
  report.epoch = state.epoch();
  report.clean_epoch = state.epochs.empty() ? 0 : state.epochs.front().epoch;
  for (const auto& [vid, vdi] : state.vdis) {
    if (vdi.deleting) continue;
    ++report.vdis;
    report.vdi_bytes += vdi.size;
  }
  report.node = status.id;
  report.leader = status.leader_id;
  report.term = status.term;
  report.serving = status.serving;
  report.trouble = status.trouble;
  const std::vector<NodeId> voters = backend.voters(), awaited = state.missing();
  for (const auto& [id, member] : state.members)
    report.nodes.push_back({id, starts_of(member.incarnation), to_string(member.address), member.zone, member.vnodes,
                            member.up, id == status.leader_id, member.placed, member.draining, state.is_drained(id),
                            member.witness, std::ranges::binary_search(voters, id),
                            std::ranges::binary_search(awaited, id)});
  report.grace_ms = state.grace_ms;
  report.waits_for = waits_for(backend);
  done(Data{bincode::to_bytes(report)});
}

void Service::Call::on(NodeDetail&) {
  const NodeStatus s = backend.status();
  NodeReport report;
  report.id = s.id;
  report.incarnation = starts_of(s.incarnation);
  if (const cluster::Member* member = backend.state().member(s.id)) {
    report.address = to_string(member->address);
    report.zone = member->zone;
    report.vnodes = member->vnodes;
  }
  report.open = s.open;
  report.member = s.member;
  report.has_lease = s.has_lease;
  report.serving = s.serving;
  report.leader = s.leader;
  report.leader_id = s.leader_id;
  report.term = s.term;
  report.commit_index = s.commit_index;
  report.applied_index = s.applied_index;
  report.last_index = s.last_index;
  report.epoch = backend.state().epoch();
  report.objects = s.objects;
  report.journal_used = s.journal_used;
  report.dirty_bytes = s.dirty_bytes;
  report.space_free = s.space_free;
  report.space_total = s.space_total;
  report.nbd_connections = s.nbd_connections;
  report.client_connections = s.client_connections;
  report.peer_links = s.peer_links;
  report.reads = s.reads;
  report.writes = s.writes;
  report.flushes = s.flushes;
  report.read_bytes = s.read_bytes;
  report.write_bytes = s.write_bytes;
  report.buffers = s.buffers;
  report.trouble = s.trouble;
  report.voter = s.voter;
  report.waits_for = waits_for(backend);
  done(Data{bincode::to_bytes(report)});
}

void Service::Call::on(ClusterCheck&) {
  done(Data{bincode::to_bytes(check_cluster(backend.state(), backend.status()))});
}

void Service::Call::on(NodeDrain& request) {
  const cluster::Member* member = backend.state().member(request.id);
  if (!member) return fail(SdError::not_found, "no node has this id; `dog node list` shows those there are");
  Waiting waiting;
  waiting.what = (request.on ? "drain " : "undrain ") + to_string(member->address);
  propose(cluster::Drain{request.id, request.on}, std::move(waiting));
}

void Service::Call::on(GraceTime& request) {
  Waiting waiting;
  waiting.what = "set the grace time";
  propose(cluster::SetGrace{request.milliseconds}, std::move(waiting));
}

void Service::Call::on(RecoverForce& request) {
  if (request.new_configuration) {
    if (const std::string why = backend.force_new_configuration(); !why.empty())
      return fail(SdError::invalid_parms, why);
    return done(Success{});
  }
  if (backend.status().leader_id == 0)
    return fail(SdError::again, "no leader: a majority of the voters cannot be reached");
  Waiting waiting;
  waiting.what = "give up the nodes that are down";
  propose(cluster::GiveUp{}, std::move(waiting));
}

// --- Health

CheckReport check_cluster(const cluster::State& state, const NodeStatus& status) {
  CheckReport report;
  const auto add = [&](Severity severity, std::string text) { report.findings.push_back({severity, std::move(text)}); };

  if (!status.open) add(Severity::error, "the asked node is still reading its files");
  if (status.leader_id == 0)
    add(Severity::error,
        "no leader: the asked node cannot reach a majority of the cluster; start the missing nodes or repair the "
        "network");
  if (!state.formatted && status.leader_id != 0)
    add(Severity::error, "the cluster is not formatted; run `dog cluster format`");
  if (state.shut_down) add(Severity::error, "the cluster is shut down; start its sheep again");
  if (state.formatted && !state.shut_down && !status.serving && !status.trouble.empty())
    add(Severity::error, "the asked node does not serve: " + status.trouble);

  std::size_t down = 0;
  for (const auto& [id, member] : state.members) {
    if (member.up) continue;
    ++down;
    const std::string what = !member.placed            ? "; others hold its share of the data"
                             : state.epochs.size() > 1 ? ""
                                                       : "; its share of the data is kept for it";
    if (down <= 64)
      add(Severity::error, "node " + to_string(member.address) +
                               " is down; start it again, or, if it is gone for good, `dog node drain` it" + what);
  }
  for (const NodeId id : state.missing())
    if (const cluster::Member* member = state.member(id))
      add(Severity::error, "node " + to_string(member->address) +
                               " may hold data that no other node has: objects that need it wait, and fail after 30 s; "
                               "start it, or give it up: "
                               "`dog cluster recover force`");
  for (const auto& [id, member] : state.members)
    if (member.draining && member.up)
      add(Severity::note, "node " + to_string(member.address) +
                              (state.is_drained(id) ? " is drained: it may be stopped" : " is being drained"));
  if (down > 64) add(Severity::error, "and " + std::to_string(down - 64) + " more nodes are down");

  const std::size_t zones = storing_zones(state, false);
  std::size_t thin = 0;
  for (const auto& [vid, vdi] : state.vdis)
    if (!vdi.deleting && vdi.copies > zones) ++thin;
  if (thin > 0)
    add(Severity::error, std::to_string(thin) + " VDIs want more copies than there are zones with nodes up (" +
                             std::to_string(zones) +
                             "): their data has fewer copies than asked for; start the missing nodes");
  if (state.formatted && state.epochs.size() > 1)
    add(Severity::warning,
        std::string(state.recovery_off ? "recovery is switched off" : "recovery is under way") +
            ": not every object has all its copies since epoch " + std::to_string(state.epochs.front().epoch) +
            " (now " + std::to_string(state.epoch()) +
            (state.recovery_off ? "); `dog cluster recover enable`" : "); wait, and see `dog node recovery`"));
  if (status.recovery.unreadable_objects > 0)
    add(Severity::error,
        "the asked node has found blocks that are damaged at every member, in " +
            std::to_string(status.recovery.unreadable_objects) +
            " objects; reads of them fail: see its log, restore them from a backup, and see `dog vdi check`");
  if (status.full)
    add(Severity::error,
        "the disk of the asked node is full, and writes that need space on it are refused; add a node or free some "
        "space");
  else if (status.space_total > 0 && status.space_free < status.space_total / 20)
    add(Severity::warning, "less than 5% of the asked node's disk is free; add a node or free some space");
  if (state.formatted && state.copies == 1) add(Severity::note, "new VDIs have one copy: losing one disk loses data");
  if (state.members.size() == 2)
    add(Severity::note,
        "two nodes are no safer than one against failures: one of them is no majority; add a third, or a witness "
        "(`shepherd`)");
  CheckReport sorted;
  for (const Severity severity : {Severity::error, Severity::warning, Severity::note})
    std::ranges::copy_if(report.findings, std::back_inserter(sorted.findings),
                         [&](const Finding& finding) { return finding.severity == severity; });
  return sorted;
}

}  // namespace sd::client
