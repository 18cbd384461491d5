// Which names a caller may use, before any system call sees them. Pure; any thread.
#pragma once

#include <string_view>

#include "base/result.h"

namespace baton::store {

// What a name is to be used for: decides the errno of "." and "..", as the kernel's.
enum class NameUse {
  kLookup,
  kMake,
  kCreate,
  kUnlink,
  kRemoveDirectory,
  kRename,
  kRenameTarget,
  kRenameNoReplaceTarget
};

inline Result<void> CheckName(std::string_view name, NameUse use) {
  constexpr std::size_t kMaxName = 255;
  if (name.empty()) return Fail(ENOENT);
  if (name.size() > kMaxName) return Fail(ENAMETOOLONG);
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return Fail(EINVAL);
  if (name != "." && name != "..") return {};
  switch (use) {
    case NameUse::kLookup:
      return {};
    case NameUse::kMake:
    case NameUse::kRenameNoReplaceTarget:
      return Fail(EEXIST);
    case NameUse::kCreate:
    case NameUse::kUnlink:
      return Fail(EISDIR);
    case NameUse::kRemoveDirectory:
      return Fail(name == "." ? EINVAL : ENOTEMPTY);
    case NameUse::kRename:
    case NameUse::kRenameTarget:
      return Fail(EBUSY);
  }
  return Fail(EINVAL);
}

// Of a name that no caller may see: it is not there, and cannot be made.
inline Errno HiddenName(NameUse use) {
  switch (use) {
    case NameUse::kMake:
    case NameUse::kCreate:
    case NameUse::kRenameTarget:
    case NameUse::kRenameNoReplaceTarget:
      return Errno{EPERM};
    default:
      return Errno{ENOENT};
  }
}

}  // namespace baton::store
