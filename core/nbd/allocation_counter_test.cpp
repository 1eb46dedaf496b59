// Counts allocations, so that a test can show that the hot path makes none. On its own, because compilers that see
// these bodies inlined beside their users take them for mismatched pairs.
#include <cstdlib>
#include <new>

#include "core/nbd/test_support.hpp"

namespace {
std::size_t allocations = 0;
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  std::abort();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

std::size_t sd::nbd::test::allocations_made() { return allocations; }
