// One event loop: a node with its buffers, its disks, its streams and its timer, all on the thread that calls `run`. A
// process may have several; they share nothing.
#pragma once
#include <sys/types.h>

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/node/node.hpp"
#include "runtime/disk_driver.hpp"
#include "runtime/log.hpp"

namespace sd::runtime {

struct LoopOptions {
  NodeOptions node;
  std::uint64_t random_seed = 0;
  DiskDriverOptions disk;
  std::vector<std::string> unresolved_seeds;  // sentences; they are logged
  Endpoint client;                            // where to listen; the peer port is one above
  bool listen_peers = true;
  std::optional<Endpoint> nbd;
  std::string nbd_socket;         // path of a Unix socket; empty: none
  mode_t nbd_socket_mode = 0600;  // who may connect: whoever may write to it
};

inline constexpr int exit_gave_up = 3;

// SIGHUP, SIGUSR1 and SIGUSR2 do nothing from here on, until there is a Loop, which answers them.
void ignore_harmless_signals();

class Loop {
 public:
  // Listens on every port. The error is a sentence for the user.
  static std::expected<std::unique_ptr<Loop>, std::string> create(LoopOptions options, Log log);
  ~Loop();

  // Runs the node until SIGTERM or SIGINT has stopped it (0), it was told a second time or the stop took too long (1),
  // or it gave up (exit_gave_up: its disk failed or its files are damaged; the log says which). Unless it is 0
  // operations may still be in flight and destruction may wait for them: leave the process at once.
  //
  // SIGHUP opens the log file anew; SIGUSR1 and SIGUSR2 leave a line in it.
  int run();

  struct Impl;
  explicit Loop(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace sd::runtime
