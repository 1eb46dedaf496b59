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

TEST(Watchdog, EndsWithoutABiteWhileItIsFed) {
  std::atomic<bool> bitten = false;
  std::promise<void> looked;
  {
    // As many looks as nothing but the end of the test can make.
    Watchdog dog(milliseconds(1), 1'000'000, [&] { bitten = true; });
    for (int i = 0; i < 100; ++i) dog.beat();
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
