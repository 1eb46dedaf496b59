// Moves a node's bytes over TCP and Unix sockets: listens, dials, reads into the node's buffers, sends its output
// queues.
//
// Used by one thread, inside the handlers of one io_context. Input runs straight into the node, which adds to the
// loop's Effects; the loop then notes what they ask of streams and, once per turn, calls `flush`, so that all replies
// of a turn leave in one system call.
#pragma once
#include <sys/types.h>

#include <boost/asio.hpp>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/node/node.hpp"
#include "runtime/log.hpp"

namespace sd::runtime {

namespace asio = boost::asio;

Time steady_now();

class StreamDriver {
 public:
  // All references must outlive the driver.
  StreamDriver(asio::io_context& io, Node& node, Effects& effects, Log log);
  ~StreamDriver();  // closes everything; tells the node nothing

  // The error is a sentence for the user. Accepting begins with `accept_all`.
  std::expected<void, std::string> listen(const Endpoint& endpoint, Service service);
  // The socket has exactly this mode from its first moment on. One that is there is replaced if nobody answers on it.
  std::expected<void, std::string> listen_unix(const std::string& path, Service service, mode_t mode);
  void accept_all();
  void stop_accepting();

  // While the node is not let in, the log names those of these that cannot be reached or answer like no node, each of
  // them once a minute.
  void watch_seeds(const std::vector<Endpoint>& seeds);

  void dial(StreamId id, const Endpoint& to);
  void note_output(StreamId id);
  void note_close(StreamId id);
  void note_resume(StreamId id);
  // Sends what was noted.
  void send();
  // Sends, closes what was noted and has nothing left to send, and waits for input again. Once per turn, at its end.
  void flush();

 private:
  struct Stream;
  struct Listener;
  struct Seed {
    Endpoint dialed;  // its peer port
    Time tell_at = 0;
  };
  using StreamPtr = std::shared_ptr<Stream>;

  StreamPtr find(StreamId id) const;
  void adopt(int fd, Service service);
  void accept_some(Listener& listener);
  void wait_accept(Listener& listener);
  void on_connected(const StreamPtr& stream);
  void wait_read(const StreamPtr& stream);
  void wait_read_after_flush(const StreamPtr& stream);
  void read_soon(const StreamPtr& stream);
  void read(const StreamPtr& stream);
  void write(const StreamPtr& stream);
  void wait_write(const StreamPtr& stream);
  void begin_close(const StreamPtr& stream);
  void forget(const StreamPtr& stream);
  void complain_of_seed(const Endpoint& dialed, std::string_view what);

  asio::io_context& io_;
  Node& node_;
  Effects& effects_;
  Log log_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unordered_map<StreamId, StreamPtr> streams_;
  std::vector<Seed> seeds_;
  std::vector<StreamPtr> to_write_, writing_;  // the second is the one being worked on
  std::vector<StreamPtr> to_wait_;             // for input, once the replies of this turn are out
  std::vector<StreamId> to_close_;
};

}  // namespace sd::runtime
