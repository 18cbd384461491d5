#include "base/guid.h"

#include <boost/uuid/uuid_io.hpp>
#include <charconv>

namespace baton {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::uint64_t> ParseDecimal(std::string_view text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Guid> ParseGuid(std::string_view text) {
  constexpr std::size_t kLength = 36;
  if (text.size() == kLength + 2 && text.front() == '{' && text.back() == '}') text = text.substr(1, kLength);
  if (text.size() != kLength) return std::nullopt;
  Guid guid{};
  std::size_t digits = 0;
  for (std::size_t i = 0; i < kLength; ++i) {
    const bool is_dash_place = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash_place) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const int digit = HexDigit(text[i]);
    if (digit < 0) return std::nullopt;
    auto& byte = guid.data[digits / 2];
    byte = static_cast<std::uint8_t>((byte << 4) | digit);
    ++digits;
  }
  if (guid.is_nil()) return std::nullopt;
  return guid;
}

std::string ToString(const Guid& guid) { return boost::uuids::to_string(guid); }

std::optional<InstanceVersion> ParseInstanceVersion(std::string_view text) {
  const std::size_t dot = text.find('.');
  const auto high = ParseDecimal(text.substr(0, dot));
  if (!high) return std::nullopt;
  if (dot == std::string_view::npos) return InstanceVersion{*high, 0};
  const auto low = ParseDecimal(text.substr(dot + 1));
  if (!low) return std::nullopt;
  return InstanceVersion{*high, *low};
}

std::string ToString(const InstanceVersion& version) {
  return std::to_string(version.high) + "." + std::to_string(version.low);
}

}  // namespace baton
