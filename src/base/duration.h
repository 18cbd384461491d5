// Durations as people write and read them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/clock.h"

namespace baton {

// A decimal number and a unit, without a blank: 10s, 500ms, 1.5m, 2h, 1d, 250us. Zero may go without a unit.
// The error is a sentence that names the text and says what would be right.
tl::expected<Duration, std::string> ParseDuration(std::string_view text);

// The greatest unit that keeps it readable: 850us, 12.3ms, 4.2s, 3m20s, 5h07m, 12d03h.
std::string ToString(Duration duration);

}  // namespace baton
