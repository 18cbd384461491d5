#include <sys/file.h>

#include "base/range.h"
#include "fuse/ops/lock.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

protocol::LockMode ModeOf(int operation) {
  switch (operation & ~LOCK_NB) {
    case LOCK_SH:
      return protocol::LockMode::kRead;
    case LOCK_EX:
      return protocol::LockMode::kWrite;
    default:
      return protocol::LockMode::kUnlock;
  }
}

}  // namespace

void Flock(fuse_req_t request, fuse_ino_t, fuse_file_info* info, int operation) {
  const auto open = OpenTable::Get(info->fh);
  Lock(Mount::Of(request), KernelReply(request), open,
       {.handle = open->handle,
        .kind = protocol::LockKind::kFlock,
        .mode = ModeOf(operation),
        .owner = info->lock_owner,
        .start = 0,
        .last = kRangeEnd,
        .wait = (operation & LOCK_NB) == 0,
        .pid = fuse_req_ctx(request)->pid});
}

}  // namespace baton::ops
