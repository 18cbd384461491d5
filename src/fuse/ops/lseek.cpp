#include <unistd.h>

#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

// SEEK_DATA and SEEK_HOLE; the kernel does the others itself.
void Lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return reply.Error(EINVAL);
  client::CallOptions<Operation::kSeek> call;
  call.generation = open->generation;
  mount.Call<Operation::kSeek>(
      std::move(reply), WaitKind::kPlain,
      {open->handle, static_cast<std::uint64_t>(offset), whence == SEEK_HOLE},
      [](KernelReply to, client::Answer<Operation::kSeek>&& answer) {
        if (!answer.reply) return to.Error(answer.reply.error().value);
        to.Position(static_cast<off_t>(answer.reply->offset));
      },
      std::move(call));
}

}  // namespace baton::ops
