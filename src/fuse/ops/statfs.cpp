#include "fuse/ops/convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

// umount(8) asks, and so does df, which looks at all file systems: neither waits for a batond that cannot be
// reached (rule S5).
void Statfs(fuse_req_t request, fuse_ino_t number) {
  Mount& mount = Mount::Of(request);
  auto inode = mount.inodes.Get(number);
  mount.WithCaller(KernelReply(request), Purpose::kLookAtRoot,
                   [&mount, inode](KernelReply reply, protocol::Caller caller) {
                     if (!mount.LinkIsLive()) {
                       reply.Statfs(ToStatvfs(mount.last_known.Statfs()));
                       return;
                     }
                     client::CallOptions<Operation::kStatfs> call;
                     call.op_timeout = Mount::kPatience;
                     mount.Call<Operation::kStatfs>(
                         std::move(reply), WaitKind::kPlain, {inode->File(), std::move(caller)},
                         [&mount](KernelReply to, client::Answer<Operation::kStatfs>&& answer) {
                           if (answer.reply) mount.last_known.Set(answer.reply->statfs);
                           if (!answer.reply && !Mount::TimedOut(answer))
                             return to.Error(answer.reply.error().value);
                           to.Statfs(ToStatvfs(mount.last_known.Statfs()));
                         },
                         std::move(call));
                   });
}

}  // namespace baton::ops
