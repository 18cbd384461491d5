// Guid: the id of an app instance (rule I4), and InstanceVersion: its optional version (rule I3). Values; any thread.
#pragma once

#include <boost/uuid/uuid.hpp>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace baton {

using Guid = boost::uuids::uuid;

// Exactly 8-4-4-4-12 hexadecimal digits, either case, with or without one pair of braces; nothing else, no blanks. The nil
// GUID does not parse. Rule I4.
std::optional<Guid> ParseGuid(std::string_view text);

// Lower case, without braces.
std::string ToString(const Guid& guid);

// HIGH.LOW, each decimal and at most 2^64-1.
struct InstanceVersion {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend auto operator<=>(const InstanceVersion&, const InstanceVersion&) = default;
};

// "HIGH.LOW", or "HIGH" alone for HIGH.0; decimal digits only, no sign, no blanks. Rule I3.
std::optional<InstanceVersion> ParseInstanceVersion(std::string_view text);
std::string ToString(const InstanceVersion& version);

}  // namespace baton
