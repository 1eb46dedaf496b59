#include "core/base/ids.hpp"

#include <gtest/gtest.h>

namespace sd {
namespace {

TEST(Oid, BitsFollowTheOnDiskLayout) {
  EXPECT_EQ(Oid::data(0xabcdef, 0x12345678).value, 0x00abcdef12345678ull);
  EXPECT_EQ(Oid::inode(0xabcdef).value, 0x80abcdef00000000ull);
  EXPECT_EQ(Oid::index_object(0xabcdef, 3).value, 0x10abcdef00000003ull);
  EXPECT_EQ(Oid::vmstate_bit, 0x4000000000000000ull);
  EXPECT_EQ(Oid::attribute_bit, 0x2000000000000000ull);
  EXPECT_EQ(Oid::ledger_bit, 0x0800000000000000ull);
}

TEST(Oid, PartsComeBackWhateverTheKind) {
  for (const Oid oid : {Oid::data(max_vid, 0xffffffff), Oid::index_object(max_vid, 0xffffffff)}) {
    EXPECT_EQ(oid.vid(), max_vid);
    EXPECT_EQ(oid.index(), 0xffffffffu);
  }
  EXPECT_EQ(Oid::inode(7).vid(), 7u);
  EXPECT_EQ(Oid::inode(7).index(), 0u);
}

TEST(Oid, OnlyDataObjectsAreData) {
  EXPECT_TRUE(Oid::data(max_vid, 0xffffffff).is_data());
  EXPECT_FALSE(Oid::inode(1).is_data());
  EXPECT_FALSE(Oid::index_object(1, 0).is_data());
  EXPECT_FALSE((Oid{Oid::vmstate_bit}.is_data()));
  EXPECT_FALSE((Oid{Oid::attribute_bit}.is_data()));
  EXPECT_FALSE((Oid{Oid::ledger_bit}.is_data()));
}

TEST(Oid, TextIsTheObjectFileName) {
  EXPECT_EQ(to_string(Oid::data(0xab, 1)), "000000ab00000001");
  EXPECT_EQ(to_string(Oid::inode(0xab)), "800000ab00000000");
}

TEST(NodeIdText, HasSixteenDigitsOrIsADash) {
  EXPECT_EQ(id_text(0xab), "00000000000000ab");
  EXPECT_EQ(id_text(0), "-");
}

TEST(VersionOrder, GenerationCountsBeforeSequence) {
  EXPECT_LT((Version{1, 900}), (Version{2, 1}));
  EXPECT_LT((Version{2, 1}), (Version{2, 2}));
  EXPECT_LT((Version{}), (Version{0, 1}));
  EXPECT_EQ((Version{}), (Version{0, 0}));
}

TEST(EndpointText, ReadsAsPeopleWriteIt) {
  EXPECT_EQ(to_string(Endpoint::v4(10, 0, 0, 1, 7000)), "10.0.0.1:7000");
  EXPECT_TRUE(Endpoint::v4(10, 0, 0, 1, 7000).is_v4());

  Endpoint six;
  six.address = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  six.port = 65535;
  EXPECT_FALSE(six.is_v4());
  EXPECT_EQ(to_string(six), "[fe80:0:0:0:0:0:0:1]:65535");
}

TEST(EndpointText, AnAddressThatOnlyResemblesAMappedOneIsNotIpv4) {
  Endpoint endpoint = Endpoint::v4(1, 2, 3, 4, 1);
  endpoint.address[0] = 1;
  EXPECT_FALSE(endpoint.is_v4());
  endpoint = Endpoint::v4(1, 2, 3, 4, 1);
  endpoint.address[11] = 0;
  EXPECT_FALSE(endpoint.is_v4());
}

// Vectors published with the hash (draft-eastlake-fnv, appendix C).
TEST(Fnv1a, AgreesWithThePublishedVectors) {
  EXPECT_EQ(fnv1a("", 0), 0xcbf29ce484222325ull);
  EXPECT_EQ(fnv1a("a", 1), 0xaf63dc4c8601ec8cull);
  EXPECT_EQ(fnv1a("foobar", 6), 0x85944171f73967e8ull);
  EXPECT_EQ(fnv1a("bar", 3, fnv1a("foo", 3)), fnv1a("foobar", 6));
}

TEST(FirstVid, IsAlwaysAValidNumber) {
  for (int i = 0; i < 200'000; ++i) {
    const Vid vid = first_vid_for("disk-" + std::to_string(i));
    ASSERT_GE(vid, 1u);
    ASSERT_LE(vid, max_vid);
  }
}

TEST(FirstVid, DependsOnTheNameAlone) {
  EXPECT_EQ(first_vid_for("a"), static_cast<Vid>(0xaf63dc4c8601ec8cull & max_vid));
  EXPECT_NE(first_vid_for("a"), first_vid_for("b"));
}

}  // namespace
}  // namespace sd
