// Which check a failure is of, and of what kind of thing, without which one: the report's words up to the first ';',
// without numbers and what stands in parentheses. Two failures of one class by different checkers differ in it.
#pragma once
#include <string>

namespace sd::sim {

std::string checker_of(const std::string& what);

}  // namespace sd::sim
