#include "core/cluster/vdi_name.hpp"

#include "core/base/limits.hpp"
#include "core/cluster/text.hpp"

namespace sd::cluster {

namespace {

std::string_view problem_of(char32_t code_point) {
  if (code_point == '/' || code_point == '@') return "the name has '/' or '@' in it";
  switch (appearance(code_point)) {
    case Appearance::shown: break;
    case Appearance::control: return "the name has control characters in it";
    case Appearance::separator: return "the name has a separator of lines or paragraphs in it";
    case Appearance::direction: return "the name has a character in it that changes the direction of text";
    case Appearance::hidden: return "the name has an invisible character in it";
  }
  return {};
}

}  // namespace

std::string name_problem(std::string_view name) {
  if (name.empty()) return "a VDI needs a name";
  if (name.size() > limits::max_vdi_name)
    return "the name is longer than " + std::to_string(limits::max_vdi_name) + " bytes";
  if (name == "." || name == "..") return "'.' and '..' are no names";
  while (!name.empty()) {
    const auto code_point = first_code_point(name);
    if (!code_point) return "the name is not valid UTF-8";
    if (const auto problem = problem_of(code_point->value); !problem.empty()) return std::string(problem);
    name.remove_prefix(code_point->bytes);
  }
  return {};
}

}  // namespace sd::cluster
