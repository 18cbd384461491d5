#include "fuse/ops/durability.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

using AllocateAnswer = client::Answer<Operation::kAllocate>;

void Fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  const protocol::AllocateRequest allocate{open->handle, static_cast<std::uint32_t>(mode),
                                           static_cast<std::uint64_t>(offset),
                                           static_cast<std::uint64_t>(length)};
  client::CallOptions<Operation::kAllocate> call;
  call.generation = open->generation;
  call.late = [&mount, open](AllocateAnswer&&) { mount.fates.Known(open->inode->FateKey()); };
  mount.Call<Operation::kAllocate>(
      std::move(reply), WaitKind::kPlain, allocate,
      [&mount, open](KernelReply to, AllocateAnswer&& answer) {
        mount.NoteFate(answer, open->inode->FateKey());
        if (answer.reply) NoteResized(*open);
        to.Error(answer.reply ? 0 : answer.reply.error().value);
      },
      std::move(call));
}

}  // namespace baton::ops
