// How a virtual disk may be called. A name is shown to operators, typed by them, and part of an address
// (nbd://HOST/NAME). So what is read must be what is there: UTF-8, and every character is seen and stays in its place.
//
// '/' and '@' are kept for what may one day be said beside a name: a path, or a snapshot.
#pragma once
#include <string>
#include <string_view>

namespace sd::cluster {

// Why a disk cannot be called so, as a sentence without its end; empty if it can.
std::string name_problem(std::string_view name);
inline bool valid_name(std::string_view name) { return name_problem(name).empty(); }

}  // namespace sd::cluster
