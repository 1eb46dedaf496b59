// The index of a disk at its owner: which of its objects exist. Reads and writes the blocks of which object_map.hpp
// keeps what is known.
//
// An entry is written on all members, and written before the first write of its object is sent: whoever takes over
// finds whatever may have been seen.
#pragma once
#include "core/replication/object_log.hpp"
#include "core/volume/clearings.hpp"
#include "core/volume/object_map.hpp"

namespace sd::volume_detail {

class Index {
 public:
  // What operations and requests that wait for the index are told.
  class Waiters {
   public:
    // The operation finds now whether its object exists.
    virtual void admit(std::uint64_t op) = 0;
    virtual void answer_map(std::uint64_t io) = 0;
    virtual void fail_map(std::uint64_t io, Status status) = 0;

   protected:
    ~Waiters() = default;
  };

  Index(replication::Context& context, replication::ObjectLog& objects, Waiters& waiters)
      : context_(context), objects_(objects), waiters_(waiters), clearings_(context) {}

  const ObjectMap& map() const { return map_; }
  // True if the page is in memory; if not, it is being read now.
  bool load(std::uint32_t page);
  // Likewise, but only marks it: load_wanted() reads it.
  bool want(std::uint32_t page) { return map_.want(page); }
  void load_wanted();
  void wait(std::uint32_t page, std::uint64_t op) { map_.wait(page, op); }
  void wait_for_map(std::uint32_t page, std::uint64_t io) { map_.wait_for_map(page, io); }
  // The operation is admitted again when the entry is set.
  void write_entry(std::uint32_t index, std::uint64_t op);
  // Operations of the index have ended.
  void on_page(std::uint32_t page, Status status, const Payload& block);
  void on_entry_written(std::uint32_t index, Status status);
  void on_clear_reply(std::uint64_t id, replication::Op& op, NodeId from, const peer::ObjectReply& reply);
  void repeat_clear(std::uint64_t id, replication::Op& op) { clearings_.send(id, op); }
  void on_generation();
  // The node may serve again: who waited for pages that are there.
  void on_serving();
  void clear();

 private:
  void set_entry(std::uint32_t index);

  replication::Context& context_;
  replication::ObjectLog& objects_;
  Waiters& waiters_;
  ObjectMap map_;
  Clearings clearings_;
};

}  // namespace sd::volume_detail
