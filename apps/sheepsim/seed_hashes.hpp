// Proves that a change of the code changed no run: the trace hashes of many seeds, written by one build and compared by
// another. A trace hash covers every input and every effect of every node.
//
// The file has one line for each seed: SEED HASH STEPS OUTCOME, in ascending order of the seeds.
#pragma once
#include <cstdint>
#include <string>

#include "child.hpp"

namespace sd::sim {

// Runs first..last and writes their hashes. The exit code: 0, or 1 if the file cannot be written.
int write_hashes(const std::string& file, std::uint64_t first, std::uint64_t last, const BatchOptions& options);

// Runs first..last and compares them with the file; a seed that the file does not have is a difference. Names the first
// few seeds that differ. The exit code: 0 if all are equal, 1 if the file cannot be read, else that of nondeterminism.
int compare_hashes(const std::string& file, std::uint64_t first, std::uint64_t last, const BatchOptions& options);

}  // namespace sd::sim
