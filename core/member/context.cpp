#include "core/member/context.hpp"

#include "core/base/sim_bug.hpp"
#include "core/base/sim_probe.hpp"
#include "core/member/copying.hpp"

namespace sd::member_detail {

Context::Context(NodeId self_id, BufferPool& buffers, Store& objects, const cluster::State& s)
    : self(self_id), pool(buffers), store(objects), state(s) {}

Context::~Context() = default;

void Context::forget(Oid oid) { store.remove(now, jobs.insert(Ignored{}), oid, out->store); }

void Context::look(const Look& look, Oid oid) { store.read_chunk(now, jobs.insert(look), oid, look.chunk, out->store); }

void Context::tell_owner(std::uint64_t job, const Request& request) {
  const auto active = copying.find(request.oid);
  const auto* vdi = state.find(request.vid);
  if ((active != copying.end() && active->second != job) || !vdi || vdi->owner == 0 || SD_BUG(lost_copy_untold)) return;
  SD_SOMETIMES(true, lost_copy_told);
  Request tell;
  tell.op = Request::Op::lost;
  tell.vid = request.vid;
  tell.generation = state.generation(request.vid);
  tell.oid = request.oid;
  out->requests.emplace_back(vdi->owner, std::move(tell));
}

}  // namespace sd::member_detail
