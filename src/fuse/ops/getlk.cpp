#include "fuse/ops/lock_convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Getlk(fuse_req_t request, fuse_ino_t, fuse_file_info* info, struct flock* lock) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  const ByteRange range = RangeOf(*lock);
  const protocol::GetlkRequest getlk{open->handle, ModeOf(lock->l_type), info->lock_owner, range.start,
                                     range.last};
  client::CallOptions<Operation::kGetlk> call;
  call.generation = open->generation;
  mount.Call<Operation::kGetlk>(
      std::move(reply), WaitKind::kPlain, getlk,
      [](KernelReply to, client::Answer<Operation::kGetlk>&& answer) {
        if (!answer.reply) return to.Error(answer.reply.error().value);
        to.Lock(ToFlock(*answer.reply));
      },
      std::move(call));
}

}  // namespace baton::ops
