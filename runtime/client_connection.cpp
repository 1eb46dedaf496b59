#include "runtime/client_connection.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/codec.hpp"
#include "core/base/limits.hpp"

namespace sd::runtime {

namespace {

// 0, or the errno of the failure.
int connect_within(int fd, const sockaddr* address, socklen_t size, int timeout_ms) {
  if (::connect(fd, address, size) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  pollfd p{fd, POLLOUT, 0};
  int ready;
  do ready = ::poll(&p, 1, timeout_ms);
  while (ready < 0 && errno == EINTR);
  if (ready == 0) return ETIMEDOUT;
  if (ready < 0) return errno;
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

std::expected<ClientConnection, std::string> ClientConnection::open(const std::string& host, std::uint16_t port,
                                                                    int timeout_ms) {
  const std::string peer = fmt::format("{}:{}", host, port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0)
    return std::unexpected(fmt::format("cannot resolve the address {}: {}", host, ::gai_strerror(error)));
  int last_error = ECONNREFUSED;
  for (const addrinfo* a = found; a; a = a->ai_next) {
    const int fd = ::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
      last_error = errno;
      continue;
    }
    last_error = connect_within(fd, a->ai_addr, a->ai_addrlen, timeout_ms);
    if (last_error == 0) {
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ::freeaddrinfo(found);
      return ClientConnection(fd, peer, timeout_ms);
    }
    ::close(fd);
  }
  ::freeaddrinfo(found);
  return std::unexpected(fmt::format("cannot connect to {}: {}{}", peer, std::strerror(last_error),
                                     last_error == ECONNREFUSED ? " (is sheep running there?)" : ""));
}

ClientConnection::ClientConnection(ClientConnection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), peer_(std::move(other.peer_)), timeout_ms_(other.timeout_ms_) {}

ClientConnection& ClientConnection::operator=(ClientConnection&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(peer_, other.peer_);
  std::swap(timeout_ms_, other.timeout_ms_);
  return *this;
}

ClientConnection::~ClientConnection() {
  if (fd_ >= 0) ::close(fd_);
}

std::expected<void, std::string> ClientConnection::wait_for(short events) {
  pollfd p{fd_, events, 0};
  for (;;) {
    const int ready = ::poll(&p, 1, timeout_ms_);
    if (ready > 0) return {};
    if (ready == 0) return std::unexpected(fmt::format("no answer from {} within {} ms", peer_, timeout_ms_));
    if (errno != EINTR) return std::unexpected(fmt::format("waiting for {}: {}", peer_, std::strerror(errno)));
  }
}

std::expected<void, std::string> ClientConnection::send_all(std::string_view bytes, bool more) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      if (auto ready = wait_for(POLLOUT); !ready) return ready;
    } else if (errno != EINTR) {
      return std::unexpected(fmt::format("sending to {}: {}", peer_, std::strerror(errno)));
    }
  }
  return {};
}

std::expected<void, std::string> ClientConnection::receive_all(char* to, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::recv(fd_, to, size, 0);
    if (n > 0) {
      to += n;
      size -= static_cast<std::size_t>(n);
    } else if (n == 0) {
      return std::unexpected(
          fmt::format("{} closed the connection without an answer (is that the client port of a sheep?)", peer_));
    } else if (errno == EAGAIN) {
      if (auto ready = wait_for(POLLIN); !ready) return ready;
    } else if (errno != EINTR) {
      return std::unexpected(fmt::format("receiving from {}: {}", peer_, std::strerror(errno)));
    }
  }
  return {};
}

std::expected<std::string, std::string> ClientConnection::call(std::string_view body) {
  if (body.size() > limits::max_client_frame)
    return std::unexpected(fmt::format("a request of {} bytes is larger than the protocol allows ({})", body.size(),
                                       limits::max_client_frame));
  std::string head;
  BigEndianWriter(head).u32(static_cast<std::uint32_t>(body.size()));
  if (auto sent = send_all(head, !body.empty()); !sent) return std::unexpected(std::move(sent.error()));
  if (auto sent = send_all(body, false); !sent) return std::unexpected(std::move(sent.error()));

  char length_bytes[4];
  if (auto got = receive_all(length_bytes, sizeof length_bytes); !got) return std::unexpected(std::move(got.error()));
  const std::uint32_t length = BigEndianReader(std::string_view(length_bytes, sizeof length_bytes)).u32();
  if (length > limits::max_client_frame)
    return std::unexpected(
        fmt::format("{} does not speak the sheep protocol (it announced an answer of {} bytes)", peer_, length));
  // Grown as the bytes arrive: a length alone reserves no memory.
  std::string answer;
  while (answer.size() < length) {
    const std::size_t before = answer.size(), step = std::min<std::size_t>(length - before, 1u << 20);
    answer.resize(before + step);
    if (auto got = receive_all(answer.data() + before, step); !got) return std::unexpected(std::move(got.error()));
  }
  return answer;
}

}  // namespace sd::runtime
