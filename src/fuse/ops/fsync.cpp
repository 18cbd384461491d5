#include "fuse/ops/durability.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Fsync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  const std::uint64_t written = open->inode->Written();
  client::CallOptions<Operation::kFsync> call;
  call.generation = open->generation;
  mount.Call<Operation::kFsync>(
      std::move(reply), WaitKind::kPlain, {open->handle, data_only != 0},
      [open, written](KernelReply to, client::Answer<Operation::kFsync>&& answer) {
        if (!answer.reply) return to.Error(answer.reply.error().value);
        open->inode->SetSettled(written);
        ReplyDurable(std::move(to), *open);
      },
      std::move(call));
}

}  // namespace baton::ops
