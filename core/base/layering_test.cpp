// The rules of the tree that a compiler does not know: which folder may use what, and what no file may contain.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/source_tree_test.hpp"

namespace sd {
namespace {

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
    if ((file.top() != "core" && file.top() != "sim") || file.is_test()) continue;
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
      if (file.top() != rule.folder) continue;
      for_each_include(file, [&](std::size_t line, const std::string& name) {
        for (const auto target : rule.may_not_include)
          EXPECT_FALSE(name.starts_with(target)) << file.path << ":" << line << " includes " << name << ": "
                                                 << rule.folder << "/ does not depend on " << target;
      });
    }
}

// --- Folders

using Folders = std::map<std::string, std::set<std::string>>;  // of each folder, those that it uses directly

// What CMakeLists.txt links: `sd_folder(NAME DIR libraries...)`, libraries of other projects left out.
Folders linked_folders(const std::vector<std::string>& cmake) {
  static const std::regex call(R"(^sd_folder\((\w+) (\S+)([^)]*)\))");
  static const std::regex word(R"(\w+)");
  std::map<std::string, std::string> directories;  // by name of the library
  std::vector<std::pair<std::string, std::string>> links;
  std::smatch match;
  for (const std::string& line : cmake) {
    if (!std::regex_search(line, match, call)) continue;
    directories[match[1]] = match[2];
    links.emplace_back(match[2], match[3]);
  }
  Folders folders;
  for (const auto& [directory, names] : links) {
    auto& used = folders[directory];
    for (std::sregex_iterator at(names.begin(), names.end(), word), end; at != end; ++at)
      if (const auto known = directories.find(at->str()); known != directories.end()) used.insert(known->second);
  }
  return folders;
}

// What the files include, tests left out.
Folders included_folders(const std::vector<SourceFile>& files, const Folders& known) {
  Folders folders;
  for (const SourceFile& file : files) {
    if (file.is_test() || !known.contains(file.folder())) continue;
    auto& used = folders[file.folder()];
    for_each_include(file, [&](std::size_t, const std::string& name) {
      const std::string folder = name.substr(0, name.rfind('/'));
      if (known.contains(folder) && folder != file.folder()) used.insert(folder);
    });
  }
  return folders;
}

// A way from a folder back to itself, in words; empty if there is none.
std::string cycle(const Folders& folders) {
  std::set<std::string> finished;
  std::vector<std::string> way;
  auto visit = [&](auto&& self, const std::string& folder) -> std::string {
    if (std::ranges::find(way, folder) != way.end()) {
      std::string words;
      for (auto at = std::ranges::find(way, folder); at != way.end(); ++at) words += *at + " -> ";
      return words + folder;
    }
    if (finished.contains(folder)) return {};
    way.push_back(folder);
    if (const auto uses = folders.find(folder); uses != folders.end())
      for (const std::string& used : uses->second)
        if (const std::string words = self(self, used); !words.empty()) return words;
    way.pop_back();
    finished.insert(folder);
    return {};
  };
  for (const auto& [folder, uses] : folders)
    if (const std::string words = visit(visit, folder); !words.empty()) return words;
  return {};
}

TEST(Layering, TheFolderRulesCatchWhatTheyShould) {
  const Folders linked =
      linked_folders({"sd_folder(a core/a)", "sd_folder(b core/b a Other::lib)", "# sd_folder(c core/c)"});
  EXPECT_EQ(linked, (Folders{{"core/a", {}}, {"core/b", {"core/a"}}}));
  const std::vector<SourceFile> files = {{"core/a/x.cpp", {"#include \"core/b/y.hpp\""}},
                                         {"core/a/x_test.cpp", {"#include \"core/c/y.hpp\""}},
                                         {"core/b/x.cpp", {"#include \"core/b/y.hpp\"", "#include \"core/a/x.hpp\""}}};
  const Folders included = included_folders(files, linked);
  EXPECT_EQ(included, (Folders{{"core/a", {"core/b"}}, {"core/b", {"core/a"}}}));
  EXPECT_EQ(cycle(included), "core/a -> core/b -> core/a");
  EXPECT_EQ(cycle(linked), "");
}

// So CMakeLists.txt is the list of which folder may use which, and cannot say more or less than what is true.
TEST(Layering, AFolderIncludesWhatCMakeLinksToItAndLinksWhatItIncludes) {
  const Folders linked = linked_folders(lines_of(std::string(SD_SOURCE_DIR) + "/CMakeLists.txt"));
  ASSERT_GT(linked.size(), 10u);
  const Folders included = included_folders(source_files(), linked);
  for (const auto& [folder, uses] : linked) {
    const auto at = included.find(folder);
    EXPECT_EQ(at == included.end() ? std::set<std::string>{} : at->second, uses)
        << folder << "/: left is what its files include, right what sd_folder() links";
  }
  for (const SourceFile& file : source_files())
    if (file.top() == "core") {
      EXPECT_TRUE(linked.contains(file.folder())) << file.path << ": no sd_folder() names its folder";
    }
  EXPECT_EQ(cycle(included), "") << "folders that use each other are one folder";
}

// --- Files

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
