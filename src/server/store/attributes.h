// statx(2) as the store uses it. Any thread.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/attr.h"
#include "base/result.h"

namespace baton::store {

// Of any descriptor, O_PATH too; needs no permission.
inline Result<struct statx> StatusOf(int fd) {
  struct statx status;
  if (::statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &status) != 0) return FailErrno();
  return status;
}

inline Attr ToAttr(const struct statx& status) {
  const auto time = [](const statx_timestamp& at) { return Timestamp{at.tv_sec, at.tv_nsec}; };
  Attr attr;
  attr.ino = status.stx_ino;
  attr.mode = status.stx_mode;
  attr.nlink = status.stx_nlink;
  attr.uid = status.stx_uid;
  attr.gid = status.stx_gid;
  attr.rdev = ::makedev(status.stx_rdev_major, status.stx_rdev_minor);
  attr.size = status.stx_size;
  attr.blocks = status.stx_blocks;
  attr.blksize = status.stx_blksize;
  attr.atime = time(status.stx_atime);
  attr.mtime = time(status.stx_mtime);
  attr.ctime = time(status.stx_ctime);
  return attr;
}

}  // namespace baton::store
