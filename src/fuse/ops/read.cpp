#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  client::CallOptions<Operation::kRead> call;
  call.generation = open->generation;
  const protocol::ReadRequest read{open->handle, static_cast<std::uint64_t>(offset),
                                   static_cast<std::uint32_t>(size)};
  mount.Call<Operation::kRead>(
      std::move(reply), WaitKind::kPlain, read,
      [](KernelReply to, client::Answer<Operation::kRead>&& answer) {
        if (!answer.reply) return to.Error(answer.reply.error().value);
        to.Data(answer.data);
      },
      std::move(call));
}

}  // namespace baton::ops
