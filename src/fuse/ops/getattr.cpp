#include "fuse/ops/convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  // The kernel passes a handle while it reads or writes through it (rule T6).
  if (info != nullptr && OpenTable::Get(info->fh)->dead) return reply.Error(ESTALE);
  auto inode = mount.inodes.Get(number);
  if (const auto removed = inode->Removed()) {
    reply.Attributes(ToStat(*removed), 0);
    return;
  }
  mount.WithCaller(std::move(reply), Purpose::kLook,
                   [&mount, inode](KernelReply to, protocol::Caller caller) {
                     const bool is_root = inode == mount.inodes.Root();
                     if (const auto kept = is_root ? mount.coherence.RootAttributes() : std::nullopt) {
                       to.Attributes(ToStat(*kept), 0);
                       return;
                     }
                     mount.Call<Operation::kGetattr>(
                         std::move(to), WaitKind::kPlain, {inode->File(), std::move(caller)},
                         [&mount, is_root](KernelReply last, client::Answer<Operation::kGetattr>&& answer) {
                           if (is_root && answer.reply) {
                             mount.coherence.KeepRootAttributes(last.Since(), *answer.reply);
                           }
                           mount.ReplyAttributes(std::move(last), answer.reply);
                         });
                   });
}

}  // namespace baton::ops
