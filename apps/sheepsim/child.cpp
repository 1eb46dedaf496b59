#include "child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace sd::sim {

namespace {

constexpr std::uint64_t batch = 16;  // seeds of one child: enough to hide the cost of a fork

struct Worker {
  pid_t pid = 0;
  int results = -1;
  int errors = -1;
  std::uint64_t next = 0;  // the seed that it is working on
  std::uint64_t end = 0;   // past its last
  std::string text;
  std::string error_text;
};

void put(std::ostream& out, std::uint64_t seed, const Report& r) {
  std::string what = r.what;
  std::replace(what.begin(), what.end(), '\n', ' ');
  out << seed << '\t' << static_cast<int>(r.outcome) << '\t' << r.hash << '\t' << r.steps << '\t' << r.simulated << '\t'
      << r.operations << '\t' << r.errors << '\t' << r.checked_sectors << '\t' << r.faults << '\t' << r.restarts << '\t'
      << r.inconclusive << '\t' << r.probes << '\t' << what << '\n';
}

bool get(const std::string& line, SeedResult& result) {
  std::istringstream in(line);
  Report& r = result.report;
  int outcome = 0;
  in >> result.seed >> outcome >> r.hash >> r.steps >> r.simulated >> r.operations >> r.errors >> r.checked_sectors >>
      r.faults >> r.restarts >> r.inconclusive >> r.probes;
  if (!in) return false;
  in.get();
  std::getline(in, r.what);
  r.outcome = static_cast<Outcome>(outcome);
  return true;
}

void write_all(int fd, const std::string& text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    if (n <= 0) std::_Exit(1);
    at += static_cast<std::size_t>(n);
  }
}

[[noreturn]] void child(std::uint64_t first, std::uint64_t end, const BatchOptions& options, int results, int errors) {
  ::dup2(errors, 2);
  if (options.bug != SimBug::count) plant(options.bug);
  for (std::uint64_t seed = first; seed < end; ++seed) {
    ::alarm(options.seconds_per_seed);
    const Report report = run_seed(seed, options.overrides);
    std::ostringstream out;
    put(out, seed, report);
    write_all(results, out.str());
  }
  std::_Exit(0);
}

Worker start(std::uint64_t first, std::uint64_t end, const BatchOptions& options) {
  int results[2];
  int errors[2];
  if (::pipe2(results, O_CLOEXEC) != 0 || ::pipe2(errors, O_CLOEXEC) != 0) {
    std::perror("pipe");
    std::exit(1);
  }
  std::fflush(nullptr);
  Worker worker;
  worker.pid = ::fork();
  if (worker.pid < 0) {
    std::perror("fork");
    std::exit(1);
  }
  if (worker.pid == 0) child(first, end, options, results[1], errors[1]);
  ::close(results[1]);
  ::close(errors[1]);
  worker.results = results[0];
  worker.errors = errors[0];
  worker.next = first;
  worker.end = end;
  return worker;
}

// False at the end of the stream.
bool drain(int fd, std::string& into) {
  char buffer[4096];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n <= 0) return false;
  into.append(buffer, static_cast<std::size_t>(n));
  return true;
}

}  // namespace

bool plant([[maybe_unused]] SimBug bug) {
#ifdef SD_SIM_BUGS
  planted_bug = bug;
  return true;
#else
  return false;
#endif
}

void run_seeds(std::uint64_t first, std::uint64_t last, const BatchOptions& options,
               const std::function<bool(const SeedResult&)>& each) {
  std::vector<Worker> workers;
  std::uint64_t next = first;
  bool going = true;
  while (true) {
    while (going && workers.size() < std::max(1u, options.jobs) && next <= last) {
      const std::uint64_t end = std::min(last + 1, next + (options.jobs > 1 ? batch : batch * 4));
      workers.push_back(start(next, end, options));
      next = end;
    }
    if (workers.empty()) return;
    std::vector<pollfd> polls;
    for (const Worker& worker : workers) {
      polls.push_back({worker.results, POLLIN, 0});
      polls.push_back({worker.errors, POLLIN, 0});
    }
    ::poll(polls.data(), polls.size(), -1);
    for (std::size_t i = 0; i < workers.size(); ++i) {
      Worker& worker = workers[i];
      if (worker.errors >= 0 && polls[2 * i + 1].revents != 0 && !drain(worker.errors, worker.error_text)) {
        ::close(worker.errors);
        worker.errors = -1;
      }
      if (worker.results >= 0 && polls[2 * i].revents != 0 && !drain(worker.results, worker.text)) {
        ::close(worker.results);
        worker.results = -1;
      }
      for (std::size_t newline = 0; (newline = worker.text.find('\n')) != std::string::npos;) {
        SeedResult result;
        if (get(worker.text.substr(0, newline), result)) {
          worker.next = result.seed + 1;
          if (going) going = each(result);
        }
        worker.text.erase(0, newline + 1);
      }
      if (!going) ::kill(worker.pid, SIGKILL);
    }
    for (std::size_t i = workers.size(); i-- > 0;) {
      if (workers[i].results >= 0 || workers[i].errors >= 0) continue;
      const Worker worker = std::move(workers[i]);
      workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(i));
      int status = 0;
      ::waitpid(worker.pid, &status, 0);
      if (!going || worker.next == worker.end) continue;
      SeedResult result;
      result.seed = worker.next;
      const bool slow = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
      result.report.outcome = slow ? Outcome::liveness : Outcome::assertion;
      result.report.what = slow ? "takes too long in real time" : worker.error_text;
      if (!slow && result.report.what.empty() && WIFSIGNALED(status))
        result.report.what = std::string("killed by ") + ::strsignal(WTERMSIG(status));
      while (result.report.what.ends_with('\n')) result.report.what.pop_back();
      going = each(result);
      if (going && worker.next + 1 < worker.end) workers.push_back(start(worker.next + 1, worker.end, options));
    }
  }
}

Report run_one(std::uint64_t seed, const BatchOptions& options) {
  Report report;
  run_seeds(seed, seed, options, [&](const SeedResult& result) {
    report = result.report;
    return true;
  });
  return report;
}

}  // namespace sd::sim
