#include "fuse/ops/convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Statfs(fuse_req_t request, fuse_ino_t number) {
  Mount& mount = Mount::Of(request);
  auto inode = mount.inodes.Get(number);
  mount.WithCaller(
      KernelReply(request), Purpose::kLook, [&mount, inode](KernelReply reply, protocol::Caller caller) {
        mount.Call<Operation::kStatfs>(std::move(reply), WaitKind::kPlain, {inode->File(), std::move(caller)},
                                       [](KernelReply to, client::Answer<Operation::kStatfs>&& answer) {
                                         if (!answer.reply) return to.Error(answer.reply.error().value);
                                         to.Statfs(ToStatvfs(answer.reply->statfs));
                                       });
      });
}

}  // namespace baton::ops
