// A range of bytes of a file, for locks: [start, last], both included, so that the range to the end of every possible file
// is [start, kRangeEnd] as in fcntl_locking(2) and struct fuse_file_lock.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace baton {

inline constexpr std::uint64_t kRangeEnd = std::numeric_limits<std::int64_t>::max();

struct ByteRange {
  std::uint64_t start = 0;
  std::uint64_t last = kRangeEnd;

  bool Overlaps(const ByteRange& other) const { return start <= other.last && other.start <= last; }
  friend auto operator<=>(const ByteRange&, const ByteRange&) = default;
};

}  // namespace baton
