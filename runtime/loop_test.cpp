// A real node on a real loop: starts, serves its ports, stops on a signal, and leaves nothing behind.
#include "runtime/loop.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "runtime/data_directory.hpp"

namespace sd::runtime {
namespace {

// Two neighbouring ports that were free a moment ago.
std::uint16_t free_ports() {
  for (;;) {
    const int a = ::socket(AF_INET, SOCK_STREAM, 0), b = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bool good = ::bind(a, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                ::getsockname(a, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    const std::uint16_t port = ntohs(address.sin_port);
    address.sin_port = htons(static_cast<std::uint16_t>(port + 1));
    good = good && port < 65535 && ::bind(b, reinterpret_cast<sockaddr*>(&address), size) == 0;
    ::close(a);
    ::close(b);
    if (good) return port;
  }
}

int connect_tcp(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << port;
  return fd;
}

int connect_unix(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << path;
  return fd;
}

// Reads until `size` bytes came, the other side closed, or nothing moved for 10 s.
std::string read_some(int fd, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    pollfd p{fd, POLLIN, 0};
    if (::poll(&p, 1, 10'000) != 1) break;
    char buffer[4096];
    const ssize_t n = ::recv(fd, buffer, std::min(sizeof buffer, size - text.size()), 0);
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

class LoopTest : public testing::TestWithParam<DiskEngineKind> {
 protected:
  void SetUp() override {
    char name[] = "/var/tmp/sd-loop-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
    ASSERT_TRUE(DataDirectory::open(path_, ""));
    port_ = free_ports();
  }
  void TearDown() override { std::filesystem::remove_all(path_); }

  LoopOptions options() const {
    LoopOptions o;
    o.node.address = o.client = Endpoint::v4(127, 0, 0, 1, port_);
    o.node.local_only = true;
    o.node.journal_bytes = 32u << 20;
    o.random_seed = 1;
    o.disk.directory = path_;
    o.disk.engine = GetParam();
    o.nbd_socket = path_ + "/nbd";
    return o;
  }
  // Runs `client` beside a loop, then stops the loop with a signal.
  int run(const std::function<void()>& client, const Log& log = Log::none()) {
    auto loop = Loop::create(options(), log);
    EXPECT_TRUE(loop) << loop.error();
    if (!loop) return -1;
    std::thread thread([&] {
      client();
      ::kill(::getpid(), SIGTERM);
    });
    const int code = (*loop)->run();
    thread.join();
    return code;
  }

  std::string path_;
  std::uint16_t port_ = 0;
};

TEST_P(LoopTest, GreetsNbdClientsAndStopsCleanlyTwiceInARow) {
  for (int incarnation = 0; incarnation < 2; ++incarnation)
    EXPECT_EQ(run([&] {
                const int fd = connect_unix(path_ + "/nbd");
                EXPECT_EQ(read_some(fd, 8), "NBDMAGIC");
                ::close(fd);
              }),
              0);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/nbd")) << "the socket is removed at the end";
  EXPECT_TRUE(std::filesystem::exists(path_ + "/node")) << "the node keeps its identity";
}

TEST_P(LoopTest, ClosesAConnectionThatBreaksTheProtocolAndServesOthers) {
  EXPECT_EQ(run([&] {
              const int bad = connect_unix(path_ + "/nbd"), good = connect_unix(path_ + "/nbd");
              const std::string rubbish(4096, '\xff');
              EXPECT_GT(::send(bad, rubbish.data(), rubbish.size(), MSG_NOSIGNAL), 0);
              EXPECT_LT(read_some(bad, 1 << 20).size(), 1u << 20) << "the end of the connection is seen";
              EXPECT_EQ(read_some(good, 8), "NBDMAGIC");
              const int client = connect_tcp(port_);
              EXPECT_GT(::send(client, rubbish.data(), rubbish.size(), MSG_NOSIGNAL), 0);
              EXPECT_LT(read_some(client, 1 << 20).size(), 1u << 20);
              ::close(bad);
              ::close(good);
              ::close(client);
            }),
            0);
}

TEST_P(LoopTest, StopsWithConnectionsOpen) {
  int fds[3] = {};
  EXPECT_EQ(run([&] {
              for (int& fd : fds) EXPECT_EQ(read_some(fd = connect_unix(path_ + "/nbd"), 8), "NBDMAGIC");
            }),
            0);
  for (const int fd : fds) {
    read_some(fd, 1 << 20);  // ends, since the socket is closed
    ::close(fd);
  }
}

// Log rotation sends SIGHUP to every node of a cluster at the same moment.
TEST_P(LoopTest, LivesThroughTheSignalsThatAskForNothing) {
  const std::string file = path_ + "/log";
  const auto log = Log::open(Log::Level::info, file);
  ASSERT_TRUE(log) << log.error();
  const auto says = [&](const std::string& what) {
    for (int i = 0; i < 1000; ++i) {
      std::ostringstream text;
      text << std::ifstream(file).rdbuf();
      if (text.str().find(what) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  };
  EXPECT_EQ(run(
                [&] {
                  EXPECT_TRUE(says("incarnation 1"));
                  std::filesystem::rename(file, file + ".1");
                  ::kill(::getpid(), SIGHUP);
                  EXPECT_TRUE(says("received SIGHUP: the log file was opened anew"));
                  ::kill(::getpid(), SIGUSR1);
                  EXPECT_TRUE(says("received SIGUSR1"));
                  ::kill(::getpid(), SIGUSR2);
                  EXPECT_TRUE(says("received SIGUSR2"));
                  const int fd = connect_unix(path_ + "/nbd");
                  EXPECT_EQ(read_some(fd, 8), "NBDMAGIC");
                  ::close(fd);
                },
                *log),
            0);
  ::kill(::getpid(), SIGHUP);  // nor does it end a process whose loop is gone
}

TEST_P(LoopTest, TheNbdSocketHasTheModeThatWasAskedForWhateverTheMask) {
  for (const mode_t mode : {0600, 0660, 0666}) {
    for (const mode_t mask : {0, 077}) {
      LoopOptions o = options();
      if (mode != o.nbd_socket_mode) o.nbd_socket_mode = mode;
      const mode_t before = ::umask(mask);
      auto loop = Loop::create(std::move(o), Log::none());
      EXPECT_EQ(::umask(before), mask) << "the mask is as it was";
      ASSERT_TRUE(loop) << loop.error();
      struct stat s;
      ASSERT_EQ(::stat((path_ + "/nbd").c_str(), &s), 0);
      EXPECT_EQ(s.st_mode & 0777, mode);
    }
  }
}

TEST_P(LoopTest, OnlyADeadSocketIsReplaced) {
  const std::string path = path_ + "/nbd";
  std::ofstream(path) << "letter";
  const auto over_a_file = Loop::create(options(), Log::none());
  ASSERT_FALSE(over_a_file);
  EXPECT_NE(over_a_file.error().find("no socket"), std::string::npos) << over_a_file.error();
  EXPECT_EQ(std::filesystem::file_size(path), 6u);
  std::filesystem::remove(path);

  const int other = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(::bind(other, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(other, 1), 0);
  const auto over_a_live_one = Loop::create(options(), Log::none());
  ASSERT_FALSE(over_a_live_one);
  EXPECT_NE(over_a_live_one.error().find("another process"), std::string::npos) << over_a_live_one.error();
  ::close(other);
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(Loop::create(options(), Log::none())) << "nobody answers any more";
}

TEST_P(LoopTest, APortInUseIsAnErrorThatNamesIt) {
  auto first = Loop::create(options(), Log::none());
  ASSERT_TRUE(first) << first.error();
  const auto second = Loop::create(options(), Log::none());
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find(std::to_string(port_)), std::string::npos) << second.error();
}

INSTANTIATE_TEST_SUITE_P(Engines, LoopTest, testing::Values(DiskEngineKind::uring, DiskEngineKind::threads),
                         [](const auto& param) { return param.param == DiskEngineKind::uring ? "uring" : "threads"; });

}  // namespace
}  // namespace sd::runtime
