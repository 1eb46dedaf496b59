#include "core/background/scrub.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

const Oid a = Oid::data(1, 0), b = Oid::data(1, 1), c = Oid::data(2, 0);
const auto stored = [] { return std::vector<Oid>{a, b, c}; };
const auto all = [](Oid) { return true; };

TEST(Scrub, ReadsEveryObjectOnceAndBeginsAnewWhenItIsTime) {
  Scrub scrub(1000, seconds(100));
  EXPECT_EQ(scrub.next(seconds(1), stored, all, 0), a);
  EXPECT_EQ(scrub.left(), 3u);
  EXPECT_EQ(scrub.next(seconds(2), stored, all, 0), std::nullopt);  // waits for the answer
  scrub.on_read(Status::ok, 0);
  EXPECT_EQ(scrub.next(seconds(2), stored, all, 0), b);
  scrub.on_read(Status::damaged, 0);
  EXPECT_EQ(scrub.next(seconds(3), stored, all, 0), c);
  scrub.on_read(Status::io_error, 0);
  EXPECT_EQ(scrub.passes(), 1u);
  EXPECT_EQ(scrub.objects(), 2u);
  EXPECT_EQ(scrub.next(seconds(100), stored, all, 0), std::nullopt);
  EXPECT_EQ(scrub.next(seconds(101), stored, all, 0), a);
}

TEST(Scrub, PausesAsLongAsTheBytesMayTake) {
  Scrub scrub(1000, seconds(100));
  EXPECT_EQ(scrub.next(seconds(1), stored, all, 500), a);
  scrub.on_read(Status::ok, 5500);
  EXPECT_EQ(scrub.next(seconds(6) - 1, stored, all, 5500), std::nullopt);
  EXPECT_EQ(scrub.next(seconds(6), stored, all, 5500), b);
}

TEST(Scrub, LeavesOutDisksThatAreGoneAndObjectsThatAreNeverAnswered) {
  Scrub scrub(1000, seconds(100));
  const auto only_first_disk = [](Oid oid) { return oid.vid() == 1; };
  EXPECT_EQ(scrub.next(seconds(1), stored, only_first_disk, 0), a);
  EXPECT_EQ(scrub.next(seconds(61), stored, only_first_disk, 0), b);
  scrub.on_read(Status::ok, 0);
  EXPECT_EQ(scrub.next(seconds(62), stored, only_first_disk, 0), std::nullopt);
  EXPECT_EQ(scrub.passes(), 1u);
}

TEST(Scrub, ARateOfZeroIsNoScrub) {
  Scrub scrub(0, seconds(100));
  EXPECT_EQ(scrub.next(seconds(1), stored, all, 0), std::nullopt);
}

}  // namespace
}  // namespace sd
