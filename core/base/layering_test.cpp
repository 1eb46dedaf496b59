// The rules of the tree that a compiler does not know: which folder may use what, and what no file may contain.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace sd {
namespace {

struct SourceFile {
  std::string path;  // from the top of the tree
  std::vector<std::string> lines;
  std::string folder() const { return path.substr(0, path.find('/')); }
  bool is_test() const { return path.ends_with("_test.cpp"); }
};

std::vector<SourceFile> source_files() {
  const std::filesystem::path top = SD_SOURCE_DIR;
  std::vector<SourceFile> files;
  for (const char* folder : {"core", "sim", "runtime", "apps", "fuzz", "proptests"}) {
    if (!std::filesystem::exists(top / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top / folder)) {
      const auto extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".cpp" && extension != ".hpp")) continue;
      SourceFile file{std::filesystem::relative(entry.path(), top).generic_string(), {}};
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) file.lines.push_back(line);
      files.push_back(std::move(file));
    }
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

// Calls f(line number from 1, included name without brackets or quotes).
template <typename F>
void for_each_include(const SourceFile& file, F&& f) {
  static const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::smatch match;
  for (std::size_t i = 0; i < file.lines.size(); ++i)
    if (std::regex_search(file.lines[i], match, include)) f(i + 1, match[1].str());
}

// Why a deterministic machine may not include it; empty if it may.
std::string_view why_forbidden_in_machines(std::string_view name) {
  struct Rule {
    std::string_view prefix, why;
  };
  static constexpr std::array rules = {
      Rule{"boost/asio", "machines do no input or output"},
      Rule{"boost/beast", "machines do no input or output"},
      Rule{"boost/unordered", "its iteration order is not part of any promise"},
      Rule{"liburing", "machines do no input or output"},
      Rule{"spdlog", "machines have no logging sinks; they return log lines"},
      Rule{"sys/", "machines make no system calls"},
      Rule{"netinet/", "machines have no sockets"},
      Rule{"arpa/", "machines have no sockets"},
      Rule{"netdb.h", "machines have no sockets"},
      Rule{"unistd.h", "machines make no system calls"},
      Rule{"fcntl.h", "machines make no system calls"},
      Rule{"poll.h", "machines make no system calls"},
      Rule{"signal.h", "machines make no system calls"},
      Rule{"pthread.h", "machines have no threads"},
  };
  static constexpr std::array<std::string_view, 24> headers = {
      "thread",        "mutex",         "shared_mutex", "condition_variable",
      "future",        "semaphore",     "latch",        "barrier",
      "stop_token",    "filesystem",    "fstream",      "iostream",
      "random",        "chrono",        "ctime",        "time.h",
      "unordered_map", "unordered_set", "locale",       "csignal",
      "coroutine",     "syncstream",    "execution",    "cfenv"};
  for (const Rule& rule : rules)
    if (name.starts_with(rule.prefix)) return rule.why;
  if (std::ranges::find(headers, name) != headers.end())
    return "no threads, files, clocks, random devices or unordered containers in machines";
  return {};
}

TEST(Layering, TheTreeIsWhereTheTestLooks) {
  const auto files = source_files();
  EXPECT_GT(files.size(), 20u);
  EXPECT_TRUE(std::ranges::any_of(files, [](const SourceFile& file) { return file.path == "core/base/codec.hpp"; }));
}

TEST(Layering, TheRulesCatchWhatTheyShould) {
  for (const auto* name :
       {"boost/asio.hpp", "boost/asio/ip/tcp.hpp", "thread", "mutex", "condition_variable", "filesystem", "fstream",
        "random", "chrono", "unordered_map", "unordered_set", "sys/socket.h", "unistd.h", "liburing.h"})
    EXPECT_FALSE(why_forbidden_in_machines(name).empty()) << name;
  for (const auto* name : {"vector", "map", "boost/container/small_vector.hpp", "core/base/random.hpp",
                           "boost/context/fiber.hpp", "atomic"})
    EXPECT_TRUE(why_forbidden_in_machines(name).empty()) << name;

  SourceFile file{"x.cpp", {"#include <thread>", "  #  include \"core/a.hpp\"", "// #include <mutex>", "int include;"}};
  std::vector<std::string> found;
  for_each_include(file, [&](std::size_t, const std::string& name) { found.push_back(name); });
  EXPECT_EQ(found, (std::vector<std::string>{"thread", "core/a.hpp"}));
}

// The simulator is worth something only if the same inputs always give the same outputs.
TEST(Layering, MachinesTouchNothingOfTheWorld) {
  for (const SourceFile& file : source_files()) {
    if ((file.folder() != "core" && file.folder() != "sim") || file.is_test()) continue;
    for_each_include(file, [&](std::size_t line, const std::string& name) {
      if (const auto why = why_forbidden_in_machines(name); !why.empty())
        ADD_FAILURE() << file.path << ":" << line << " includes <" << name << ">: " << why;
    });
  }
}

TEST(Layering, DependenciesPointOneWay) {
  struct Rule {
    std::string_view folder;
    std::vector<std::string_view> may_not_include;
  };
  const std::vector<Rule> rules = {
      {"core", {"sim/", "runtime/", "apps/"}}, {"sim", {"runtime/", "apps/"}}, {"runtime", {"sim/", "apps/"}}};
  for (const SourceFile& file : source_files())
    for (const Rule& rule : rules) {
      if (file.folder() != rule.folder) continue;
      for_each_include(file, [&](std::size_t line, const std::string& name) {
        for (const auto target : rule.may_not_include)
          EXPECT_FALSE(name.starts_with(target)) << file.path << ":" << line << " includes " << name << ": "
                                                 << rule.folder << "/ does not depend on " << target;
      });
    }
}

TEST(Tidiness, NoFileIsTooLongToRead) {
  for (const SourceFile& file : source_files())
    EXPECT_LE(file.lines.size(), 1200u) << file.path << ": split it by what it does";
}

TEST(Tidiness, NothingIsLeftForLater) {
  // Spelled in two parts, so that this file does not find itself.
  const std::array<std::string, 2> markers = {std::string("TO") + "DO", std::string("FIX") + "ME"};
  for (const SourceFile& file : source_files())
    for (std::size_t i = 0; i < file.lines.size(); ++i)
      for (const auto& marker : markers)
        EXPECT_EQ(file.lines[i].find(marker), std::string::npos)
            << file.path << ":" << i + 1 << ": do it now, or open an issue";
}

TEST(Tidiness, EveryHeaderIsGuarded) {
  for (const SourceFile& file : source_files())
    if (file.path.ends_with(".hpp")) {
      EXPECT_NE(std::ranges::find(file.lines, "#pragma once"), file.lines.end()) << file.path;
    }
}

}  // namespace
}  // namespace sd
