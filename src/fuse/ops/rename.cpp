#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned int flags) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  protocol::RenameRequest rename{directory->File(), name,  mount.inodes.Get(new_parent)->File(),
                                 new_name,          flags, {}};
  ChangeAndNoteRemoved<Operation::kRename>(mount, KernelReply(request), directory, std::move(rename));
}

}  // namespace baton::ops
