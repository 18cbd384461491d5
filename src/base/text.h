// Text that came from elsewhere, made safe to show: file and program names may hold newlines, terminal
// escapes or bytes that are not UTF-8. Pure.
#pragma once

#include <string>
#include <string_view>

namespace baton {

// Control characters, backslashes and what is not UTF-8 as \n, \t, \\ or \xHH; all else as it is.
std::string Printable(std::string_view text);

// The same in double quotes, with " as \".
std::string Quoted(std::string_view text);

}  // namespace baton
