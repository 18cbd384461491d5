// Attributes of a file and of a file system, and a change of attributes, as they are kept by the store, sent
// in messages and handed to the kernel. Values; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/fields.h"

namespace baton {

// CLOCK_REALTIME, as in struct timespec.
struct Timestamp {
  std::int64_t sec = 0;
  std::uint32_t nsec = 0;
  BATON_FIELDS(sec, nsec)
  friend auto operator<=>(const Timestamp&, const Timestamp&) = default;
};

// struct stat, see stat(2). `mode` has the type bits.
struct Attr {
  std::uint64_t ino = 0;
  std::uint32_t mode = 0;
  std::uint32_t nlink = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t rdev = 0;
  std::uint64_t size = 0;
  std::uint64_t blocks = 0;  // of 512 bytes
  std::uint32_t blksize = 0;
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  BATON_FIELDS(ino, mode, nlink, uid, gid, rdev, size, blocks, blksize, atime, mtime, ctime)
  friend bool operator==(const Attr&, const Attr&) = default;
};

// Which members of an AttrChange count. The *Now bits take the server's clock and are meant instead of the
// explicit time.
namespace attr_mask {
inline constexpr std::uint32_t kMode = 1 << 0;
inline constexpr std::uint32_t kUid = 1 << 1;
inline constexpr std::uint32_t kGid = 1 << 2;
inline constexpr std::uint32_t kSize = 1 << 3;
inline constexpr std::uint32_t kAtime = 1 << 4;
inline constexpr std::uint32_t kMtime = 1 << 5;
inline constexpr std::uint32_t kAtimeNow = 1 << 6;
inline constexpr std::uint32_t kMtimeNow = 1 << 7;
inline constexpr std::uint32_t kAll = (1 << 8) - 1;
}  // namespace attr_mask

struct AttrChange {
  std::uint32_t mask = 0;  // attr_mask
  std::uint32_t mode = 0;  // permission bits; type bits are ignored
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;
  Timestamp atime;
  Timestamp mtime;
  BATON_FIELDS(mask, mode, uid, gid, size, atime, mtime)

  bool Has(std::uint32_t bits) const { return (mask & bits) != 0; }
};

// struct statvfs, see statvfs(3).
struct StatFs {
  std::uint64_t blocks = 0;
  std::uint64_t bfree = 0;
  std::uint64_t bavail = 0;
  std::uint64_t files = 0;
  std::uint64_t ffree = 0;
  std::uint32_t bsize = 0;
  std::uint32_t frsize = 0;
  std::uint32_t namelen = 0;
  BATON_FIELDS(blocks, bfree, bavail, files, ffree, bsize, frsize, namelen)
};

// One name in a directory.
struct DirEntry {
  std::string name;
  std::uint64_t ino = 0;
  std::uint32_t type = 0;    // the S_IFMT bits; 0: unknown
  std::uint64_t cookie = 0;  // the position behind this entry
};

}  // namespace baton
