// Requests about disks as a whole: they are created, found, listed, locked, resized and deleted.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class DiskRequests {
 public:
  explicit DiskRequests(Call& call) : call_(call) {}

  void on(NewVdi& request);
  void on(VdiCreate& request);
  void on(DelVdi& request);
  void on(VdiDelete& request);
  void on(VdiResize& request);
  void on(LockVdi& request);
  void on(ReleaseVdi& request);
  void on(GetVdiInfo& request);
  void on(ReadVdis&);
  void on(VdiList& request);

 private:
  void create(const std::string& name, std::uint64_t size, std::uint8_t copies);
  void remove(const std::string& name);
  bool named_well(const std::string& name);
  bool sized_well(std::uint64_t size);
  bool live_version(const std::string& tag, std::uint32_t snap_id);

  Call& call_;
};

}  // namespace sd::client
