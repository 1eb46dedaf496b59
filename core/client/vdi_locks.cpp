#include "core/client/vdi_locks.hpp"

namespace sd::client {

bool VdiLocks::take(Vid vid, std::uint32_t type, const cluster::State& state) {
  std::erase_if(locks_, [&](const auto& lock) {
    const cluster::Vdi* locked = state.find(lock.first);
    return !locked || locked->deleting;
  });
  const auto [lock, fresh] = locks_.try_emplace(vid, type);
  return fresh || (lock->second != 0 && type != 0);
}

}  // namespace sd::client
