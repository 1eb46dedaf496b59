// Each invariant of the store is shown to bite: its parts are broken by hand.
#include "core/store/store_invariants.hpp"

#include <gtest/gtest.h>

#include "core/store/changes.hpp"
#include "core/store/journal_writer.hpp"
#include "core/store/object_cache.hpp"
#include "core/store/write_back.hpp"

namespace sd {
namespace {

using namespace store_detail;

TEST(StoreInvariants, AStepMayNotTakeBackWhatWasPromised) {
  const StoreObservation before{false, 1, 7, 5, 9, 4};
  EXPECT_EQ(check_change(before, before), "");
  const auto after = [&](auto&& change) {
    StoreObservation seen = before;
    change(seen);
    return check_change(before, seen);
  };
  EXPECT_EQ(after([](auto& s) { s.completed = 8; }), "");
  EXPECT_NE(after([](auto& s) { s.completed = 6; }), "");
  EXPECT_NE(after([](auto& s) { s.durable = 4; }), "");
  EXPECT_NE(after([](auto& s) { s.next = 8; }), "");
  EXPECT_NE(after([](auto& s) { s.tail = 3; }), "");
  EXPECT_EQ(after([](auto& s) { s.tail = 6; }), "");
  EXPECT_NE(after([](auto& s) { s.tail = 7; }), "");
  EXPECT_NE(after([](auto& s) { s.opened = 0; }), "");
  // A memory that was filled anew counts from what the disk says.
  EXPECT_EQ(after([](auto& s) { s = {false, 2, 3, 3, 4, 1}; }), "");
  StoreObservation failed = before;
  failed.failed = true;
  EXPECT_NE(check_change(failed, before), "");
}

class StoreParts : public testing::Test {
 protected:
  StoreParts() {
    context.fx = &fx;
    journal::Super super;
    super.capacity = 1u << 20;
    super.tail_sequence = 1;
    journal.adopt(super);
  }
  Object& dirty_object() {
    Object& o = cache.activate(oid, cache.entry(oid));
    journal::Record record;
    record.key = oid;
    record.creates = true;
    const Slice data = pool.zeros(limits::block_size);
    record.count = 1;
    const auto crcs = journal.append(record, {&data, 1});
    changes.absorb(o, record, journal.next_sequence(), crcs, {&data, 1});
    return o;
  }

  const Oid oid = Oid::data(1, 0);
  BufferPool pool;
  StoreEffects fx;
  Context context{StoreOptions{}, pool, 1};
  ObjectCache cache{context};
  JournalWriter journal{context};
  Changes changes{context};
  WriteBack write_back{context, cache, journal, changes};
};

TEST_F(StoreParts, TheJournalKnowsItsOrderAndItsRoom) {
  dirty_object();
  journal.submit();
  EXPECT_EQ(journal.check_state(), "");
  context.options.max_batches_in_flight = 0;
  EXPECT_EQ(journal.check_state(), "only so many batches are in flight");
  context.options.max_batches_in_flight = 2;
  journal.replayed(5, 0, 4096);  // between a batch that is in flight and the pending one
  EXPECT_EQ(journal.check_state(), "batches in flight are a run that follows what is in the journal");
}

TEST_F(StoreParts, TheTailStaysBeforeTheEnd) {
  journal.move_tail({0, 4096, 0});
  EXPECT_EQ(journal.check_state(), "the journal holds no more than it has room for");
}

TEST_F(StoreParts, ABatchIsBounded) {
  context.options.max_batch_records = 1;
  dirty_object();
  EXPECT_EQ(journal.check_state(), "");
  dirty_object();
  EXPECT_EQ(journal.check_state(), "a batch holds only so many records");
}

TEST_F(StoreParts, ChangesAreCountedAndKnown) {
  Object& o = dirty_object();
  EXPECT_EQ(changes.check_state(limits::block_size), "");
  EXPECT_EQ(changes.check_state(limits::block_size - 1), "only so much that is not in files is in memory");
  o.dirty = false;
  EXPECT_EQ(changes.check_state(limits::block_size), "an object knows that it has changed");
}

TEST_F(StoreParts, IdleObjectsAreInLineAndBounded) {
  Object& o = cache.activate(oid, cache.entry(oid));
  o.exists = true;
  cache.settle(o);
  EXPECT_EQ(cache.check_state(), "");
  o.dirty = true;
  EXPECT_EQ(cache.check_state(), "only idle objects may be forgotten");
  o.dirty = false;
  context.options.meta_cache = 0;
  EXPECT_EQ(cache.check_state(), "only so many idle objects stay in memory");
  context.options.meta_cache = 1;
  ++context.counts.loaded_objects;
  EXPECT_EQ(cache.check_state(), "an object is in use or spare");
}

TEST_F(StoreParts, ARoundBeginsBetweenBatchesAndAppliesWhatIsDurable) {
  dirty_object();
  journal.submit();
  EXPECT_EQ(journal.on_batch(1, Status::ok), Status::ok);
  write_back.want_round();
  write_back.begin(false);
  write_back.advance();
  EXPECT_EQ(write_back.check_state(), "");
  journal.on_sync(Status::ok);
  write_back.advance();
  EXPECT_EQ(write_back.check_state(), "");
  journal::Super super;
  super.capacity = 1u << 20;
  journal.adopt(super);  // as if the journal were another one
  EXPECT_EQ(write_back.check_state(), "a round begins between batches");
}

}  // namespace
}  // namespace sd
