#include "fuse/ops/convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  // The kernel passes a handle while it reads or writes through it (rule T6).
  if (info != nullptr && OpenTable::Get(info->fh)->dead) {
    reply.Error(ESTALE);
    return;
  }
  auto inode = mount.inodes.Get(number);
  if (const auto removed = inode->Removed()) {
    reply.Attributes(ToStat(*removed), 0);
    return;
  }
  mount.WithCaller(std::move(reply), Purpose::kLook,
                   [&mount, inode](KernelReply to, protocol::Caller caller) {
                     mount.Call<Operation::kGetattr>(
                         std::move(to), WaitKind::kPlain, {inode->File(), std::move(caller)},
                         [&mount](KernelReply last, client::Answer<Operation::kGetattr>&& answer) {
                           mount.ReplyAttributes(std::move(last), answer.reply);
                         });
                   });
}

}  // namespace baton::ops
