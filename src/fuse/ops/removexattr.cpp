#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"
#include "fuse/ops/registration.h"

namespace baton::ops {

void Removexattr(fuse_req_t request, fuse_ino_t number, const char* name) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  if (number == FUSE_ROOT_ID && name == kRegisterXattr) {
    return UnregisterCaller(mount, std::move(reply), 0, AnsweredAs::kXattr);
  }
  auto inode = mount.inodes.Get(number);
  protocol::RemovexattrRequest remove{inode->File(), name, {}};
  ChangeAndAcknowledge<Operation::kRemovexattr>(mount, std::move(reply), inode, std::move(remove));
}

}  // namespace baton::ops
