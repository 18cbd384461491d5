#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  protocol::SymlinkRequest symlink{directory->File(), name, target, {}};
  ChangeAndReplyEntry<Operation::kSymlink>(mount, KernelReply(request), directory, name, std::move(symlink));
}

}  // namespace baton::ops
