// How much memory a request's answer needs, before it is begun.
#pragma once
#include <cstddef>

#include "core/client/protocol.hpp"
#include "core/cluster/state.hpp"

namespace sd::client {

// At most so many bytes. 0: a few at most, for which no room need be kept. What fails, and what is answered from the
// state, may need less than that.
std::size_t answer_size(const SdRequest& request, const cluster::State& state);

}  // namespace sd::client
