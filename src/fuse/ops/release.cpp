#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

// The last close of an open. The kernel does not wait for it.
void Release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = mount.opens.Remove(info->fh);
  if (!open->closing.exchange(true)) open->inode->BeginClose();
  if (open->dead) {
    open->inode->EndClose();
    reply.Ok();
    return;
  }
  client::CallOptions<Operation::kClose> call;
  call.generation = open->generation;
  mount.session.Call<Operation::kClose>(
      {open->handle}, [open](client::Answer<Operation::kClose>&&) { open->inode->EndClose(); },
      std::move(call));
  reply.Ok();
}

}  // namespace baton::ops
