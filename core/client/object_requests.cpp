#include "core/client/object_requests.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace sd::client {

void ObjectRequests::on(CreateAndWriteObj& request) {
  if (request.cow_oid != 0) return call_.unsupported("copy on write");
  if (request.copy_policy != 0) return call_.unsupported("erasure coding");
  write_object(request.oid, request.offset, std::move(request.data));
}

void ObjectRequests::on(ReadObj& request) {
  const Oid oid{request.oid};
  if (!call_.usable()) return;
  if ((oid.value & Oid::type_bits) == Oid::inode_bit) return read_inode(oid, request.offset, request.length);
  if (!oid.is_data()) return call_.fail(SdError::no_obj, "no such object");
  const cluster::Vdi* vdi = call_.live(oid.vid());
  if (!vdi) return;
  const std::uint64_t base = std::uint64_t{oid.index()} * limits::object_size;
  if (base >= vdi->size) return call_.fail(SdError::no_obj, "the object lies behind the end of the VDI");
  if (request.offset > limits::object_size || request.length > limits::object_size - request.offset)
    return call_.fail(SdError::invalid_parms, "the range crosses objects");
  const std::uint32_t wanted = request.length == 0 ? limits::object_size - request.offset : request.length;
  // An object is 4 MB to its readers even if the VDI ends inside it.
  const std::uint64_t after = vdi->size - base;
  const auto inside =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, after > request.offset ? after - request.offset : 0));
  if (inside == 0) return call_.done_data(wanted == 0 ? Payload{} : Payload{call_.pool().zeros(wanted)});
  Waiting waiting;
  waiting.answer = Waiting::Answer::data;
  waiting.length = inside;
  waiting.padding = wanted - inside;
  waiting.what = "read from VDI " + quoted(vdi->name);
  call_.io({IoRequest::Kind::read, vdi->vid, base + request.offset, inside, false, {}}, std::move(waiting));
}

void ObjectRequests::on(WriteObj& request) { write_object(request.oid, request.offset, std::move(request.data)); }

void ObjectRequests::on(RemoveObj& request) { zero_object(request.oid, 0, limits::object_size, {}); }

void ObjectRequests::on(DiscardObj& request) {
  Waiting waiting;
  waiting.answer = Waiting::Answer::obj;
  zero_object(request.oid, request.offset, request.length, std::move(waiting));
}

void ObjectRequests::write_object(std::uint64_t value, std::uint32_t offset, Payload data) {
  const Oid oid{value};
  const std::size_t length = total_size(data);
  if (!call_.usable()) return;
  // Inodes are made from the cluster's state here; clients have no say in them.
  if (!oid.is_data()) return call_.fail(SdError::read_only, "clients write data objects only");
  const cluster::Vdi* vdi = call_.live(oid.vid());
  if (!vdi) return;
  const std::uint64_t start = std::uint64_t{oid.index()} * limits::object_size + offset;
  if (offset > limits::object_size || length > limits::object_size - offset)
    return call_.fail(SdError::invalid_parms, "the range crosses objects");
  if (!call_.in_range(*vdi, start, length)) return;
  if (length == 0) return call_.done(Obj{vdi->copies, offset});
  IoRequest request{IoRequest::Kind::write, vdi->vid, start, static_cast<std::uint32_t>(length), false,
                    std::move(data)};
  Waiting waiting;
  waiting.answer = Waiting::Answer::obj;
  waiting.copies = vdi->copies;
  waiting.offset = offset;
  waiting.what = "write to VDI " + quoted(vdi->name);
  call_.io(std::move(request), std::move(waiting));
}

void ObjectRequests::zero_object(std::uint64_t value, std::uint32_t offset, std::uint32_t length, Waiting waiting) {
  const Oid oid{value};
  if (!call_.usable()) return;
  if (!oid.is_data()) return call_.fail(SdError::read_only, "clients change data objects only");
  const cluster::Vdi* vdi = call_.live(oid.vid());
  if (!vdi) return;
  const std::uint64_t base = std::uint64_t{oid.index()} * limits::object_size;
  if (offset > limits::object_size || length > limits::object_size - offset)
    return call_.fail(SdError::invalid_parms, "the range crosses objects");
  if (base >= vdi->size) return call_.fail(SdError::no_obj, "the object lies behind the end of the VDI");
  waiting.copies = vdi->copies;
  waiting.offset = offset;
  waiting.what = "discard in VDI " + quoted(vdi->name);
  const std::uint64_t inside =
      std::min<std::uint64_t>(length, vdi->size - base > offset ? vdi->size - base - offset : 0);
  if (inside == 0)
    return call_.done(waiting.answer == Waiting::Answer::obj ? ResponseResult(Obj{vdi->copies, offset})
                                                             : ResponseResult(Success{}));
  call_.io({IoRequest::Kind::zero, vdi->vid, base + offset, static_cast<std::uint32_t>(inside), false, {}},
           std::move(waiting));
}

void ObjectRequests::read_inode(Oid oid, std::uint32_t offset, std::uint32_t length) {
  const cluster::Vdi* vdi = call_.live(oid.vid());
  if (!vdi) return;
  ReferenceInode inode;
  inode.name = vdi->name;
  inode.vdi_size = vdi->size;
  inode.nr_copies = vdi->copies;
  inode.snap_id = live_snap_id;
  inode.vdi_id = vdi->vid;
  inode.mapped = std::min(vdi->objects(), max_inline_objects);
  const std::string bytes = encode(inode);
  if (offset > bytes.size()) return call_.fail(SdError::invalid_parms, "the range lies behind the inode");
  // Like the reference: as much as there is, if more is asked for.
  const std::size_t size = length == 0 ? bytes.size() - offset : std::min<std::size_t>(length, bytes.size() - offset);
  Payload data;
  if (size > 0) data.push_back(call_.pool().copy_of(std::string_view(bytes).substr(offset, size)));
  call_.done_data(std::move(data));
}

}  // namespace sd::client
