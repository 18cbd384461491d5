#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Readlink(fuse_req_t request, fuse_ino_t number) {
  Mount& mount = Mount::Of(request);
  auto inode = mount.inodes.Get(number);
  mount.WithCaller(
      KernelReply(request), Purpose::kLook, [&mount, inode](KernelReply reply, protocol::Caller caller) {
        mount.Call<Operation::kReadlink>(std::move(reply), WaitKind::kPlain,
                                         {inode->File(), std::move(caller)},
                                         [](KernelReply to, client::Answer<Operation::kReadlink>&& answer) {
                                           if (!answer.reply) return to.Error(answer.reply.error().value);
                                           to.Readlink(answer.reply->target.c_str());
                                         });
      });
}

}  // namespace baton::ops
