// How much memory a request's answer needs, before it is begun.
#pragma once
#include <cstddef>

#include "core/client/protocol.hpp"
#include "core/cluster/state.hpp"

namespace sd::client {

// At most so many bytes. 0: a few at most, for which no room need be kept. What fails, and what is answered from the
// state, may need less than that.
std::size_t answer_size(const SdRequest& request, const cluster::State& state);

// The request says by a name which disk it means, or asks which there are. (Reads and writes of data do not count: they
// come often, and whoever makes them has asked for the disk before.)
bool names_disks(const SdRequest& request);
// It only asks: while nobody can be asked what is so, what was known last is better than nothing.
bool only_asks(const SdRequest& request);

}  // namespace sd::client
