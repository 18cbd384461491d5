#include "fuse/ops/convert.h"

#include "fuse/kernel/fuse_api.h"

namespace baton {
namespace {

timespec ToTimespec(const Timestamp& time) {
  return {.tv_sec = time.sec, .tv_nsec = static_cast<long>(time.nsec)};
}

Timestamp ToTimestamp(const timespec& time) {
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

}  // namespace

struct stat ToStat(const Attr& attr) {
  struct stat to {};
  to.st_ino = attr.ino;
  to.st_mode = attr.mode;
  to.st_nlink = attr.nlink;
  to.st_uid = attr.uid;
  to.st_gid = attr.gid;
  to.st_rdev = attr.rdev;
  to.st_size = static_cast<off_t>(attr.size);
  to.st_blocks = static_cast<blkcnt_t>(attr.blocks);
  to.st_blksize = attr.blksize;
  to.st_atim = ToTimespec(attr.atime);
  to.st_mtim = ToTimespec(attr.mtime);
  to.st_ctim = ToTimespec(attr.ctime);
  return to;
}

struct statvfs ToStatvfs(const StatFs& statfs) {
  struct statvfs to {};
  to.f_blocks = statfs.blocks;
  to.f_bfree = statfs.bfree;
  to.f_bavail = statfs.bavail;
  to.f_files = statfs.files;
  to.f_ffree = statfs.ffree;
  to.f_favail = statfs.ffree;
  to.f_bsize = statfs.bsize;
  to.f_frsize = statfs.frsize;
  to.f_namemax = statfs.namelen;
  return to;
}

AttrChange ToAttrChange(const struct stat& attributes, int to_set) {
  constexpr std::pair<int, std::uint32_t> kBits[] = {
      {FUSE_SET_ATTR_MODE, attr_mask::kMode},
      {FUSE_SET_ATTR_UID, attr_mask::kUid},
      {FUSE_SET_ATTR_GID, attr_mask::kGid},
      {FUSE_SET_ATTR_SIZE, attr_mask::kSize},
      {FUSE_SET_ATTR_ATIME, attr_mask::kAtime},
      {FUSE_SET_ATTR_MTIME, attr_mask::kMtime},
      {FUSE_SET_ATTR_ATIME_NOW, attr_mask::kAtimeNow},
      {FUSE_SET_ATTR_MTIME_NOW, attr_mask::kMtimeNow},
  };
  AttrChange change;
  for (const auto& [kernel_bit, bit] : kBits) {
    if ((to_set & kernel_bit) != 0) change.mask |= bit;
  }
  // The kernel sets both bits for "now".
  if (change.Has(attr_mask::kAtimeNow)) change.mask &= ~attr_mask::kAtime;
  if (change.Has(attr_mask::kMtimeNow)) change.mask &= ~attr_mask::kMtime;
  change.mode = attributes.st_mode & 07777;
  change.uid = attributes.st_uid;
  change.gid = attributes.st_gid;
  change.size = static_cast<std::uint64_t>(attributes.st_size);
  change.atime = ToTimestamp(attributes.st_atim);
  change.mtime = ToTimestamp(attributes.st_mtim);
  return change;
}

}  // namespace baton
