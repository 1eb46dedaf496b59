// What must hold of a store at any moment, and of any step it takes. Cheap; called by the simulator after each step of
// a node. Each part has a check_state() of its own; here is the whole, and what one step may change.
#pragma once
#include <cstdint>
#include <string>

#include "core/store/store.hpp"

namespace sd {

// The part of a store's state that a step is judged by. Batches are numbered; see journal_writer.hpp.
struct StoreObservation {
  bool failed = false;
  std::uint64_t opened = 0;     // how often its memory was filled anew
  std::uint64_t completed = 0;  // batches up to this one are written
  std::uint64_t durable = 0;    // ... and synced
  std::uint64_t next = 0;       // the batch that is pending
  std::uint64_t tail = 0;       // replay would begin with this one
  friend bool operator==(const StoreObservation&, const StoreObservation&) = default;
};

StoreObservation observe(const Store& store);

// Empty if all is well, else the invariant that is broken, in words.
std::string check_state(const Store& store);
// Of two observations of one run of one process.
std::string check_change(const StoreObservation& before, const StoreObservation& after);

}  // namespace sd
