// A request whose answer waits for a result of the backend: to whom it goes, and what it is made of.
#pragma once
#include <cstdint>
#include <string>

#include "core/client/backend.hpp"
#include "core/client/session.hpp"

namespace sd::client {

// A long discard is done in steps, so that nothing waits long behind it.
inline constexpr std::uint64_t zero_step = 64u << 20;

struct Waiting {
  enum class Answer : std::uint8_t { success, data, obj, vdi, check };
  StreamId stream = 0;
  Session::Slot slot = 0;
  Answer answer = Answer::success;
  std::uint8_t copies = 0;        // obj, vdi
  std::uint32_t offset = 0;       // obj
  std::uint32_t length = 0;       // data: that the backend gives
  std::uint32_t padding = 0;      // data: zeros to add
  IoRequest rest;                 // zero: from here on ...
  std::uint64_t rest_length = 0;  // ... so much is still to be done
  std::uint64_t objects = 0;      // check: of the disk
  std::string what;               // for messages: what failed
};

}  // namespace sd::client
