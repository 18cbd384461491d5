// What batond last said of the mount's root: what STATFS and a GETATTR of the root answer while batond cannot
// be reached (rule S5). Not a cache: it is never asked while batond can be. Any thread.
#pragma once

#include <sys/stat.h>

#include <mutex>

#include "base/attr.h"

namespace baton {

class LastKnown {
 public:
  void Set(const StatFs& statfs) {
    const std::lock_guard lock(mutex_);
    statfs_ = statfs;
  }
  void SetRoot(const Attr& root) {
    const std::lock_guard lock(mutex_);
    root_ = root;
  }
  StatFs Statfs() const {
    const std::lock_guard lock(mutex_);
    return statfs_;
  }
  Attr Root() const {
    const std::lock_guard lock(mutex_);
    return root_;
  }

 private:
  mutable std::mutex mutex_;
  // As long as batond was never reached: of no blocks, so that df leaves it out; and a directory at which the
  // kernel stops nobody: who goes on waits for batond, which decides.
  StatFs statfs_{.bsize = 4096, .frsize = 4096, .namelen = 255};
  Attr root_{.ino = 1, .mode = S_IFDIR | 0777, .nlink = 2, .blksize = 4096};
};

}  // namespace baton
