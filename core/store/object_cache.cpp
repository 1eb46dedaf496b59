#include "core/store/object_cache.hpp"

#include "core/base/assert.hpp"
#include "core/base/sim_bug.hpp"

namespace sd::store_detail {

Entry* ObjectCache::find(ObjectKey key) {
  const auto at = entries_.find(key);
  return at == entries_.end() ? nullptr : &at->second;
}

Object& ObjectCache::allocate() {
  if (spare_.empty()) {
    objects_.push_back(std::make_unique<Object>());
    objects_.back()->id = static_cast<std::uint32_t>(objects_.size() - 1);
    return *objects_.back();
  }
  Object& o = *spare_.back();
  spare_.pop_back();
  return o;
}

Object& ObjectCache::activate(ObjectKey key, Entry& entry) {
  if (entry.object) {
    lru_remove(*entry.object);
    return *entry.object;
  }
  Object& o = allocate();
  entry.object = &o;
  o.key = key;
  o.entry = &entry;
  ++context_.counts.loaded_objects;
  if (entry.meta_file) {
    context_.disk(DiskOp::Kind::read, meta_file(key), make_tag(Tag::load, o.id), 0, meta_file_bytes);
  } else {
    o.loaded = true;
    // Data without metadata, and nothing in the journal: they were lost.
    if (entry.object_file) o.exists = o.meta.torn = o.meta.incomplete = true;
  }
  return o;
}

bool ObjectCache::on_load(Object& o, DiskDone&& done, bool replaying) {
  o.loaded = true;
  if (done.status == Status::ok || done.status == Status::not_found) {
    const auto slot = decode_meta_file(done.data.bytes(), o.key, o.meta);
    o.exists = true;
    if (SD_BUG(forget_origins)) o.meta.recent = {};
    o.slots = {slot.value_or(MetaSlot{}), slot.has_value(), replaying};
    // A slot torn by a crash belongs to an object that replay has already brought up to date; elsewhere it is damage.
    if (!slot || (slot->other_lost && !replaying)) {
      // Perhaps a first checkpoint that was cut short: then the journal still has the object from its creation on.
      o.meta = {};
      o.meta.torn = o.meta.incomplete = true;
      if (!replaying)
        context_.notice("object " + to_string(o.key) + " has lost its metadata; it must be re-synchronised");
    }
  } else if (!replaying) {
    o.load_status = Status::io_error;
    context_.notice("object " + to_string(o.key) + ": cannot read its metadata");
  } else {
    context_.fail("cannot read the metadata of object " + to_string(o.key));
  }
  return !replaying;
}

void ObjectCache::settle(Object& o) {
  if (o.lru.in || !o.idle()) return;
  if (!o.exists || o.load_status != Status::ok) {
    release(o);
    return;
  }
  lru_add(o);
  while (idle_ > context_.options.meta_cache) release(*oldest_);
}

void ObjectCache::release(Object& o) {
  SD_ASSERT(o.frozen.overlay.empty() && o.current.empty() && o.queue.empty(), "only an idle object is forgotten");
  lru_remove(o);
  Entry& entry = *o.entry;
  entry.object = nullptr;
  if (!o.exists && o.load_status == Status::ok && !entry.object_file && !entry.meta_file) entries_.erase(o.key);
  const std::uint32_t id = o.id;
  o = Object{};
  o.id = id;
  --context_.counts.loaded_objects;
  spare_.push_back(&o);
}

void ObjectCache::lru_add(Object& o) {
  o.lru = {newest_, nullptr, true};
  (newest_ ? newest_->lru.newer : oldest_) = &o;
  newest_ = &o;
  ++idle_;
}

void ObjectCache::lru_remove(Object& o) {
  if (!o.lru.in) return;
  (o.lru.older ? o.lru.older->lru.newer : oldest_) = o.lru.newer;
  (o.lru.newer ? o.lru.newer->lru.older : newest_) = o.lru.older;
  o.lru = {};
  --idle_;
}

std::string ObjectCache::check_state() const {
  if (idle_ > context_.options.meta_cache) return "only so many idle objects stay in memory";
  if (context_.counts.loaded_objects + spare_.size() != objects_.size()) return "an object is in use or spare";
  if (context_.counts.loaded_objects > entries_.size()) return "every object in memory has an entry";
  if ((idle_ == 0) != (oldest_ == nullptr) || (oldest_ == nullptr) != (newest_ == nullptr))
    return "idle objects are in line";
  for (const Object* o : {oldest_, newest_})
    if (o && (!o->lru.in || !o->idle() || !o->exists)) return "only idle objects may be forgotten";
  return {};
}

}  // namespace sd::store_detail
