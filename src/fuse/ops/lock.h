// What SETLK and FLOCK share: a lock at batond, and what must be true before the program hears that it has
// it.
#pragma once

#include <memory>

#include "fuse/ops/mount.h"

namespace baton::ops {

void Lock(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open,
          const protocol::LockRequest& lock);

}  // namespace baton::ops
