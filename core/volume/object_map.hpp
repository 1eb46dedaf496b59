// Which data objects of a disk exist, as far as its owner has loaded that: the index in memory.
//
// The index lies in index objects, which are replicated like all others: one entry of 4 bytes for each data object,
// holding the vid that owns it, 0 if there is none. It is loaded by pages of one block. An entry is set, on all
// members, before the first write of its object is sent: whoever takes over finds whatever may have been seen.
//
// This class only keeps what is known and who waits for what; the volume reads and writes the blocks. Waiters are the
// volume's numbers: operations that want to know whether an object exists, and requests for a map of many.
//
// States of a page: unknown -> loading -> loaded, and back to unknown when loading fails.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/payload.hpp"

namespace sd {

class ObjectMap {
 public:
  static constexpr std::uint32_t entry_size = 4;
  static constexpr std::uint32_t page_entries = limits::block_size / entry_size;
  static constexpr std::uint32_t page_of(std::uint32_t index) { return index / page_entries; }

  // Where a page or an entry lies: in which of the disk's index objects, and at which byte of it.
  struct Place {
    std::uint32_t index_object = 0;
    std::uint32_t offset = 0;
  };
  static Place place_of_page(std::uint32_t page);
  static Place place_of_entry(std::uint32_t index);

  // What waited for a page, in the order of arrival.
  struct Waiters {
    std::vector<std::uint64_t> operations;
    std::vector<std::uint64_t> requests;
  };

  // --- Loading
  // True if the caller has to read this page now; it counts as loading from then on.
  bool begin_load(std::uint32_t page);
  bool loaded(std::uint32_t page) const;
  // Likewise; if it is not, `unknown_pages` names it from now on until it is loading.
  bool want(std::uint32_t page);
  // The block was read: a page's worth of bytes.
  Waiters on_loaded(std::uint32_t page, const Payload& block);
  // It cannot be read: the page is unknown again.
  Waiters on_failed(std::uint32_t page);
  // Those that somebody asked for and that are not loading.
  std::vector<std::uint32_t> unknown_pages() const;

  void wait(std::uint32_t page, std::uint64_t operation);
  void wait_for_map(std::uint32_t page, std::uint64_t request);
  // The node may serve again: the operations that waited for loaded pages, taken out page by page in ascending order.
  std::vector<std::vector<std::uint64_t>> take_waiters_of_loaded();

  // --- Entries
  // False also while the page is not loaded.
  bool exists(std::uint32_t index) const;
  // An operation waits for the entry to be written. True if it is the first: the caller has to write it now.
  bool begin_write(std::uint32_t index, std::uint64_t operation);
  // It was written, or it failed; the operations that waited, in the order of arrival.
  std::vector<std::uint64_t> on_written(std::uint32_t index, bool ok);

 private:
  struct Page {
    bool loaded = false, loading = false;
    std::vector<std::uint8_t> set;  // one for each entry
    Waiters waiters;
  };
  std::map<std::uint32_t, Page> pages_;
  std::map<std::uint32_t, std::vector<std::uint64_t>> writing_;
};

}  // namespace sd
