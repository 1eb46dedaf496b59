// The nodes that a node asks to be let in, as its operator names them. Names of hosts may be served by a machine whose
// disk is in the cluster that starts just now, so a node that knows its cluster must not need them.
#pragma once
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "runtime/address.hpp"

namespace sd::runtime {

struct Seeds {
  std::vector<Endpoint> found;
  std::vector<std::string> failed;  // sentences, each about one seed that could not be resolved
};

using Resolver = std::function<std::expected<Endpoint, std::string>(const HostPort&)>;

// Resolves all at the same time, and gives those up that take longer than `patience`. The error is a sentence about one
// that is no HOST:PORT.
std::expected<Seeds, std::string> resolve_seeds(const std::vector<std::string>& texts, std::uint16_t default_port,
                                                std::chrono::milliseconds patience,
                                                Resolver resolver = resolve_address);

}  // namespace sd::runtime
