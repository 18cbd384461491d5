#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  protocol::MakeDirectoryRequest make{directory->File(), name, mode, fuse_req_ctx(request)->umask, {}};
  ChangeAndReplyEntry<Operation::kMakeDirectory>(mount, KernelReply(request), directory, name,
                                                 std::move(make));
}

}  // namespace baton::ops
