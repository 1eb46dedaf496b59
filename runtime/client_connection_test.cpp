#include "runtime/client_connection.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "core/base/codec.hpp"

namespace sd::runtime {
namespace {

// Accepts one connection and plays the script on it.
class Server {
 public:
  explicit Server(std::function<void(int)> script) : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this, script = std::move(script)] {
      const int fd = ::accept(listener_, nullptr, nullptr);
      script(fd);
      ::close(fd);
    });
  }
  ~Server() {
    thread_.join();
    ::close(listener_);
  }
  std::uint16_t port = 0;

 private:
  int listener_;
  std::thread thread_;
};

std::string read_exactly(int fd, std::size_t size) {
  std::string text(size, 0);
  if (size == 0) return text;
  EXPECT_EQ(::recv(fd, text.data(), size, MSG_WAITALL), static_cast<ssize_t>(size));
  return text;
}
std::string read_frame(int fd) {
  const std::string head = read_exactly(fd, 4);
  return read_exactly(fd, BigEndianReader(head).u32());
}
void send_text(int fd, std::string_view text) {
  EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}
std::string frame(std::string_view body) {
  std::string out;
  BigEndianWriter w(out);
  w.u32(static_cast<std::uint32_t>(body.size()));
  w.raw(body);
  return out;
}

TEST(ClientConnection, CallsSendAndReturnWholeFrames) {
  const std::string large(3'000'000, 'x');
  Server server([&](int fd) {
    EXPECT_EQ(read_frame(fd), "hello");
    send_text(fd, frame("wor").substr(0, 5));  // in two pieces
    send_text(fd, "or");
    EXPECT_EQ(read_frame(fd), large);
    send_text(fd, frame(large));
    EXPECT_EQ(read_frame(fd), "");
    send_text(fd, frame(""));
  });
  auto connection = ClientConnection::open("localhost", server.port, 5000);
  ASSERT_TRUE(connection) << connection.error();
  for (const std::string& request : {std::string("hello"), large, std::string()}) {
    const auto answer = connection->call(request);
    ASSERT_TRUE(answer) << answer.error();
    EXPECT_EQ(*answer, request == "hello" ? "wor" : request);
  }
}

TEST(ClientConnection, AnAbsurdLengthIsAnErrorAndReservesNothing) {
  Server server([](int fd) {
    read_frame(fd);
    send_text(fd, "HTTP/1.1 400 Bad Request\r\n");
    char byte;
    ::recv(fd, &byte, 1, 0);  // until the client gives up
  });
  auto connection = ClientConnection::open("127.0.0.1", server.port, 5000);
  const auto answer = connection->call("x");
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().find("does not speak"), std::string::npos) << answer.error();
  connection = std::unexpected(std::string());
}

TEST(ClientConnection, SaysSoWhenTheServerCloses) {
  Server server([](int fd) {
    read_frame(fd);
    send_text(fd, std::string_view("\0\0\0\10ab", 6));
  });
  auto connection = ClientConnection::open("127.0.0.1", server.port, 5000);
  const auto answer = connection->call("x");
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().find("closed"), std::string::npos) << answer.error();
}

TEST(ClientConnection, DoesNotWaitForever) {
  Server server([](int fd) {
    read_frame(fd);
    char byte;
    ::recv(fd, &byte, 1, 0);
  });
  auto connection = ClientConnection::open("127.0.0.1", server.port, 50);
  const auto answer = connection->call("x");
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().find("no answer"), std::string::npos) << answer.error();
  connection = std::unexpected(std::string());
}

TEST(ClientConnection, NamesTheAddressItCannotReach) {
  std::uint16_t port;
  {
    Server gone([](int) {});
    port = gone.port;
    ASSERT_TRUE(ClientConnection::open("127.0.0.1", port, 1000));
  }
  const auto refused = ClientConnection::open("127.0.0.1", port, 1000);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("127.0.0.1:" + std::to_string(port)), std::string::npos) << refused.error();
  EXPECT_FALSE(ClientConnection::open("no such host", 1, 1000));
}

}  // namespace
}  // namespace sd::runtime
