#include "fuse/ops/durability.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

using CopyAnswer = client::Answer<Operation::kCopyRange>;

void CopyFileRange(fuse_req_t request, fuse_ino_t, off_t from_offset, fuse_file_info* from_info, fuse_ino_t,
                   off_t to_offset, fuse_file_info* to_info, std::size_t length, int) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto from = OpenTable::Get(from_info->fh);
  const auto to = OpenTable::Get(to_info->fh);
  if (from->dead) return mount.ReplyLate(std::move(reply), *from);
  if (to->dead) return mount.ReplyLate(std::move(reply), *to);
  if (from->generation != to->generation) return reply.Error(ESTALE);  // one of the two sessions has ended
  const protocol::CopyRangeRequest copy{.from = from->handle,
                                        .from_offset = static_cast<std::uint64_t>(from_offset),
                                        .to = to->handle,
                                        .to_offset = static_cast<std::uint64_t>(to_offset),
                                        .length = length};
  client::CallOptions<Operation::kCopyRange> call;
  call.generation = to->generation;
  call.late = [&mount, to](CopyAnswer&&) { mount.fates.Known(to->inode->FateKey()); };
  mount.Call<Operation::kCopyRange>(
      std::move(reply), WaitKind::kPlain, copy,
      [&mount, to](KernelReply last, CopyAnswer&& answer) {
        mount.NoteFate(answer, to->inode->FateKey());
        if (!answer.reply) {
          last.Error(answer.reply.error().value);
          return;
        }
        if (answer.reply->copied > 0) NoteWritten(*to);
        last.Written(answer.reply->copied);
      },
      std::move(call));
}

}  // namespace baton::ops
