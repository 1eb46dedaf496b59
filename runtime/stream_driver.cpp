#include "runtime/stream_driver.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "runtime/address.hpp"
#include "runtime/file_cache.hpp"

namespace sd::runtime {

namespace {

constexpr std::size_t read_budget = 256u << 10;  // bytes taken from one stream before others have their turn
constexpr std::size_t max_segments = 64;         // of one gathering write
constexpr auto dial_timeout = std::chrono::seconds(3);
constexpr auto close_timeout = std::chrono::seconds(1);
constexpr auto accept_pause = std::chrono::milliseconds(100);
constexpr Time seed_repeat = seconds(60);
// TCP sizes its own buffers; a Unix socket's stays small unless told, and one request of an NBD client is up to this
// large.
constexpr int unix_buffer = 2 << 20;
// What the system takes of a peer's stream beyond what is under way. All of it is ahead of the next heartbeat.
constexpr int peer_unsent = 128 << 10;

void set_option(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); }

// A predecessor that was killed gives its ports up a moment after the lock of its data directory.
bool bind_soon(int fd, const sockaddr* address, socklen_t size) {
  for (int i = 0; ::bind(fd, address, size) != 0; ++i) {
    if (errno != EADDRINUSE || i == 25) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

// Removes a socket that a process left behind when it was killed. Anything else in its place is an error.
std::expected<void, std::string> remove_stale(const sockaddr_un& address) {
  const char* path = address.sun_path;
  struct stat s;
  if (::lstat(path, &s) != 0) return {};  // none there, or bind says what is wrong
  if (!S_ISSOCK(s.st_mode))
    return std::unexpected(
        fmt::format("cannot listen on {}: there is something that is no socket: choose another path", path));
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return std::unexpected(fmt::format("cannot make a socket: {}", std::strerror(errno)));
  const bool dead = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
                    (errno == ECONNREFUSED || errno == ENOENT);
  ::close(probe);
  if (!dead)
    return std::unexpected(fmt::format(
        "cannot listen on {}: the socket is in use by another process: stop that one or choose another path", path));
  if (::unlink(path) != 0 && errno != ENOENT)
    return std::unexpected(fmt::format("cannot replace the old socket {}: {}", path, std::strerror(errno)));
  return {};
}

void tune(int fd, int family) {
  if (family == AF_UNIX) {
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &unix_buffer, sizeof unix_buffer) != 0)
      set_option(fd, SOL_SOCKET, SO_SNDBUF, unix_buffer);
    return;
  }
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

}  // namespace

// The clock that goes on while the machine is suspended: a lease must not seem to last because nobody counted.
Time steady_now() {
  timespec t;
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return seconds(static_cast<std::uint64_t>(t.tv_sec)) + static_cast<std::uint64_t>(t.tv_nsec);
}

struct StreamDriver::Stream {
  Stream(asio::io_context& io, int fd, StreamId stream_id) : descriptor(io, fd), timer(io), id(stream_id) {}
  int fd() { return descriptor.native_handle(); }

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;  // of a dial, or of a close that waits for its output
  StreamId id;
  Endpoint dialed;  // none: the other side has dialed
  bool connecting = false;
  bool reading = false;     // a wait for input is under way, or a read is about to run
  bool write_wait = false;  // the socket is full
  bool noted = false;       // in to_write_
  bool closing = false;     // the node has closed it; output is still being sent
  bool gone = false;
};

struct StreamDriver::Listener {
  Listener(asio::io_context& io, int fd, Service of, int socket_family)
      : descriptor(io, fd), timer(io), service(of), family(socket_family) {}
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  Service service;
  int family;
  std::string path;     // of a Unix socket
  bool paused = false;  // nothing is accepted until the timer ends
};

StreamDriver::StreamDriver(asio::io_context& io, Node& node, Effects& effects, Log log)
    : io_(io), node_(node), effects_(effects), log_(std::move(log)) {}

StreamDriver::~StreamDriver() {
  stop_accepting();
  for (auto& [id, stream] : streams_) stream->gone = true;
}

StreamDriver::StreamPtr StreamDriver::find(StreamId id) const {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

// ---- listening

std::expected<void, std::string> StreamDriver::listen(const Endpoint& endpoint, Service service) {
  sockaddr_storage address;
  const socklen_t size = to_socket_address(endpoint, address);
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return std::unexpected(fmt::format("cannot make a socket: {}", std::strerror(errno)));
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (!bind_soon(fd, reinterpret_cast<const sockaddr*>(&address), size) || ::listen(fd, 512) != 0) {
    const int error = errno;
    ::close(fd);
    return std::unexpected(
        fmt::format("cannot listen on {}: {}{}", to_string(endpoint), std::strerror(error),
                    error == EADDRINUSE      ? " (another process uses the port: stop it or choose another one)"
                    : error == EADDRNOTAVAIL ? " (this machine has no such address: choose another --bind-addr)"
                                             : ""));
  }
  listeners_.push_back(std::make_unique<Listener>(io_, fd, service, address.ss_family));
  return {};
}

std::expected<void, std::string> StreamDriver::listen_unix(const std::string& path, Service service, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return std::unexpected(fmt::format("the socket path {} is longer than {} bytes: choose a shorter one", path,
                                       sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (auto ok = remove_stale(address); !ok) return ok;
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return std::unexpected(fmt::format("cannot make a socket: {}", std::strerror(errno)));
  const mode_t mask = ::umask(0777 & ~mode);
  const int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  ::umask(mask);
  if (bound != 0 || ::listen(fd, 512) != 0) {
    const int error = bound != 0 ? bind_error : errno;
    ::close(fd);
    return std::unexpected(fmt::format("cannot listen on {}: {}", path, std::strerror(error)));
  }
  listeners_.push_back(std::make_unique<Listener>(io_, fd, service, AF_UNIX));
  listeners_.back()->path = path;
  return {};
}

void StreamDriver::accept_all() {
  for (auto& listener : listeners_) wait_accept(*listener);
}

void StreamDriver::stop_accepting() {
  for (auto& listener : listeners_) {
    boost::system::error_code ignored;
    listener->timer.cancel();
    listener->descriptor.close(ignored);
    if (!listener->path.empty()) ::unlink(std::exchange(listener->path, {}).c_str());
  }
}

void StreamDriver::wait_accept(Listener& listener) {
  listener.descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                 [this, &listener](boost::system::error_code error) {
                                   if (!error && listener.descriptor.is_open()) accept_some(listener);
                                 });
}

void StreamDriver::accept_some(Listener& listener) {
  for (int i = 0; i < 16; ++i) {
    const int fd = ::accept4(listener.descriptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      tune(fd, listener.family);
      adopt(fd, listener.service);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    log_.warning(fmt::format("cannot accept a connection: {}; none is accepted for a moment{}", std::strerror(errno),
                             is_out_of_descriptors(errno) ? ". Raise the limit of open files" : ""));
    listener.paused = true;
    listener.timer.expires_after(accept_pause);
    listener.timer.async_wait([this, &listener](boost::system::error_code) {
      if (!std::exchange(listener.paused, false) || !listener.descriptor.is_open()) return;
      wait_accept(listener);
    });
    return;
  }
  wait_accept(listener);
}

void StreamDriver::adopt(int fd, Service service) {
  const StreamId id = node_.on_accept(steady_now(), service, effects_);
  if (id == 0) {
    ::close(fd);
    log_.warning("refused a connection: too many are open");
    return;
  }
  auto stream = std::make_shared<Stream>(io_, fd, id);
  streams_[id] = stream;
  wait_read(stream);
}

// ---- dialing

void StreamDriver::watch_seeds(const std::vector<Endpoint>& seeds) {
  for (const Endpoint& seed : seeds) seeds_.push_back({{seed.address, static_cast<std::uint16_t>(seed.port + 1)}, 0});
}

void StreamDriver::complain_of_seed(const Endpoint& dialed, std::string_view what) {
  for (Seed& seed : seeds_) {
    const Time now = steady_now();
    if (seed.dialed != dialed || now < seed.tell_at || node_.status(now).member) continue;
    seed.tell_at = now + seed_repeat;
    const Endpoint named{dialed.address, static_cast<std::uint16_t>(dialed.port - 1)};
    log_.warning(fmt::format("the seed {} (its port for nodes is {}) {}", to_string(named), dialed.port, what));
  }
}

void StreamDriver::dial(StreamId id, const Endpoint& to) {
  sockaddr_storage address;
  const socklen_t size = to_socket_address(to, address);
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    log_.warning(fmt::format("cannot make a socket: {}", std::strerror(errno)));
    // The node must not hear of it inside its own call.
    asio::post(io_, [this, id] { node_.on_dialed(steady_now(), id, DialResult::failed, effects_); });
    return;
  }
  tune(fd, address.ss_family);
  set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, peer_unsent);
  auto stream = std::make_shared<Stream>(io_, fd, id);
  stream->connecting = true;
  stream->dialed = to;
  streams_[id] = stream;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    const DialResult result = errno == ECONNREFUSED ? DialResult::refused : DialResult::failed;
    complain_of_seed(to, fmt::format("cannot be reached: {}", std::strerror(errno)));
    asio::post(io_, [this, stream, result] {
      if (stream->gone) return;
      forget(stream);
      node_.on_dialed(steady_now(), stream->id, result, effects_);
    });
    return;
  }
  stream->timer.expires_after(dial_timeout);
  stream->timer.async_wait([this, stream](boost::system::error_code error) {
    if (error || stream->gone || !stream->connecting) return;
    complain_of_seed(stream->dialed, "cannot be reached: no answer");
    forget(stream);
    node_.on_dialed(steady_now(), stream->id, DialResult::failed, effects_);
  });
  stream->descriptor.async_wait(asio::posix::stream_descriptor::wait_write,
                                [this, stream](boost::system::error_code error) {
                                  if (!error && !stream->gone) on_connected(stream);
                                });
}

void StreamDriver::on_connected(const StreamPtr& stream) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(stream->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  stream->timer.cancel();
  stream->connecting = false;
  if (error != 0) {
    complain_of_seed(stream->dialed, fmt::format("cannot be reached: {}", std::strerror(error)));
    forget(stream);
    node_.on_dialed(steady_now(), stream->id, error == ECONNREFUSED ? DialResult::refused : DialResult::failed,
                    effects_);
    return;
  }
  node_.on_dialed(steady_now(), stream->id, DialResult::connected, effects_);
  wait_read(stream);
}

// ---- reading

void StreamDriver::wait_read(const StreamPtr& stream) {
  stream->reading = true;
  stream->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                [this, stream](boost::system::error_code error) {
                                  if (error || stream->gone) return;
                                  read(stream);
                                });
}

void StreamDriver::wait_read_after_flush(const StreamPtr& stream) {
  stream->reading = true;
  to_wait_.push_back(stream);
}

void StreamDriver::read_soon(const StreamPtr& stream) {
  stream->reading = true;
  asio::post(io_, [this, stream] {
    if (!stream->gone) read(stream);
  });
}

void StreamDriver::read(const StreamPtr& stream) {
  stream->reading = false;
  if (stream->closing) return;
  std::size_t taken = 0;
  for (;;) {
    const std::span<std::byte> buffer = node_.receive_buffer(stream->id);
    if (buffer.empty()) return;  // until the node says resume
    const ssize_t n = ::recv(stream->fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n > 0) {
      if (stream->dialed != Endpoint{})  // nodes answer on connections of their own
        complain_of_seed(stream->dialed, "answers as no node does: another service uses that port");
      const auto size = static_cast<std::size_t>(n);
      node_.on_received(steady_now(), stream->id, size, effects_);
      taken += size;
      if (size < buffer.size()) return wait_read_after_flush(stream);  // that was all there is, as far as one can know
      if (taken >= read_budget) return read_soon(stream);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return wait_read_after_flush(stream);
    if (stream->dialed != Endpoint{})
      complain_of_seed(stream->dialed,
                       "has closed the connection: it stopped, or does not take this node, and its log "
                       "says why; or it is no node of this version");
    forget(stream);
    node_.on_closed(steady_now(), stream->id, effects_);
    return;
  }
}

void StreamDriver::note_resume(StreamId id) {
  const StreamPtr stream = find(id);
  if (stream && !stream->reading && !stream->connecting && !stream->closing) read_soon(stream);
}

// ---- writing and closing

void StreamDriver::note_output(StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Stream& stream = *found->second;
  if (stream.noted || stream.write_wait || stream.connecting) return;
  stream.noted = true;
  to_write_.push_back(found->second);
}

void StreamDriver::note_close(StreamId id) { to_close_.push_back(id); }

void StreamDriver::send() {
  while (!to_write_.empty()) {
    writing_.swap(to_write_);
    for (const StreamPtr& stream : writing_) {
      stream->noted = false;
      if (!stream->gone) write(stream);
    }
    writing_.clear();
  }
}

void StreamDriver::flush() {
  send();
  for (std::size_t i = 0; i < to_close_.size(); ++i)
    if (const StreamPtr stream = find(to_close_[i])) begin_close(stream);
  to_close_.clear();
  for (const StreamPtr& stream : to_wait_)
    if (!stream->gone) wait_read(stream);
  to_wait_.clear();
}

void StreamDriver::write(const StreamPtr& stream) {
  OutQueue* queue = node_.output(stream->id);
  if (!queue || queue->empty()) return;
  for (; queue && !queue->empty(); queue = node_.output(stream->id)) {
    std::array<iovec, max_segments> segments;
    std::size_t count = 0, total = 0;
    queue->peek(max_segments, [&](std::span<const std::byte> bytes) {
      segments[count++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
      total += bytes.size();
    });
    msghdr message{};
    message.msg_iov = segments.data();
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(stream->fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) {
      forget(stream);
      node_.on_closed(steady_now(), stream->id, effects_);
      return;
    }
    if (n > 0) queue->consume(static_cast<std::size_t>(n));
    if (n < 0 || static_cast<std::size_t>(n) < total) return wait_write(stream);
  }
  node_.on_drained(steady_now(), stream->id, effects_);
}

void StreamDriver::wait_write(const StreamPtr& stream) {
  stream->write_wait = true;
  stream->descriptor.async_wait(asio::posix::stream_descriptor::wait_write,
                                [this, stream](boost::system::error_code error) {
                                  stream->write_wait = false;
                                  if (error || stream->gone) return;
                                  write(stream);
                                  if (stream->closing && !stream->gone && !stream->write_wait) begin_close(stream);
                                });
}

// The node has closed it. What is queued still goes out, if the other side takes it soon.
void StreamDriver::begin_close(const StreamPtr& stream) {
  const OutQueue* queue = node_.output(stream->id);
  if (queue && !queue->empty() && !stream->connecting) {
    if (stream->closing) return;
    stream->closing = true;
    if (!stream->write_wait) wait_write(stream);
    stream->timer.expires_after(close_timeout);
    stream->timer.async_wait([this, stream](boost::system::error_code error) {
      if (error || stream->gone) return;
      forget(stream);
      node_.on_closed(steady_now(), stream->id, effects_);
    });
    return;
  }
  forget(stream);
  node_.on_closed(steady_now(), stream->id, effects_);
}

void StreamDriver::forget(const StreamPtr& stream) {
  stream->gone = true;
  boost::system::error_code ignored;
  stream->timer.cancel();
  stream->descriptor.close(ignored);
  if (const auto found = streams_.find(stream->id); found != streams_.end() && found->second == stream)
    streams_.erase(found);
  for (const auto& listener : listeners_)
    if (listener->paused) listener->timer.cancel();  // there is a descriptor again
}

}  // namespace sd::runtime
