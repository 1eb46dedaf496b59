#include "runtime/loop.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <csignal>
#include <optional>
#include <utility>

#include "runtime/data_directory.hpp"
#include "runtime/stream_driver.hpp"
#include "runtime/watchdog.hpp"

namespace sd::runtime {

namespace {

constexpr std::size_t disk_budget = 256u << 10;  // bytes of disk operations started before replies are sent
constexpr Time turn_limit = milliseconds(1);     // then other streams and timers have their turn
constexpr auto stop_timeout = std::chrono::seconds(15);
constexpr auto space_interval = std::chrono::seconds(1);
constexpr auto look_interval = std::chrono::seconds(1);    // of the watchdog, no shorter than what wakes the loop
constexpr auto hung_disk = std::chrono::seconds(5);        // what takes longer at the end is not waited for
constexpr int joining_patience = 15, joining_repeat = 60;  // seconds: before the log says that it takes long, and then

bool empty(const Effects& e) {
  return e.disk.empty() && e.output.empty() && e.dial.empty() && e.close.empty() && e.resume.empty() && e.log.empty();
}

}  // namespace

struct Loop::Impl {
  Impl(LoopOptions o, Log l)
      : options(std::move(o)),
        log(std::move(l)),
        node(options.node, pool, options.random_seed),
        streams(io, node, effects, log) {}

  std::expected<void, std::string> open();
  int run();
  void settle();
  void perform();
  void arm_deadline();
  void arm_disk();
  void watch_space();
  void watch_signals();
  void watch_harmless_signals();
  void reopen_log();
  void update_space();
  void watch_joining();

  LoopOptions options;
  Log log;
  asio::io_context io{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO};  // one thread runs it
  // what an applied batch gives back is wanted again at once
  std::optional<Watchdog> watchdog;  // until everything else is gone
  BufferPool pool{options.node.max_dirty_bytes + (32u << 20)};
  Effects effects, performing;
  std::unique_ptr<DiskDriver> disk;
  Node node;
  StreamDriver streams;
  std::vector<DiskDone> done;
  asio::steady_timer deadline_timer{io}, space_timer{io}, stop_timer{io}, starved_timer{io};
  Time armed_deadline = never;
  asio::posix::stream_descriptor disk_event{io};
  bool disk_armed = false, starved_armed = false;
  asio::signal_set signals{io, SIGTERM, SIGINT}, harmless_signals{io, SIGHUP, SIGUSR1, SIGUSR2};
  bool stopping = false;
  int joining_told_in = joining_patience;  // seconds
  bool work_left = false;                  // settle gave others a turn before it was through
  int exit_code = -1;                      // -1: goes on
};

std::expected<void, std::string> Loop::Impl::open() {
  if (auto ok = check_identity(options.disk.directory, options.disk.journal_directory.empty()
                                                           ? options.disk.directory + "/journal"
                                                           : options.disk.journal_directory);
      !ok)
    return ok;
  if (const std::size_t files = raise_open_file_limit(); files < least_open_files)
    return std::unexpected(
        fmt::format("this process may open {} files only, and a node needs {}: raise the limit (LimitNOFILE= in a "
                    "systemd unit, ulimit -Hn in a shell)",
                    files, least_open_files));
  auto made = DiskDriver::create(options.disk, pool, log);
  if (!made) return std::unexpected(std::move(made.error()));
  disk = std::move(*made);
  disk_event.assign(::dup(disk->wait_fd()));
  if (auto ok = streams.listen(options.client, Service::client); !ok) return ok;
  if (options.listen_peers) {
    Endpoint peer = options.client;
    ++peer.port;
    if (auto ok = streams.listen(peer, Service::peer); !ok) return ok;
  }
  if (options.nbd)
    if (auto ok = streams.listen(*options.nbd, Service::nbd); !ok) return ok;
  if (!options.nbd_socket.empty())
    if (auto ok = streams.listen_unix(options.nbd_socket, Service::nbd, options.nbd_socket_mode); !ok) return ok;
  log.debug(fmt::format("disk operations go through {}", disk->engine_name()));
  return {};
}

int Loop::Impl::run() {
  watchdog.emplace(look_interval, static_cast<unsigned>(options.node.disk_patience / seconds(1)), [] {
    end_at_once(
        "sheep: nothing has moved for as long as --disk-timeout says, as if the disk hung; this node stops so that the "
        "others can take over\n",
        exit_gave_up);
  });
  watch_signals();
  watch_harmless_signals();
  watch_space();
  for (const std::string& seed : options.unresolved_seeds)
    log.warning(fmt::format("{}; the node starts without that seed, and asks for it again at its next start", seed));
  streams.watch_seeds(options.node.seeds);
  node.start(steady_now(), effects);
  streams.accept_all();
  settle();
  while (exit_code < 0) {
    if (work_left)
      io.poll();
    else
      io.run_one();
    settle();
  }
  streams.stop_accepting();
  log.tell_left_out(true);
  log.flush();
  // Whoever waits for a disk that hangs waits for ever, and so would everybody who is connected.
  if (disk->oldest() >= hung_disk) end_at_once("", exit_code);
  return exit_code;
}

// Performs effects, hands back results, and performs what those ask for, until nothing is left that can be done without
// waiting.
void Loop::Impl::settle() {
  watchdog->beat();
  work_left = false;
  const Time began = steady_now();
  for (;;) {
    perform();
    if (disk->pending()) streams.send();  // the other members write while this one does
    done.clear();
    disk->poll(done, disk_budget);
    if (!done.empty()) {
      const Time now = steady_now();
      for (DiskDone& d : done) node.on_disk(now, std::move(d), effects);
    } else {
      streams.flush();
      if (empty(effects) && !disk->pending()) break;
    }
    if (steady_now() - began > turn_limit) {
      perform();
      streams.flush();
      work_left = !empty(effects) || disk->pending();
      break;
    }
  }
  if (!node.fatal().empty()) {
    perform();  // the log says why
    exit_code = exit_gave_up;
    return;
  }
  if (node.stopped() && exit_code < 0) {
    log.info("stopped");
    exit_code = 0;
    return;
  }
  arm_deadline();
  arm_disk();
}

void Loop::Impl::perform() {
  if (empty(effects)) return;
  std::swap(effects, performing);  // what the node adds meanwhile is for the next round
  for (const LogLine& line : performing.log) log.write(line.level, line.text);
  for (DiskOp& op : performing.disk) disk->start(std::move(op));
  for (const Effects::Dial& dial : performing.dial) streams.dial(dial.stream, dial.to);
  for (const StreamId id : performing.output) streams.note_output(id);
  for (const StreamId id : performing.close) streams.note_close(id);
  for (const StreamId id : performing.resume) streams.note_resume(id);
  performing.clear();
}

// Only a nearer deadline moves the timer: one that fires too early costs a call of tick, and moving it for each request
// would cost more.
void Loop::Impl::arm_deadline() {
  const Time next = node.next_deadline();
  if (next >= armed_deadline) return;
  armed_deadline = next;
  const Time now = steady_now();
  deadline_timer.expires_after(std::chrono::nanoseconds(next > now ? next - now : 0));
  deadline_timer.async_wait([this](boost::system::error_code error) {
    if (error) return;
    armed_deadline = never;
    node.tick(steady_now(), effects);
  });
}

void Loop::Impl::arm_disk() {
  if (disk->starved() && !std::exchange(starved_armed, true)) {
    starved_timer.expires_after(DiskDriver::starved_retry);
    starved_timer.async_wait([this](boost::system::error_code) { starved_armed = false; });
  }
  if (disk_armed || disk->in_flight() == 0) return;
  disk_armed = true;
  disk_event.async_wait(asio::posix::stream_descriptor::wait_read,
                        [this](boost::system::error_code) { disk_armed = false; });
}

void Loop::Impl::update_space() {
  struct statvfs s;
  if (::statvfs(options.disk.directory.c_str(), &s) != 0) return;
  node.set_space(static_cast<std::uint64_t>(s.f_bavail) * s.f_frsize,
                 static_cast<std::uint64_t>(s.f_blocks) * s.f_frsize);
}

void Loop::Impl::watch_space() {
  update_space();
  node.set_disk_delay(steady_now(), static_cast<Time>(disk->oldest().count()), effects);
  log.tell_left_out();
  watch_joining();
  space_timer.expires_after(space_interval);
  space_timer.async_wait([this](boost::system::error_code error) {
    if (!error) watch_space();
  });
}

// A seed that takes connections and says nothing looks like one that is busy.
void Loop::Impl::watch_joining() {
  if (options.node.seeds.empty() || stopping) return;
  if (--joining_told_in > 0) return;
  joining_told_in = joining_repeat;
  if (node.status(steady_now()).member) return;
  std::string seeds;
  for (const Endpoint& seed : options.node.seeds)
    if (seed != options.node.address) seeds += (seeds.empty() ? "" : ", ") + to_string(seed);
  log.warning(seeds.empty() ? "no node has let this one in so far, and it knows no seed but itself"
                            : fmt::format("no node has let this one in so far; its seeds are {}", seeds));
}

void Loop::Impl::watch_signals() {
  signals.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    if (stopping) {
      log.warning("stopping at once: a second signal came");
      exit_code = 1;
      return;
    }
    stopping = true;
    log.info(fmt::format("received {}", signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    node.stop(steady_now(), effects);
    stop_timer.expires_after(stop_timeout);
    stop_timer.async_wait([this](boost::system::error_code timer_error) {
      if (timer_error) return;
      log.error("stopping at once: a clean stop took too long");
      exit_code = 1;
    });
    watch_signals();
  });
}

void Loop::Impl::watch_harmless_signals() {
  harmless_signals.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    if (signal == SIGHUP)
      reopen_log();
    else
      log.info(
          fmt::format("received {}, which means nothing to this program", signal == SIGUSR1 ? "SIGUSR1" : "SIGUSR2"));
    watch_harmless_signals();
  });
}

void Loop::Impl::reopen_log() {
  if (const auto opened = log.reopen(); !opened)
    log.error(fmt::format("received SIGHUP: {}; the log goes on in the old file", opened.error()));
  else
    log.info(log.to_file() ? "received SIGHUP: the log file was opened anew"
                           : "received SIGHUP: the log goes to the terminal, there is no file to open anew");
}

void ignore_harmless_signals() {
  for (const int signal : {SIGHUP, SIGUSR1, SIGUSR2}) std::signal(signal, SIG_IGN);
}

Loop::Loop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

// The signal sets give the signals back to the system, which would end the process while it cleans up.
Loop::~Loop() {
  impl_.reset();
  ignore_harmless_signals();
}

std::expected<std::unique_ptr<Loop>, std::string> Loop::create(LoopOptions options, Log log) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(log));
  if (auto opened = impl->open(); !opened) return std::unexpected(std::move(opened.error()));
  return std::make_unique<Loop>(std::move(impl));
}

int Loop::run() { return impl_->run(); }

}  // namespace sd::runtime
