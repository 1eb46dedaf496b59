// Broken invariants stop the process, in release builds too. Expected failures are values, never assertions.
#pragma once

namespace sd {

// Prints the invariant and where it broke, then aborts.
[[noreturn]] void invariant_failed(const char* condition, const char* what, const char* file, int line);

}  // namespace sd

// `what` names the invariant in words, for the person who reads the crash.
#define SD_ASSERT(condition, what)                                  \
  do {                                                              \
    if (!(condition)) [[unlikely]]                                  \
      ::sd::invariant_failed(#condition, what, __FILE__, __LINE__); \
  } while (false)
