// Opening: find the objects, make a journal or replay the one that is there.
//
//   listing -> formatting ----------------------------------------> done
//           -> syncing -> scanning -> erasing -> probing ----------> done
//
// The journal is synced first: all that is then read from it is durable. What an earlier incarnation wrote and did not
// sync (metadata slots, object data) is written and synced again, because its records lie behind the tail; a slot that
// may not be durable is synced before the other one is overwritten.
//
// One object for each opening.
#pragma once
#include "core/store/changes.hpp"
#include "core/store/journal_writer.hpp"
#include "core/store/object_cache.hpp"
#include "core/store/write_back.hpp"

namespace sd::store_detail {

class Opening {
 public:
  // `earlier`: the superblock of the incarnation of the memory before this one, if there was one. `limit`: batches from
  // this one on were answered as failed, and are not to be replayed.
  Opening(Context& context, ObjectCache& cache, JournalWriter& journal, Changes& changes, WriteBack& write_back,
          const journal::Super& earlier, std::uint64_t limit)
      : context_(context),
        cache_(cache),
        journal_(journal),
        changes_(changes),
        write_back_(write_back),
        limit_(limit),
        super_(earlier) {}

  void start();
  // Results with the tags from list_objects on.
  void on_disk(Tag tag, DiskDone&& done);
  // Does whatever the last input made possible.
  void advance();
  bool scanning() const { return stage_ == Stage::scanning; }
  bool done() const { return stage_ == Stage::done; }

 private:
  enum class Stage : std::uint8_t { listing, formatting, syncing, scanning, erasing, probing, done };
  static constexpr std::uint64_t nowhere = UINT64_MAX;
  struct Listing {
    std::uint32_t answers = 0;  // still to come
    std::vector<FileId> objects;
    std::vector<FileId> metas;
    Slice super_blocks;
  };
  struct Format {
    std::uint64_t offset = 0;
    int step = 0;
  };
  // The part of the journal that is in memory.
  struct Window {
    Slice data;
    std::uint64_t position = 0;
    std::uint64_t wanted = 0;
    bool in_flight = false;
  };
  struct Scan {
    std::uint64_t position = 0;
    std::uint64_t sequence = 0;
    std::uint64_t link = 0;
    int place = 0;  // 0: looking right behind the last batch, 1: at the next lap's beginning
    // headers that claim to be the next batch and are not, by place
    std::uint64_t leftovers[2] = {nowhere, nowhere};
    std::uint64_t bytes = 0;  // replayed since the last round
  };
  // A batch that was read and is being replayed.
  struct Found {
    bool any = false;
    journal::Header header;
    journal::Batch batch;
    std::uint64_t link = 0;
    std::uint64_t end = 0;
    Slice payload;
  };
  struct Erase {
    std::uint32_t left = 0;
    bool synced = false;  // or being synced
  };
  struct Probe {
    std::uint64_t position = 0;
    std::uint64_t end = 0;
  };

  void on_listing(DiskDone&& done, Tag tag);
  void listed();
  void begin_format();
  void format_step();
  void format_next(DiskOp&& op);
  bool fill_journal();
  void on_format(Status status);
  void on_open_sync(Status status);
  void begin_scan();
  void scan();
  bool replayed_enough();
  bool look_for_batch();
  bool follows(const journal::Header& header, std::uint64_t at, std::uint64_t room) const;
  bool need_window(std::uint64_t position, std::uint64_t bytes);
  void on_window(DiskDone&& done);
  bool take_batch(const journal::Header& header, std::span<const std::byte> bytes);
  bool replay_batch();
  void replay_record(const journal::Record& record, const Slice& data);
  void note_lost_changes(Object& o, const journal::Record& record);
  void end_scan();
  void on_erase(Status status);
  void begin_probe();
  void probe();
  bool is_later_batch(const journal::Header& header, std::span<const std::byte> bytes) const;
  void finish();

  Context& context_;
  ObjectCache& cache_;
  JournalWriter& journal_;
  Changes& changes_;
  WriteBack& write_back_;
  std::uint64_t limit_;
  journal::Super super_;
  Stage stage_ = Stage::listing;
  Listing listing_;
  Format format_;
  Window window_;
  Scan scan_;
  Found found_;
  Erase erase_;
  Probe probe_;
};

}  // namespace sd::store_detail
