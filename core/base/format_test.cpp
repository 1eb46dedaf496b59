// The tree is formatted: what .clang-format says, and no line that is too wide to read beside another.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "core/base/source_tree_test.hpp"

namespace sd {
namespace {

constexpr std::size_t widest = 120;                                    // columns
constexpr std::string_view web_page = "apps/sheepsim/trace_page.cpp";  // its script is compact on purpose

// The number of characters of a line in UTF-8.
std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(
      std::ranges::count_if(line, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

TEST(Format, NoLineIsWiderThanColumnsAllow) {
  for (const SourceFile& file : source_files())
    for (std::size_t i = 0; i < file.lines.size() && file.path != web_page; ++i)
      EXPECT_LE(columns(file.lines[i]), widest) << file.path << ":" << i + 1;
}

struct Ran {
  int code = 0;
  std::string said;
};
Ran run(const std::string& command) {
  Ran ran;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return {-1, "cannot run a shell"};
  std::array<char, 4096> buffer{};
  while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) ran.said.append(buffer.data(), n);
  ran.code = pclose(pipe);
  return ran;
}

// One version decides, since versions differ in what they make of the same rules.
#define FORMATTER "clang-format-19"

TEST(Format, EveryFileIsAsTheFormatterWouldWriteIt) {
  ASSERT_EQ(run(FORMATTER " --version").code, 0) << "install it: scripts/setup.sh";
  std::string files;
  for (const SourceFile& file : source_files()) files += " " + file.path;
  const Ran ran = run("cd '" SD_SOURCE_DIR "' && " FORMATTER " --dry-run -Werror" + files);
  EXPECT_EQ(ran.code, 0) << "format them: " FORMATTER " -i FILE\n" << ran.said.substr(0, 4000);
}

TEST(Format, TheFormatterNoticesAFileThatIsNot) {
  const Ran ran = run("cd '" SD_SOURCE_DIR "' && echo 'int  a ;' | " FORMATTER
                      " --dry-run -Werror --assume-filename=core/base/x.cpp");
  EXPECT_NE(ran.code, 0);
}

}  // namespace
}  // namespace sd
