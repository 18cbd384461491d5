// FileKey: which file it is on the server, whatever its names: the inode number and a hash of the persistent
// file handle, so that a new file with a reused inode number is another key. The same over restarts. Never
// leaves the server. A value.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace baton {

struct FileKey {
  std::uint64_t ino = 0;
  std::uint64_t handle_hash = 0;
  friend auto operator<=>(const FileKey&, const FileKey&) = default;
};

}  // namespace baton

template <>
struct std::hash<baton::FileKey> {
  std::size_t operator()(const baton::FileKey& key) const noexcept {
    return static_cast<std::size_t>(key.handle_hash ^ (key.ino * 0x9e3779b97f4a7c15ull));
  }
};
