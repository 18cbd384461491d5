#include "base/duration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace baton {
namespace {

__extension__ using Wide = unsigned __int128;

struct Unit {
  std::string_view name;
  Duration length;
};
constexpr std::array<Unit, 7> kUnits{{{"ns", std::chrono::nanoseconds(1)},
                                      {"us", std::chrono::microseconds(1)},
                                      {"ms", std::chrono::milliseconds(1)},
                                      {"s", std::chrono::seconds(1)},
                                      {"m", std::chrono::minutes(1)},
                                      {"h", std::chrono::hours(1)},
                                      {"d", std::chrono::hours(24)}}};
constexpr std::int64_t kLongest = std::int64_t{100 * 365} * 24 * 3600 * 1'000'000'000;

// Reads digits with at most one point. Exact: no floating point, digits beyond the nanosecond are dropped.
struct Number {
  std::uint64_t whole = 0;
  std::uint64_t fraction = 0;
  std::uint64_t scale = 1;  // the value is whole + fraction / scale
  std::size_t length = 0;   // of the text; 0: no number
};

Number ReadNumber(std::string_view text) {
  Number number;
  bool digit = false;
  bool point = false;
  for (; number.length < text.size(); ++number.length) {
    const char c = text[number.length];
    if (c == '.' && !point && digit) {
      point = true;
      digit = false;
    } else if (c >= '0' && c <= '9') {
      digit = true;
      const auto value = static_cast<std::uint64_t>(c - '0');
      if (!point) {
        if (number.whole > kLongest) return {};
        number.whole = number.whole * 10 + value;
      } else if (number.scale < 1'000'000'000) {
        number.fraction = number.fraction * 10 + value;
        number.scale *= 10;
      }
    } else {
      break;
    }
  }
  if (!digit) return {};
  return number;
}

}  // namespace

tl::expected<Duration, std::string> ParseDuration(std::string_view text) {
  const auto wrong = [&](const char* why) {
    return tl::unexpected(
        fmt::format("\"{}\" is no duration: {}; write for example 10s, 500ms, 1.5m or 2h", text, why));
  };
  if (text.empty()) return wrong("it is empty");
  if (text.front() == '-') return wrong("it is negative");
  const Number number = ReadNumber(text);
  if (number.length == 0) return wrong("it does not begin with a number");
  const std::string_view name = text.substr(number.length);
  if (name.empty()) {
    if (number.whole == 0 && number.fraction == 0) return Duration::zero();
    return wrong("the unit is missing");
  }
  for (const Unit& unit : kUnits) {
    if (unit.name != name) continue;
    const auto length = static_cast<std::uint64_t>(unit.length.count());
    if (number.whole > static_cast<std::uint64_t>(kLongest) / length)
      return wrong("it is longer than 100 years");
    const Wide part = static_cast<Wide>(number.fraction) * length / number.scale;
    return Duration(static_cast<std::int64_t>(number.whole * length + static_cast<std::uint64_t>(part)));
  }
  return wrong("the unit is not one of ns, us, ms, s, m, h, d");
}

std::string ToString(Duration duration) {
  if (duration < Duration::zero()) return "-" + ToString(-std::max(duration, -Duration::max()));
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  if (us < 1000) return fmt::format("{}us", us);
  if (us < 1'000'000) return fmt::format("{:.1f}ms", static_cast<double>(us / 100) / 10);
  const auto seconds = us / 1'000'000;
  if (seconds < 60) return fmt::format("{:.1f}s", static_cast<double>(us / 100'000) / 10);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{}h{:02}m", seconds / 3600, seconds % 3600 / 60);
  return fmt::format("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600);
}

}  // namespace baton
