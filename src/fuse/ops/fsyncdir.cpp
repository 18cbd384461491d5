#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

// The names in a directory are on stable storage (rule D1).
void FsyncDirectory(fuse_req_t request, fuse_ino_t number, int data_only, fuse_file_info*) {
  Mount& mount = Mount::Of(request);
  auto inode = mount.inodes.Get(number);
  mount.WithCaller(KernelReply(request), Purpose::kLook,
                   [&mount, inode, data_only](KernelReply reply, protocol::Caller caller) {
                     mount.Call<Operation::kFsyncDirectory>(
                         std::move(reply), WaitKind::kPlain, {inode->File(), data_only != 0, std::move(caller)},
                         [](KernelReply to, client::Answer<Operation::kFsyncDirectory>&& answer) {
                           to.Error(answer.reply ? 0 : answer.reply.error().value);
                         });
                   });
}

}  // namespace baton::ops
