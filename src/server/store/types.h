// The values that a BackingStore takes and gives. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/attr.h"
#include "base/file_key.h"
#include "base/file_ref.h"
#include "base/guid.h"
#include "base/ids.h"

namespace baton::store {

// A file as a name led to it.
struct Node {
  FileRef ref;
  FileKey key;
  Attr attr;
};

struct ListedEntry {
  DirEntry entry;
  std::optional<Node>
      node;  // none: not asked for, "." or "..", or the caller may list the directory but not search it
};

// Room that one listed entry takes of ReadDirectory's `max_bytes`, beside its name.
inline constexpr std::size_t kEntryBytes = 32;
inline constexpr std::size_t kEntryNodeBytes = 192;

struct DirectoryPage {
  std::vector<ListedEntry> entries;  // none: the end
};

struct AppendedAt {
  std::uint64_t offset = 0;
  std::size_t count = 0;
};

// Among the flags of an open: to execute the file (the kernel's own __FMODE_EXEC), for which the right to do that is enough.
inline constexpr int kToExecute = 040;

enum class SeekFor : std::uint8_t { kData, kHole };

// What extended attributes say about a file and the directories above it. Each member is the nearest one that
// says something.
inline constexpr std::string_view kInstanceXattr = "user.app_instance_id";  // rule I2(c), (d)
inline constexpr std::string_view kBatonXattrs = "user.baton.";             // the prefix that is kept for us
inline constexpr std::string_view kClaimXattr = "user.baton.claim";  // rule O2: write, exclusive or none
inline constexpr std::string_view kTakeoverXattr = "user.baton.takeover";  // rule I2(d): any

// Rule X1: who created a lock file, and under which name. The server's own: clients neither see nor change it.
inline constexpr std::string_view kCreatorXattr = "user.baton.creator";

struct Creator {
  Guid guid{};
  Epoch epoch{};
  std::string name;  // a file that was renamed, as git does with index.lock, is no lock any more
  friend bool operator==(const Creator&, const Creator&) = default;
};

enum class DirectoryClaim : std::uint8_t { kWrite, kExclusive, kNone };

struct DirectoryPolicy {
  std::optional<Guid> instance;
  bool malformed_instance = false;  // the nearest id does not parse: rule I4, EINVAL (and `instance` is none)
  std::optional<DirectoryClaim> claim;
  bool takeover_any = false;
  friend bool operator==(const DirectoryPolicy&, const DirectoryPolicy&) = default;
};

}  // namespace baton::store
