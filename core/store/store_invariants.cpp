#include "core/store/store_invariants.hpp"

namespace sd {

std::string check_change(const StoreObservation& before, const StoreObservation& after) {
  if (before.failed && !after.failed) return "a store that has failed stays so";
  if (after.opened < before.opened) return "a store's memory is filled anew, never back";
  if (after.opened != before.opened) return {};
  if (after.completed < before.completed) return "what is in the journal stays there";
  if (after.durable < before.durable) return "what is durable in the journal stays so";
  if (after.next < before.next) return "batches are numbered upwards";
  if (after.tail < before.tail) return "the journal's tail moves forward";
  if (after.tail > after.durable + 1) return "the journal's tail moves over durable batches only";
  return {};
}

}  // namespace sd
