#include "base/text.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace baton {
namespace {

// The length of the UTF-8 sequence at the front, 0 if there is none. Overlong forms, surrogates and the C1
// controls (U+0080..U+009F, which terminals obey) count as none.
std::size_t SequenceLength(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char first = byte(0);
  std::size_t length = 0;
  std::uint32_t code = 0;
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2, code = first & 0x1fu;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3, code = first & 0x0fu;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4, code = first & 0x07u;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0u) != 0x80u) return 0;
    code = code << 6 | (byte(at) & 0x3fu);
  }
  if (code < 0xa0 || (length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff)))
    return 0;
  if (code >= 0xd800 && code <= 0xdfff) return 0;
  return length;
}

std::string Escaped(std::string_view text, bool quotes) {
  std::string out;
  out.reserve(text.size() + 2);
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = SequenceLength(text);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
      continue;
    }
    text.remove_prefix(1);
  }
  return out;
}

}  // namespace

std::string Printable(std::string_view text) {
  return Escaped(text, false);
}

std::string Quoted(std::string_view text) {
  return "\"" + Escaped(text, true) + "\"";
}

}  // namespace baton
