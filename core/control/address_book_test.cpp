#include "core/control/address_book.hpp"

#include <gtest/gtest.h>

#include "core/base/limits.hpp"

namespace sd::control {
namespace {

Endpoint at(std::uint8_t host) { return Endpoint::v4(10, 0, 0, host, 7000); }
Endpoint peer_at(std::uint8_t host) { return Endpoint::v4(10, 0, 0, host, 7001); }

cluster::State member(NodeId id, const Endpoint& address) {
  cluster::Member m;
  m.id = id;
  m.incarnation = 1;
  m.address = address;
  m.vnodes = 128;
  cluster::State state;
  state.apply(1, {0, 1, 0, cluster::Join{m}});
  return state;
}

TEST(AddressBook, TheStateCountsForWhoIsUpAndWhatWasHeardForOthers) {
  AddressBook book;
  cluster::State state = member(2, at(2));
  book.hear(2, at(20));
  book.hear(3, at(3));
  EXPECT_EQ(book.address_of(state, 2), peer_at(2));
  EXPECT_EQ(book.address_of(state, 3), peer_at(3));
  EXPECT_EQ(book.address_of(state, 4), std::nullopt);
  state.apply(2, {0, 1, 0, cluster::Remove{2, 1}});
  EXPECT_EQ(book.address_of(state, 2), peer_at(20)) << "it may have come back with another address";
}

TEST(AddressBook, KeepsSoManyHoweverManySpeak) {
  AddressBook book;
  for (NodeId node = 1; node <= 3 * limits::max_members; ++node) {
    book.hear(node, at(1));
    book.introduced(node, {1, 2});
  }
  EXPECT_EQ(book.check_state(), "");
  EXPECT_EQ(book.heard().size(), limits::max_members);
  book.hear(1, at(9));
  EXPECT_EQ(book.address_of({}, 1), peer_at(9)) << "those that are known may move";
  EXPECT_EQ(book.past_of(2), (std::vector<Incarnation>{1, 2}));
  book.forget_introduction(2);
  EXPECT_EQ(book.past_of(2), std::vector<Incarnation>{});
}

}  // namespace
}  // namespace sd::control
