#include "core/client/named_disks.hpp"

#include <type_traits>

namespace sd::client {

bool only_asks(const SdRequest& request) {
  return std::visit(
      []<typename T>(const T&) {
        return std::is_same_v<T, GetVdiInfo> || std::is_same_v<T, ReadVdis> || std::is_same_v<T, VdiList>;
      },
      request);
}

bool names_disks(const SdRequest& request) {
  return std::visit(
      []<typename T>(const T&) {
        return std::is_same_v<T, NewVdi> || std::is_same_v<T, DelVdi> || std::is_same_v<T, LockVdi> ||
               std::is_same_v<T, ReleaseVdi> || std::is_same_v<T, GetVdiInfo> || std::is_same_v<T, ReadVdis> ||
               std::is_same_v<T, VdiList> || std::is_same_v<T, VdiCreate> || std::is_same_v<T, VdiDelete> ||
               std::is_same_v<T, VdiResize>;
      },
      request);
}

}  // namespace sd::client
