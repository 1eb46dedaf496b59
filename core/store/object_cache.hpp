// Which objects there are, and those whose metadata are in memory.
//
// Every object has an entry, for good. Its metadata, 5.5 KB, are loaded when it is used, and stay while anything needs
// them; of the others the least recently used are forgotten beyond StoreOptions::meta_cache.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "core/store/context.hpp"
#include "core/store/object.hpp"

namespace sd::store_detail {

class ObjectCache {
 public:
  explicit ObjectCache(Context& context) : context_(context) {}

  // By name, in ascending order.
  const std::map<ObjectKey, Entry>& entries() const { return entries_; }
  Entry* find(ObjectKey key);
  Entry& entry(ObjectKey key) { return entries_[key]; }  // makes one

  // The object in memory; not `loaded` while its metadata are read. Whoever calls this ends with settle().
  Object& activate(ObjectKey key, Entry& entry);
  Object& by_id(std::uint32_t id) { return *objects_[id]; }
  // What the disk said of the metadata. `replaying`: the journal has yet to say what happened since they were written.
  // False: nothing may go on with the object now.
  bool on_load(Object& o, DiskDone&& done, bool replaying);
  // May forget the object: the last thing that is done with one.
  void settle(Object& o);
  // Names an invariant that does not hold; empty if all do.
  std::string check_state() const;

 private:
  Object& allocate();
  void release(Object& o);
  void lru_add(Object& o);
  void lru_remove(Object& o);

  Context& context_;
  std::map<ObjectKey, Entry> entries_;
  std::vector<std::unique_ptr<Object>> objects_;  // by id
  std::vector<Object*> spare_;
  Object* oldest_ = nullptr;
  Object* newest_ = nullptr;
  std::uint32_t idle_ = 0;
};

}  // namespace sd::store_detail
