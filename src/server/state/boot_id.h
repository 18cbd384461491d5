// BootId: which boot of the server's machine this is. What was in memory, and not on stable storage, is gone in the next (D3).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <tl/expected.hpp>

namespace baton {

inline constexpr const char* kBootIdFile = "/proc/sys/kernel/random/boot_id";  // random(4)

struct BootId {
  std::string text;          // the file's first line
  std::uint64_t number = 0;  // a hash of it, never 0
};
// The error is a sentence for people.
tl::expected<BootId, std::string> ReadBootId(const std::filesystem::path& file);

}  // namespace baton
