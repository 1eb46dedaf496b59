// What each request means: every one belongs to one family, and is answered there.
#pragma once
#include "core/client/call.hpp"

namespace sd::client {

void perform(Call& call, Session::Request& request);

}  // namespace sd::client
