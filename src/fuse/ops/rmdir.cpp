#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  protocol::RemoveRequest remove{directory->File(), name, {}};
  ChangeAndNoteRemoved<Operation::kRemoveDirectory>(mount, KernelReply(request), directory,
                                                    std::move(remove));
}

}  // namespace baton::ops
