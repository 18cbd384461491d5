#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Fsync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  client::CallOptions<Operation::kFsync> call;
  call.generation = open->generation;
  mount.Call<Operation::kFsync>(
      std::move(reply), WaitKind::kPlain, {open->handle, data_only != 0},
      [](KernelReply to, client::Answer<Operation::kFsync>&& answer) {
        to.Error(answer.reply ? 0 : answer.reply.error().value);
      },
      std::move(call));
}

}  // namespace baton::ops
