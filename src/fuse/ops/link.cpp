#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Link(fuse_req_t request, fuse_ino_t number, fuse_ino_t new_parent, const char* new_name) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(new_parent);
  protocol::LinkRequest link{mount.inodes.Get(number)->File(), directory->File(), new_name, {}};
  ChangeAndReplyEntry<Operation::kLink>(mount, KernelReply(request), directory, new_name, std::move(link));
}

}  // namespace baton::ops
