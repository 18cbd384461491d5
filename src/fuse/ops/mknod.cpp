#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  protocol::MakeNodeRequest node{directory->File(), name, mode, fuse_req_ctx(request)->umask, device, {}};
  ChangeAndReplyEntry<Operation::kMakeNode>(mount, KernelReply(request), directory, name, std::move(node));
}

}  // namespace baton::ops
