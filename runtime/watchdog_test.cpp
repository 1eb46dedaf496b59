#include "runtime/watchdog.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

namespace sd::runtime {
namespace {

using std::chrono::milliseconds;

TEST(Watchdog, BitesWhenNothingBeats) {
  std::promise<void> bitten;
  Watchdog dog(milliseconds(1), 5, [&] { bitten.set_value(); });
  bitten.get_future().wait();
}

TEST(Stillness, IsWhenNothingMovesForSoManyLooks) {
  Stillness stillness(3);
  EXPECT_FALSE(stillness.look(1));
  EXPECT_FALSE(stillness.look(1));
  EXPECT_FALSE(stillness.look(1));
  EXPECT_FALSE(stillness.look(2)) << "it has moved just in time";
  EXPECT_FALSE(stillness.look(2));
  EXPECT_FALSE(stillness.look(2));
  EXPECT_TRUE(stillness.look(2));
}

TEST(Watchdog, EndsWhileItLooks) {
  std::atomic<bool> bitten = false;
  {
    Watchdog dog(std::chrono::hours(1), 1, [&] { bitten = true; });
  }
  EXPECT_FALSE(bitten);
}

TEST(Watchdog, AtTheEndConnectionsAreHungUp) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const pid_t child = ::fork();
  if (child == 0) end_at_once("ends\n", 3);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
  // Shut down by the child, not merely closed: this process still holds the other copies.
  char byte;
  EXPECT_EQ(::read(pair[0], &byte, 1), 0);
  ::close(pair[0]);
  ::close(pair[1]);
}

}  // namespace
}  // namespace sd::runtime
