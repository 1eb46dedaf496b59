// Texts from elsewhere, made fit for a terminal.
#pragma once
#include <string>
#include <string_view>

namespace sd::client {

// The text with everything escaped that a terminal would obey or not show as it is: "\n", "\x1b" for controls of ASCII
// and for bytes that are no UTF-8, "\u{202e}" for other controls, separators, and what is invisible or changes the
// direction of text. Backslashes stay, so a second time changes nothing; for reading, not for decoding.
std::string printable(std::string_view text);

}  // namespace sd::client
