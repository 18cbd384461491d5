// Between the protocol's attributes and the kernel's. Values.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/attr.h"

namespace baton {

struct stat ToStat(const Attr& attr);
struct statvfs ToStatvfs(const StatFs& statfs);
// `to_set` as libfuse gives it: FUSE_SET_ATTR_*.
AttrChange ToAttrChange(const struct stat& attributes, int to_set);

}  // namespace baton
