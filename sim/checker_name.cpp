#include "sim/checker_name.hpp"

namespace sd::sim {

std::string checker_of(const std::string& what) {
  std::string words;
  int depth = 0;
  for (const char c : what) {
    if (c == ';') break;
    if (c == '(' || c == '<') ++depth;
    if (depth == 0 && (c < '0' || c > '9')) words += c;
    if (c == ')' || c == '>') --depth;
  }
  return words;
}

}  // namespace sd::sim
