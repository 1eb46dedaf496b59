// Golden text tests: a file of commands, each followed by the full interaction that it caused, which is reviewed as a
// diff.
//
//   # what the file is about
//   command with arguments
//   more of the input
//   ----
//   what happened
//
//   the next command ...
//
// A blank line ends what happened. `run_golden` runs every file of a folder through a fresh interpreter, and fails with
// the first line that differs. With SD_REWRITE_GOLDEN=1 in the environment it writes the files anew instead.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sd {

// The lines of one input, without comments and blank lines; returns what happened, without a blank line in it.
using GoldenCommand = std::function<std::string(const std::vector<std::string>&)>;

inline std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// The file as it should be, by what the interpreter says.
inline std::string golden_text(const std::vector<std::string>& lines, const GoldenCommand& interpreter) {
  std::string text;
  std::vector<std::string> input;
  bool in_output = false;
  for (const std::string& line : lines) {
    if (in_output) {
      in_output = !line.empty();
      continue;
    }
    text += line + "\n";
    if (line != "----") {
      if (!line.empty() && !line.starts_with("#")) input.push_back(line);
      continue;
    }
    const std::string said = interpreter(input);
    text += said;
    if (!said.empty() && !said.ends_with("\n")) text += "\n";
    text += "\n";
    input.clear();
    in_output = true;
  }
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

// `make` makes an interpreter for one file. `least` is how many files there are, so that a lost folder is noticed.
inline void run_golden(const std::filesystem::path& folder, std::size_t least,
                       const std::function<GoldenCommand()>& make) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  std::ranges::sort(files);
  ASSERT_GE(files.size(), least) << folder;
  const char* rewrite = std::getenv("SD_REWRITE_GOLDEN");
  for (const auto& file : files) {
    std::vector<std::string> lines;
    std::string was;
    {
      std::ifstream in(file);
      for (std::string line; std::getline(in, line);) {
        was += line + "\n";
        lines.push_back(line);
      }
    }
    const std::string is = golden_text(lines, make());
    if (is == was) continue;
    if (rewrite && std::string_view(rewrite) == "1") {
      std::ofstream(file) << is;
      continue;
    }
    std::istringstream one(was), two(is);
    std::string before, now;
    for (int number = 1;; ++number) {
      const bool more_before = static_cast<bool>(std::getline(one, before));
      const bool more_now = static_cast<bool>(std::getline(two, now));
      if (more_before && more_now && before == now) continue;
      ADD_FAILURE() << file.filename().string() << ":" << number << ":\n  was: " << (more_before ? before : "(the end)")
                    << "\n  is:  " << (more_now ? now : "(the end)")
                    << "\nif that is right: run the test with SD_REWRITE_GOLDEN=1 and review the diff";
      break;
    }
  }
}

}  // namespace sd
