#include "core/client/data_requests.hpp"

#include <algorithm>
#include <utility>

#include "core/volume/check.hpp"

namespace sd::client {

void DataRequests::on(VdiRead& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi) return;
  if (request.length > max_io) return call_.fail(SdError::invalid_parms, "one request reads at most 32 MB");
  if (!call_.in_range(*vdi, request.offset, request.length)) return;
  if (request.length == 0) return call_.done(Data{});
  Waiting waiting;
  waiting.answer = Waiting::Answer::data;
  waiting.length = request.length;
  waiting.what = "read from VDI " + quoted(request.name);
  call_.io({IoRequest::Kind::read, vdi->vid, request.offset, request.length, false, {}}, std::move(waiting));
}

void DataRequests::on(VdiWrite& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi) return;
  const std::size_t length = total_size(request.data);
  if (length > max_io) return call_.fail(SdError::invalid_parms, "one request writes at most 32 MB");
  if (!call_.in_range(*vdi, request.offset, length)) return;
  if (length == 0) return call_.done(Success{});
  Waiting waiting;
  waiting.what = "write to VDI " + quoted(request.name);
  call_.io({IoRequest::Kind::write, vdi->vid, request.offset, static_cast<std::uint32_t>(length), request.fua,
            std::move(request.data)},
           std::move(waiting));
}

void DataRequests::on(FlushVdi& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.vid);
  if (!vdi) return;
  Waiting waiting;
  waiting.what = "flush VDI " + quoted(vdi->name);
  call_.io({IoRequest::Kind::flush, vdi->vid, 0, 0, false, {}}, std::move(waiting));
}

void DataRequests::on(VdiFlush& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi) return;
  FlushVdi by_number{vdi->vid};
  on(by_number);
}

void DataRequests::on(VdiDiscard& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi || !call_.in_range(*vdi, request.offset, request.length)) return;
  if (request.length == 0) return call_.done(Success{});
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
  call_.io(std::move(first), std::move(waiting));
}

void DataRequests::on(VdiCheck& request) {
  if (!call_.usable()) return;
  const cluster::Vdi* vdi = call_.live(request.name);
  if (!vdi) return;
  Waiting waiting;
  waiting.answer = Waiting::Answer::check;
  waiting.objects = vdi->objects();
  waiting.what = "check of VDI " + quoted(request.name);
  if (request.first > waiting.objects)
    return call_.fail(SdError::invalid_parms,
                      "the VDI has no more than " + std::to_string(waiting.objects) + " objects");
  if (request.first == waiting.objects || vdi->owner == 0) {  // nobody ever served it, so nothing was written
    VdiCheckReport report;
    report.next = report.end = waiting.objects;
    return call_.done(Data{bincode::to_bytes(report)});
  }
  const auto length =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(waiting.objects - request.first, max_checked_objects));
  call_.io({IoRequest::Kind::check, vdi->vid, request.first * limits::object_size, length, false, {}},
           std::move(waiting));
}

}  // namespace sd::client
