#include "fuse/ops/convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

void GetattrOfRoot(Mount& mount, KernelReply reply, protocol::Caller caller) {
  if (const auto kept = mount.coherence.RootAttributes()) {
    reply.Attributes(ToStat(*kept), 0);
    return;
  }
  // So that nobody who only passes by waits for a batond that cannot be reached (rule S5): umount(8), df,
  // mountpoint(1).
  if (!mount.LinkIsLive()) {
    reply.Attributes(ToStat(mount.last_known.Root()), 0);
    return;
  }
  client::CallOptions<Operation::kGetattr> call;
  call.op_timeout = Mount::kPatience;
  mount.Call<Operation::kGetattr>(
      std::move(reply), WaitKind::kPlain, {mount.inodes.Root()->File(), std::move(caller)},
      [&mount](KernelReply to, client::Answer<Operation::kGetattr>&& answer) {
        if (Mount::TimedOut(answer)) {
          to.Attributes(ToStat(mount.last_known.Root()), 0);
          return;
        }
        if (answer.reply) {
          mount.last_known.SetRoot(answer.reply->attr);
          mount.coherence.KeepRootAttributes(to.Since(), *answer.reply);
        }
        mount.ReplyAttributes(std::move(to), answer.reply);
      },
      std::move(call));
}

}  // namespace

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
  if (inode == mount.inodes.Root()) {
    return mount.WithCaller(std::move(reply), Purpose::kLookAtRoot,
                            [&mount](KernelReply to, protocol::Caller caller) {
                              GetattrOfRoot(mount, std::move(to), std::move(caller));
                            });
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
