// An owner's touching of every object of its disk, so that all of them become redundant in one generation. One sweep is
// one object; a new generation begins a new one.
//
// The volume goes through the disk and peers what is found; the sweep keeps how far it is. It ends with a flush: what
// was copied has to survive a loss of power before older copies may go.
//
// States: going -> flushing -> done; a flush that fails leads back to going, with nothing left to be found.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "core/base/ids.hpp"

namespace sd {

// Objects found so far, those of them that are being seen to, and how much of the disk was gone through, in data
// objects.
struct SweepProgress {
  std::uint64_t found = 0, open = 0;
  std::uint64_t at = 0, end = 0;
};

class Sweep {
 public:
  explicit Sweep(std::uint64_t generation = 0) : generation_(generation) {}

  std::uint64_t generation() const { return generation_; }
  std::uint64_t next() const { return next_; }  // data object
  void advance() { ++next_; }

  // An object was found; it is open until it is ready.
  void found() { ++found_; }
  void open(Oid oid) { open_.push_back(oid); }
  void close_if(const std::function<bool(Oid)>& ready) { std::erase_if(open_, ready); }
  // In a new generation: what was open is peered anew anyway.
  void close_all() { open_.clear(); }
  std::size_t open_objects() const { return open_.size(); }

  // The request of the flush that ends the sweep; 0 is none.
  void begin_flush(std::uint64_t request) { flush_ = request; }
  bool flushing() const { return flush_ != 0; }
  bool ends_with(std::uint64_t request) const { return flush_ == request && request != 0; }
  void on_flushed(bool ok) {
    flush_ = 0;
    done_ = done_ || ok;
  }
  bool done() const { return done_; }

  // `objects` is the size of the disk.
  SweepProgress progress(std::uint64_t objects) const {
    if (done_) return {found_, 0, objects, objects};
    return {found_, open_.size(), next_, objects};
  }

 private:
  std::uint64_t generation_;
  std::uint64_t next_ = 0;
  std::uint64_t found_ = 0;
  std::vector<Oid> open_;
  std::uint64_t flush_ = 0;
  bool done_ = false;
};

}  // namespace sd
