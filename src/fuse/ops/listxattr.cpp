#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"
#include "fuse/ops/xattr_reply.h"

namespace baton::ops {

void Listxattr(fuse_req_t request, fuse_ino_t number, std::size_t size) {
  Mount& mount = Mount::Of(request);
  auto inode = mount.inodes.Get(number);
  mount.WithCaller(KernelReply(request), Purpose::kLook,
                   [&mount, inode, size](KernelReply to, protocol::Caller caller) {
                     mount.Call<Operation::kListxattr>(
                         std::move(to), WaitKind::kPlain, {inode->File(), std::move(caller)},
                         [size](KernelReply last, client::Answer<Operation::kListxattr>&& answer) {
                           if (answer.reply) {
                             ReplyXattr(std::move(last), answer.reply->value, size);
                           } else {
                             last.Error(answer.reply.error().value);
                           }
                         });
                   });
}

}  // namespace baton::ops
