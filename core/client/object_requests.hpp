// Requests about objects: windows of 4 MB on a disk, as clients of the reference read and write it.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

class ObjectRequests {
 public:
  explicit ObjectRequests(Call& call) : call_(call) {}

  void on(CreateAndWriteObj& request);
  void on(ReadObj& request);
  void on(WriteObj& request);
  void on(RemoveObj& request);
  void on(DiscardObj& request);

 private:
  void write_object(std::uint64_t value, std::uint32_t offset, Payload data);
  void zero_object(std::uint64_t value, std::uint32_t offset, std::uint32_t length, Waiting waiting);
  void read_inode(Oid oid, std::uint32_t offset, std::uint32_t length);

  Call& call_;
};

}  // namespace sd::client
