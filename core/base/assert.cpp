#include "core/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace sd {

void invariant_failed(const char* condition, const char* what, const char* file, int line) {
  std::fprintf(stderr, "invariant broken: %s (%s) at %s:%d\n", what, condition, file, line);
  std::abort();
}

}  // namespace sd
