#include "fuse/ops/lock.h"
#include "fuse/ops/lock_convert.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

// POSIX and OFD locks: the kernel tells them apart by the owner only.
void Setlk(fuse_req_t request, fuse_ino_t, fuse_file_info* info, struct flock* lock, int sleep) {
  const auto open = OpenTable::Get(info->fh);
  const ByteRange range = RangeOf(*lock);
  Lock(Mount::Of(request), KernelReply(request), open,
       {.handle = open->handle,
        .kind = protocol::LockKind::kRecord,
        .mode = ModeOf(lock->l_type),
        .owner = info->lock_owner,
        .start = range.start,
        .last = range.last,
        .wait = sleep != 0,
        .pid = lock->l_pid});
}

}  // namespace baton::ops
