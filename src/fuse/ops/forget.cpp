#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Forget(fuse_req_t request, fuse_ino_t number, std::uint64_t lookups) {
  Mount& mount = Mount::Of(request);
  mount.inodes.Forget(*mount.inodes.Get(number), lookups);
  KernelReply(request).None();
}

void ForgetMulti(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
  Mount& mount = Mount::Of(request);
  for (std::size_t i = 0; i < count; ++i) {
    mount.inodes.Forget(*mount.inodes.Get(forgets[i].ino), forgets[i].nlookup);
  }
  KernelReply(request).None();
}

}  // namespace baton::ops
