// The tree's own files, for the tests that judge them (layering_test.cpp, format_test.cpp).
#pragma once
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace sd {

struct SourceFile {
  std::string path;  // from the top of the tree
  std::vector<std::string> lines;
  std::string top() const { return path.substr(0, path.find('/')); }      // "core"
  std::string folder() const { return path.substr(0, path.rfind('/')); }  // "core/base"
  bool is_test() const { return path.ends_with("_test.cpp") || path.ends_with("_test.hpp"); }
};

inline std::vector<std::string> lines_of(const std::filesystem::path& file) {
  std::vector<std::string> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Every C++ file, ordered by path.
inline std::vector<SourceFile> source_files() {
  const std::filesystem::path top = SD_SOURCE_DIR;
  std::vector<SourceFile> files;
  for (const char* folder : {"core", "sim", "runtime", "apps", "fuzz", "proptests"}) {
    if (!std::filesystem::exists(top / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top / folder)) {
      const auto extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".cpp" && extension != ".hpp")) continue;
      files.push_back({std::filesystem::relative(entry.path(), top).generic_string(), lines_of(entry.path())});
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

}  // namespace sd
